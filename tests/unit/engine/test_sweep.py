"""Goal: an engine has one owner. Method: real locks, and the moments at which owners change."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from workrs.engine.layout import EngineLayout
from workrs.engine.sweep import remove_run_folder, take_lock


@pytest.fixture
def layout(tmp_path: Path) -> EngineLayout:
    return EngineLayout.of(tmp_path / "data", tmp_path / "run")


def test_only_one_holds_the_lock_and_the_next_gets_it_afterwards(layout: EngineLayout) -> None:
    first = take_lock(layout)
    assert first is not None
    assert take_lock(layout) is None
    remove_run_folder(layout)
    os.close(first)
    second = take_lock(layout)
    assert second is not None
    os.close(second)


def removed_then_locked(layout: EngineLayout) -> Callable[[int, int], None]:
    lock_file = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        shutil.rmtree(layout.run)
        lock_file(descriptor, operation)

    return flock


def test_a_lock_on_a_file_that_its_owner_has_removed_is_none(
    layout: EngineLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", removed_then_locked(layout))
        assert take_lock(layout) is None
    lock = take_lock(layout)
    assert lock is not None
    os.close(lock)
