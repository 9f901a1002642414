"""The program of the harness's long jobs: beads on a string, one every `pace_s`.

Its value chains a hash over the steps, so a lost or repeated step gives another one. At
every step it saves itself to /job/state and, where it can reach that folder, appends to a file
outside of /job that it ran: when, which job, epoch and attempt, which step, where. That line
is no part of any checkpoint, so it cannot be rolled back.

Input: JSON with steps, pace_s, seed. Runs inside jobs: nothing but the standard library.
"""

# ruff: noqa: PTH105, PTH110, PTH123, T201, TID251 (a program inside a job)

import contextlib
import hashlib
import json
import os
import time

JOB = os.environ.get("WORKRS_JOB_DIR", "/job")


def testify(step: int) -> None:
    """Append a line outside of /job: time, job, epoch, attempt, step, folder."""
    named = [os.environ.get(f"WORKRS_{name}", "") for name in ("JOB", "EPOCH", "ATTEMPT")]
    line = " ".join((f"{time.monotonic():.4f}", *named, str(step), JOB)) + "\n"
    with contextlib.suppress(OSError):
        place = os.path.join(os.environ.get("EVIDENCE", "/nowhere"), named[0])  # noqa: PTH118
        file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)


def main() -> None:
    """String the beads, from where an earlier start got to."""
    with open(f"{JOB}/in/input") as given:
        wanted = json.load(given)
    done, value = 0, wanted["seed"].encode()
    # A checkpoint may have been taken before the first bead.
    if os.environ.get("WORKRS_RESUMED") == "1" and os.path.exists(f"{JOB}/state"):
        with open(f"{JOB}/state") as state:
            done, text = json.load(state)
        value = bytes.fromhex(text)
    while done < wanted["steps"]:
        testify(done)
        value = hashlib.sha256(value + str(done).encode()).digest()
        done += 1
        with open(f"{JOB}/state.new", "w") as new:
            json.dump((done, value.hex()), new)
        os.replace(f"{JOB}/state.new", f"{JOB}/state")
        with open(f"{JOB}/progress", "a") as progress:
            progress.write(f"{done / wanted['steps']:.4f} bead {done}\n")
        time.sleep(wanted["pace_s"])
    print(value.hex())


if __name__ == "__main__":
    main()
