"""Goal: both outboxes keep the same promises, and the file keeps them through kill -9.

Method: one suite over both; then a real process that is killed while it writes.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from device_client import outbox as outboxes
from device_client.error import JobIdReusedError, OutboxError, OutboxFullError
from device_client.outbox import FileOutbox, KeptJob, MemoryOutbox, Outbox
from device_client.submission import Submission, from_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 60.0


@pytest.fixture(params=["memory", "file"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    made: Outbox = (
        MemoryOutbox() if request.param == "memory" else FileOutbox(tmp_path / "box", device="dev")
    )
    yield made
    made.close()


def job(name: str, *, payload: bytes = b"p", blob: bytes | None = None) -> Submission:
    return Submission(job=name, topic=f"t/{name}", payload=payload, blob=blob)


def test_a_kept_job_can_be_read_until_it_is_forgotten(box: Outbox) -> None:
    assert box.keep(job("a", blob=b"big"))
    assert (box.message("a"), box.blob("a")) == (("t/a", b"p"), b"big")
    box.mark_accepted("a")
    assert (box.message("a"), box.blob("a")) == (("t/a", b"p"), None)
    box.forget("a")
    box.forget("a")
    assert (box.message("a"), box.blob("a")) == (None, None)


def test_the_same_job_is_kept_once_and_another_one_refused(box: Outbox) -> None:
    assert box.keep(job("a"))
    assert not box.keep(job("a"))
    with pytest.raises(JobIdReusedError):
        box.keep(job("a", payload=b"q"))
    assert box.message("a") == ("t/a", b"p")


def test_a_full_outbox_takes_no_more_until_one_is_accepted(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "JOBS_MAX", 2)
    box.keep(job("a"))
    box.keep(job("b"))
    with pytest.raises(OutboxFullError, match="2 jobs wait"):
        box.keep(job("c"))
    assert not box.keep(job("a")), "a repetition needs no room"
    box.mark_accepted("a")
    assert box.keep(job("c"))


def test_a_file_is_read_again_in_order_with_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "box"
    first = FileOutbox(path, device="dev")
    for name in "zab":
        first.keep(job(name, blob=b"big" if name == "b" else None))
    first.mark_accepted("z")
    first.mark_cancel("a")
    first.close()
    again = FileOutbox(path, device="dev")
    assert again.load() == [
        KeptJob("z", accepted=True, cancel=False, has_blob=False),
        KeptJob("a", accepted=False, cancel=True, has_blob=False),
        KeptJob("b", accepted=False, cancel=False, has_blob=True),
    ]
    again.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_accepted_job_leaves_the_file_after_a_week_and_a_waiting_one_never(
    tmp_path: Path,
) -> None:
    path = tmp_path / "box"
    first = FileOutbox(path, device="dev")
    for name in "abc":
        first.keep(job(name))
    first.mark_accepted("a")
    first.mark_accepted("b")
    first.close()
    database = sqlite3.connect(path)
    database.execute("UPDATE job SET kept_wall = kept_wall - 7 * 86400 - 1 WHERE job != 'a'")
    database.commit()
    database.close()
    again = FileOutbox(path, device="dev")
    assert [kept.job for kept in again.load()] == ["a", "c"]
    again.close()


def test_a_file_of_another_device_or_version_or_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "box"
    FileOutbox(path, device="dev").close()
    with pytest.raises(OutboxError, match="belongs to device dev, not other"):
        FileOutbox(path, device="other")
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(OutboxError, match="version 9"):
        FileOutbox(path, device="dev")
    path.write_bytes(b"no database" * 100)
    with pytest.raises(OutboxError):
        FileOutbox(path, device="dev")
    with pytest.raises(OutboxError):
        FileOutbox(tmp_path / "nowhere" / "box", device="dev")


def test_what_is_kept_is_synced_and_marks_are_only_ordered(tmp_path: Path) -> None:
    # No test can pull the plug; the settings are what SQLite's promise hangs on.
    box = FileOutbox(tmp_path / "box", device="dev")
    modes = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for connection in (box._synced, box._relaxed)
        for name in ("journal_mode", "synchronous")
    ]
    assert modes == ["wal", 2, "wal", 1]
    box.close()


def test_a_closed_file_says_so(tmp_path: Path) -> None:
    box = FileOutbox(tmp_path / "box", device="dev")
    box.close()
    box.close()
    with pytest.raises(OutboxError):
        box.keep(job("a"))


_CHILD = """
import sys
from device_client.outbox import FileOutbox
from device_client.submission import from_spec
box = FileOutbox(sys.argv[1], device="dev")
for number in range(100000):
    box.keep(from_spec("dev", f"j{number}", {"input": "x" * (number % 20000)}))
    print(number, flush=True)
"""


def test_kill_9_while_writing_loses_nothing_that_was_told(tmp_path: Path) -> None:
    path = tmp_path / "box"
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, os.fspath(path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        told = -1
        while told < 200:
            told = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split()
        told = int(rest[-1]) if rest else told
        child.wait(WAIT_S)
    box = FileOutbox(path, device="dev")
    kept = [k.job for k in box.load()]
    # One more may be there: kept, and killed before it was told.
    assert kept[: told + 1] == [f"j{n}" for n in range(told + 1)]
    assert len(kept) <= told + 2
    for number in range(0, len(kept), 37):
        whole = from_spec("dev", f"j{number}", {"input": "x" * (number % 20000)})
        assert box.message(f"j{number}") == (whole.topic, whole.payload)
    box.close()
