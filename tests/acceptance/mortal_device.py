"""A program that submits one job after the other and is killed in the middle of each.

Arguments: node, outbox, file, points. For each point a process is forked that makes a device,
submits a job which appends its id to *file*, and gets SIGKILL at so many steps after the call of
`submit`: a step is a call or a return, in any of its threads, of a function of the client or of one
that it calls in C. Prints for each: the job, how far it had come, and what it had been told.
"""

import os
import signal
import sys
import threading
from itertools import count
from pathlib import Path
from types import FrameType

import device_client
from device_client import Device

PACKAGE = str(Path(device_client.__file__).parent)
DRAIN_S = 20.0
STAGES = ("before the write", "written", "sent", "accepted")


def spec_of(job: str, file: str) -> dict[str, object]:
    """Return a job that shows by a line of *file* each time that it ran."""
    return {"image": "none", "command": ["sh", "-c", f"echo {job} >> {file}"], "timeout_s": 30}


def live_and_die(node: str, outbox: str, file: str, *, job: str, point: int) -> None:
    """Submit the job and be killed at *point*."""
    steps, said = count(), sys.stdout.fileno()
    passed = {"keep": 1, "publish": 2, "mark_accepted": 3}
    stage = 0
    is_begun = False

    def look(frame: FrameType, event: str, _arg: object) -> None:
        nonlocal stage
        code = frame.f_code
        if not is_begun or not code.co_filename.startswith(PACKAGE):
            return
        if stage == 0 and threading.current_thread() is not threading.main_thread():
            return  # It hears of earlier jobs, and nobody knows how often.
        # Later ones are of jobs that earlier processes left behind.
        if event == "return" and passed.get(code.co_name) == stage + 1 and is_ours(frame):
            stage += 1
        if next(steps) == point:
            os.write(said, f"{job} killed {STAGES[stage]}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def is_ours(frame: FrameType) -> bool:
        named = frame.f_locals.get("job") or frame.f_locals["submission"].job
        return bool(named == job)

    threading.setprofile(look)
    device = Device("pump-7", [node], outbox=outbox)
    device.drain(DRAIN_S)
    sys.setprofile(look)
    is_begun = True
    device.submit(spec_of(job, file), job=job)
    os.write(said, f"{job} told\n".encode())
    device.drain(DRAIN_S)
    os.write(said, f"{job} lived\n".encode())
    os._exit(0)


def main() -> None:
    """See the module."""
    node, outbox, file, *points = sys.argv[1:]
    for point in points:
        child = os.fork()
        if child == 0:
            live_and_die(node, outbox, file, job=f"k{point}", point=int(point))
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
