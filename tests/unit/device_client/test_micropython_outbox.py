"""Goal: what the outbox for boards said it has is there after a loss of power.

Method: the module itself, which is Python, too, on a disk that is full for one write. What real
boards do is in tests/integration/test_micropython.py.
"""

from __future__ import annotations

import errno
import io
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SOURCE = Path("device_client/micropython/workrs_outbox.py")
SUBMIT, ACCEPTED = 0x53, 0x41


def job(name: str, topic: str, payload: bytes) -> Any:
    return SimpleNamespace(
        name=name, topic=topic, payload=payload, accepted=False, cancel=0, done=False
    )


def load(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Return the module, an outbox on *path*, and the jobs that it found there."""
    spec = spec_from_file_location("workrs_outbox", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    jobs: dict[str, Any] = {}
    outbox = module.Outbox(str(path))
    outbox.load(jobs, job)
    return module, outbox, jobs


class FullDisk(io.FileIO):
    """Takes the first half of a record."""

    def write(self, data: Any) -> int:
        super().write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "no space left")


@pytest.mark.parametrize("record", [(SUBMIT, "run/f/two", b"2"), (ACCEPTED, "one")])
def test_what_a_full_disk_tore_hides_nothing_that_comes_after(
    tmp_path: Path, record: tuple[Any, ...]
) -> None:
    path = tmp_path / "jobs"
    module, outbox, jobs = load(path)
    outbox.append(SUBMIT, "run/f/one", b"1")
    jobs["one"] = job("one", "run/f/one", b"1")
    module.open = FullDisk
    with pytest.raises(OSError, match="no space left"):
        outbox.append(*record)
    del module.open
    outbox.append(SUBMIT, "run/f/three", b"3")
    _, _, found = load(path)
    assert {name: kept.payload for name, kept in found.items()} == {"one": b"1", "three": b"3"}
