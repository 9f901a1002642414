"""Goal: a result is in its file whole, or the file is as it was."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NoReturn

import pytest

from workrs.cli.result import _replace


def test_a_disk_that_is_full_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sum.bin"
    _replace(path, b"old")
    _replace(path, b"before")
    whole = Path.write_bytes

    def write_half(self: Path, data: bytes) -> NoReturn:
        whole(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space"):
        _replace(path, b"a long result")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_written_to_and_stays_what_it_is() -> None:
    with pytest.raises(OSError, match="No space"):
        _replace(Path("/dev/full"), b"x")
    assert Path("/dev/full").is_char_device()
