"""Goal: what a stranger's program leaves in /job is read without being trusted."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.runtimes.job_folder import (
    ATTEMPT_BYTES,
    JobFolder,
    ResultTooLargeError,
    contract_environment,
    owner,
    parse_progress,
)
from edge_agent.runtimes.tree import copy_tree, link_stays
from workrs.domain.errors import ContainerError, IdError
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.ports.runtime import Progress, StartRequest

if TYPE_CHECKING:
    from collections.abc import Callable


def request_for(job: str = "pump_1", **rest: object) -> StartRequest:
    spec = JobSpec(image="i", command=("c",), **rest)  # type: ignore[arg-type]
    return StartRequest(job=JobId(job), epoch=Epoch(2), attempt=3, spec=spec, deadline=Instant(0.0))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"0.5", Progress(fraction=0.5)),
        (b"0.5\n0.7 half\n", Progress(fraction=0.7, note="half")),
        (b"0.5\n0.7 unfini", Progress(fraction=0.5)),
        (b"7\n", Progress(fraction=1.0)),
        (b"-1 x\n", Progress(fraction=0.0, note="x")),
        (b"0.1 \x1b[31mred\n", Progress(fraction=0.1, note="[31mred")),
        (b"nan\n", None),
        (b"inf\n", None),
        (b"half\n", None),
        (b"\n\n", None),
        (b"", None),
    ],
)
def test_the_last_whole_line_of_progress_counts(data: bytes, found: Progress | None) -> None:
    assert parse_progress(data) == found


@given(st.binary(max_size=300))
def test_any_bytes_are_progress_or_none(data: bytes) -> None:
    found = parse_progress(data)
    assert found is None or (0 <= found.fraction <= 1 and found.note.isprintable())


def test_a_job_whose_id_is_a_path_gets_no_folder(tmp_path: Path) -> None:
    for job in ("../x", "pump_../x", "pump", "pump_a/b", ""):
        with pytest.raises(IdError):
            JobFolder(tmp_path, request_for(job))


def test_the_attempt_file_has_always_the_same_size(tmp_path: Path) -> None:
    longest = "p" * 63 + "_" + "j" * 63
    for job in ("p_1", longest):
        folder = JobFolder(tmp_path, request_for(job))
        folder.create()
        folder.write_attempt(request_for(job))
        assert (folder.job / "attempt").stat().st_size == ATTEMPT_BYTES


def test_an_attempt_file_that_the_program_made_a_link_is_replaced(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "work", request_for())
    folder.create()
    (tmp_path / "precious").write_text("precious")
    (folder.job / "attempt").symlink_to(tmp_path / "precious")
    folder.write_attempt(request_for())
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_progress_that_is_no_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = JobFolder(tmp_path, request_for())
    folder.create()
    make(folder.job / "progress")
    assert folder.read_progress() is None


@pytest.mark.parametrize(
    ("stdout", "stderr", "found"),
    [
        (b"", b"", b""),
        (b"1\n2\n", b"", b"1\n2\n"),
        (b"1\n2", b"oh\n", b"1\n2\noh\n"),
        (b"1234567890\n" * 9, b"", b"1234567890\n" * 2),
        (b"", b"1234567890\n" * 9, b"1234567890\n" * 2),
        (b"1234567890\n" * 9, b"1234567890\n" * 9, b"1234567890\n" * 2),
        (b"1234567890\n" * 9, b"oh\n", b"1234567890\n" * 2 + b"oh\n"),
        (b"x" * 99, b"", b"x" * 31),
        (b"x" * 99 + b"\n", b"", b"x" * 30 + b"\n"),
    ],
)
def test_the_end_of_a_log_begins_with_a_line(
    tmp_path: Path, stdout: bytes, stderr: bytes, found: bytes
) -> None:
    folder = JobFolder(tmp_path, request_for())
    folder.create()
    folder.stdout.write_bytes(stdout)
    folder.stderr.write_bytes(stderr)
    assert folder.log_tail(32) == found


def test_two_agents_of_one_name_own_different_things(tmp_path: Path) -> None:
    name = ClientId("edge-1")
    assert owner(name, tmp_path / "a") != owner(name, tmp_path / "b")
    assert owner(name, tmp_path / "a") == owner(name, tmp_path / "a")


def test_the_environment_says_whether_it_is_a_restart() -> None:
    assert contract_environment(request_for())["WORKRS_RESUMED"] == "0"


@pytest.mark.parametrize(
    ("path", "link", "stays"),
    [
        ("a", "b", True),
        ("d/a", "../b", True),
        ("a", "/job/b", True),
        ("a", ".", True),
        ("a", "..", False),
        ("d/a", "../../etc", False),
        ("a", "/etc/passwd", False),
        ("a", "/job/../etc", False),
        ("a", "/jobs/b", False),
        ("a", "b/../../job/b", False),
    ],
)
def test_a_link_stays_in_the_folder_or_not(path: str, link: str, *, stays: bool) -> None:
    assert link_stays(PurePosixPath(path), link) is stays


def test_a_copy_keeps_holes_and_counts_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
        file.truncate(100 << 20)
    assert copy_tree(source, tmp_path / "copy", skip=frozenset(), limit_bytes=1 << 30) == 100 << 20
    copy = tmp_path / "copy" / "sparse"
    assert copy.read_bytes() == (source / "sparse").read_bytes()
    assert copy.stat().st_blocks * 512 < 1 << 20
    with pytest.raises(ContainerError, match="more than"):
        copy_tree(source, tmp_path / "again", skip=frozenset(), limit_bytes=99 << 20)


def test_a_result_that_cannot_be_read_is_an_error_of_the_container(tmp_path: Path) -> None:
    """Any other would end the agent, with all its jobs."""
    folder = JobFolder(tmp_path, request_for())
    (folder.job / "out").mkdir(parents=True)
    (folder.job / "out" / "a").touch()
    (folder.path / "result").mkdir()  # where it should be written
    with pytest.raises(ContainerError, match="not read"):
        folder.collect_result()


def test_holes_in_a_result_do_not_fill_the_agents_disk(tmp_path: Path) -> None:
    """A hundred of them cost a program nothing, and would be written out here."""
    folder = JobFolder(tmp_path, request_for())
    (folder.job / "out").mkdir(parents=True)
    for name in ("a", "b"):
        with (folder.job / "out" / name).open("wb") as file:
            file.truncate(1 << 20)
    with pytest.raises(ResultTooLargeError, match="more than 2097151 bytes"):
        folder.collect_result(limit_bytes=(2 << 20) - 1)
    assert not (folder.path / "result").exists()
    _, size = folder.collect_result(limit_bytes=2 << 20)
    assert size > 2 << 20  # as a tar


def test_a_full_disk_is_an_error_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other would end the agent, with all its jobs. Half a folder does not stay."""
    (tmp_path / "work").touch()
    with pytest.raises(ContainerError, match="no folder"):
        JobFolder(tmp_path / "work", request_for()).create()

    def full(path: Path, **_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left", str(path))

    monkeypatch.setattr(Path, "touch", full)
    folder = JobFolder(tmp_path, request_for())
    with pytest.raises(ContainerError, match="no space left"):
        folder.create()
    assert not folder.path.exists()


def test_a_folder_that_may_not_be_read_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read all: others meet what a program made for itself alone."""
    (tmp_path / "source" / "locked").mkdir(parents=True)
    (tmp_path / "source" / "locked" / "state").touch()
    real = os.scandir

    def scandir(path: str | Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError):
        copy_tree(tmp_path / "source", tmp_path / "copy", skip=frozenset(), limit_bytes=1 << 20)


def test_a_copy_refuses_links_out_and_drops_set_uid(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "tool").touch()
    (source / "tool").chmod(0o6755)
    copy_tree(source, tmp_path / "copy", skip=frozenset(), limit_bytes=1)
    assert (tmp_path / "copy" / "tool").stat().st_mode & 0o7777 == 0o755
    (source / "out").symlink_to("/etc/passwd")
    with pytest.raises(ContainerError, match="link out of /job"):
        copy_tree(source, tmp_path / "again", skip=frozenset(), limit_bytes=1)
    (source / "out").rename(source / os.fsdecode(b"\xff"))
    with pytest.raises(ContainerError) as caught:
        copy_tree(source, tmp_path / "once more", skip=frozenset(), limit_bytes=1)
    assert str(caught.value).encode(), "it goes into messages"
