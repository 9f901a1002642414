"""Goal: an operator sees what a job prints while it runs, from whichever node is asked.

Method: the real command beside a real program that prints a step when the test lets it.
"""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from device_client import Device
from tests.acceptance.agreement import until
from workrs.cli.cluster import LocalCluster, wait_ready

PROGRAM = """
import os, sys, time
for step in range(4):
    print("step", step, flush=True)
    if step == 1:
        print("careful", file=sys.stderr, flush=True)
    while not os.path.exists(f"{sys.argv[1]}/{step}"):
        time.sleep(0.02)
"""


def steps(folder: Path) -> dict[str, object]:
    return {
        "image": "none",
        "command": ["python3", "/job/in/main.py", str(folder)],
        "files": {"main.py": PROGRAM},
        "checkpoint": {"mode": "off"},
    }


def logs(*words: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "workrs.cli.main", "logs", *words]
    return subprocess.run(command, check=False, capture_output=True, timeout=60)


def refused(words: bytes, *asked: str) -> subprocess.CompletedProcess[bytes] | None:
    """Return what the command did once it says these words."""
    done = logs(*asked)
    return done if words in done.stderr else None


@contextmanager
def following(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """Follow a log into files while the context lasts."""
    folder.mkdir()
    command = [sys.executable, "-m", "workrs.cli.main", "logs", "--follow", *words]
    with (
        (folder / "out").open("wb") as out,
        (folder / "err").open("wb") as err,
        subprocess.Popen(command, stdout=out, stderr=err) as process,
    ):
        try:
            yield process, folder / "out", folder / "err"
        finally:
            process.kill()


def test_a_log_is_followed_from_another_node_until_the_job_ends(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    node = ("--node", str(cluster.addresses["n3"]))
    with Device("pump-7", nodes=cluster.hosts) as device:
        cluster.kill("a1", signal.SIGTERM)
        until("the agent's end", lambda: not cluster.members["a1"].is_running())
        device.submit(steps(tmp_path), job="steps")
        until("the job", lambda: device.state("steps").state == "queued")
        # The node that is asked may hear of the job after the device's.
        early = until("n3 to know it", lambda: refused(b"pump-7/steps is not", "steps", *node))
        assert early.returncode == 1
        assert b"pump-7/steps is not running now" in early.stderr
        with following(tmp_path / "all", "steps", *node) as (process, out, err):
            until("a remark", lambda: b"not running now" in err.read_bytes())
            cluster.start("a1")
            until("the first line", lambda: out.read_bytes() == b"step 0\n")
            once = logs("pump-7/steps", *node)
            assert (once.returncode, once.stdout, once.stderr) == (0, b"step 0\n", b"")
            (tmp_path / "0").touch()
            until("both streams", lambda: out.read_bytes() == b"step 0\nstep 1\ncareful\n")
            with following(tmp_path / "part", "steps", *node) as (other, seen, remarks):
                until("the log so far", lambda: seen.read_bytes() == out.read_bytes())
                other.send_signal(signal.SIGINT)
                assert other.wait(60) == 130
                assert remarks.read_bytes() == b""
            (tmp_path / "1").touch()
            until("a new line", lambda: out.read_bytes().endswith(b"careful\nstep 2\n"))
            (tmp_path / "2").touch()
            until("the last line", lambda: out.read_bytes().endswith(b"careful\nstep 2\nstep 3\n"))
            (tmp_path / "3").touch()
            assert process.wait(60) == 0
            assert err.read_bytes().endswith(b"workrs: pump-7/steps succeeded\n")
        late = logs("steps", *node)
        assert late.returncode == 1
        assert b"pump-7/steps has ended already: succeeded" in late.stderr


def test_a_reader_goes_on_when_its_node_and_the_agent_are_killed(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    cluster = start_cluster(nodes=3, agents=2)
    nodes = [word for name in ("n3", "n2") for word in ("--node", str(cluster.addresses[name]))]
    with Device("pump-7", nodes=cluster.hosts) as device:
        device.submit(steps(tmp_path), job="steps")
        with following(tmp_path / "all", "pump-7/steps", *nodes) as (process, out, err):
            until("the first line", lambda: out.read_bytes() == b"step 0\n")
            cluster.kill("n3")
            agent = until("its agent", lambda: device.state("steps").agent)
            cluster.kill(agent)
            until("another agent", lambda: device.state("steps").agent not in (None, agent))
            (tmp_path / "0").touch()
            until("the next line", lambda: b"step 1\n" in out.read_bytes())
            again = rb", epoch \d+; it may repeat lines\n"
            until("a remark", lambda: re.search(again, err.read_bytes()))
            for step in (1, 2, 3):
                (tmp_path / str(step)).touch()
            assert process.wait(60) == 0
            assert re.match(rb"(step 0\n)+step 1\n", out.read_bytes())
            assert err.read_bytes().endswith(b"workrs: pump-7/steps succeeded\n")
        cluster.start("n3")
        cluster.start(agent)
        asyncio.run(wait_ready(cluster))
