"""Goal: who uses the client with a type checker gets types, and is told of mistakes.

Method: mypy --strict on the page's examples, and on programs with one mistake each.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import device_client

ROOT = Path(device_client.__file__).parent.parent
RIGHT = """
from collections.abc import Iterator
from device_client import AsyncDevice, Device, JobFailedError, Report, Result, WorkrsError

def use(device: Device) -> Iterator[float]:
    job: str = device.submit({"image": "a"}, command=["x"], files={"a": b"1"}, job="mine")
    for report in device.watch(job, timeout=1):
        yield report.progress or 0.0
    try:
        result: Result = device.result(job, timeout=2.5)
    except JobFailedError as error:
        code: int | None = error.exit_code
    except WorkrsError:
        last: Report = device.state(job)

async def use_async(device: AsyncDevice) -> list[bytes]:
    jobs = [await device.run("f", b"1")]
    async for report in device.watch(jobs[0]):
        print(report.state.is_final)
    return [(await device.result(job)).value for job in jobs]
"""
WRONG = """
from device_client import AsyncDevice, Device

def misuse(device: Device, twin: AsyncDevice) -> None:
    device.run("f", "text")  # line 5
    device.result(7)  # line 6
    device.result("a").txt  # line 7
    Device("pump-7", ["a"], outbocks="b")  # line 8
    text: str = twin.state("a")  # line 9
"""


def test_examples_have_types_and_mistakes_are_found(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "device.md").read_text()
    [quick, *_] = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    for name, code in {"quick": quick, "right": RIGHT, "wrong": WRONG}.items():
        (tmp_path / f"{name}.py").write_text(code)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache"),
            *(tmp_path / f"{name}.py" for name in ("quick", "right", "wrong")),
        ],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^(\w+)\.py:(\d+): error", done.stdout, re.MULTILINE)
    assert {(name, int(line)) for name, line in found} == {
        ("wrong", line) for line in range(5, 10)
    }, done.stdout + done.stderr
