"""Goal: who is not let in is told why, and what to do, by every program that a person starts.

Method: a real broker of a secure node; credentials that have ended, have not begun or are of
another cluster, given to a command, to an agent and to a device of Python. What each says is a
sentence of ours: no traceback, and no name of OpenSSL's.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from device_client import Device, ResultTimeoutError
from tests.acceptance.agreement import until
from tests.hostile.door import Plant, plant
from tests.hostile.members import NOW
from workrs.trust.cluster_directory import opened
from workrs.trust.kind import Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["plant"]  # a fixture is found by its name in the module

SILENT = "revoked, expired, not valid yet or of another cluster"
"""With TLS 1.3 a node's reason may come after it has hung up: then all of them are named."""
TOLD = {
    "old": ("expired", SILENT),
    "early": ("not valid yet", SILENT),
    "foreign": ("of another cluster",),
}
OURS_NEVER = ("Traceback", "[SSL", "SSLError", "_ssl.c", "alert")


def enrolled(plant: Plant, kind: Kind, case: str) -> Path:
    """Return the file of a new member of this kind whose certificate is no good."""
    directory = plant.cluster.directory
    place = directory.path if case != "foreign" else directory.path.parent / "other"
    days = timedelta(days={"old": -30, "early": 30, "foreign": 0}[case])
    with opened(place) as found:
        file = found.enrol(kind, f"{case}-{kind.value}", now=NOW + days, days=1)
    # Of the three nodes that it names one runs here, and is what is spoken of.
    lines = file.read_text().splitlines()
    (nodes,) = [line for line in lines if line.startswith("nodes: ")]
    file.write_text("\n".join(lines).replace(nodes, " ".join(nodes.split()[:2])) + "\n")
    return file


def by_command(file: Path, _work: Path) -> str:
    words = [sys.executable, "-m", "workrs.cli.main", "jobs", "--credential", str(file)]
    ran = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert ran.returncode not in (0, 1)
    return ran.stderr


def by_agent(file: Path, work: Path) -> str:
    words = ["agent", "--credential", str(file), "--runtime", "instant", "--state", str(work / "s")]
    path = work / "log"
    with path.open("wb") as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "workrs.cli.main", *words], stdout=log, stderr=log
        )
    try:
        until("its word", lambda: "certificate" in path.read_text(), 60)
    finally:
        program.terminate()
        program.wait(60)
    return path.read_text()


def by_device(file: Path, _work: Path) -> str:
    def told() -> str:
        with pytest.raises(ResultTimeoutError) as caught:
            device.result(job, timeout=1)
        return str(caught.value) if caught.value.trouble else ""

    with Device(credential=file) as device:
        job = device.submit({"image": "a", "command": ["x"]})
        said = until("its word", told, 60)
    # Here, where its warning is expected, and not in whichever test comes next.
    gc.collect()
    return said


CALLERS: dict[Kind, Callable[[Path, Path], str]] = {
    Kind.OPERATOR: by_command,
    Kind.AGENT: by_agent,
    Kind.DEVICE: by_device,
}


# paho leaves a socket whose TLS failed to the garbage collector, which closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", CALLERS)
@pytest.mark.parametrize("case", TOLD)
def test_a_certificate_that_is_no_good_is_told_in_words_that_say_what_to_do(
    tmp_path: Path, plant: Plant, kind: Kind, case: str
) -> None:
    file = enrolled(plant, kind, case)

    async def story() -> str:
        async with plant.door(tmp_path / "door"):
            return await asyncio.to_thread(CALLERS[kind], file, tmp_path)

    said = asyncio.run(story())
    assert any(words in said for words in TOLD[case]), said
    assert [word for word in OURS_NEVER if word in said] == []
