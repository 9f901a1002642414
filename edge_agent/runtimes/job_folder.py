"""The folder of one attempt: what its program finds in /job, and what it leaves there.

    NAME/            0700, NAME is {job}.{epoch}.{attempt}
      job/           the program's /job: progress, out/, attempt, whatever it writes
      in/            its inputs; shown read-only as /job/in where the runtime can mount
      stdout stderr  what it printed
      result         its result, when that is larger than what travels inline

1. Everything in `job/` was written by a stranger's program: no link in it is ever followed
   and nothing but regular files is read.
2. `attempt` always has ATTEMPT_BYTES, so that a program can be restored with the file open:
   CRIU refuses an open file whose size has changed.
3. The same /job/out gives the same result, byte for byte: names sorted, no times, no owners.
"""

import hashlib
import json
import math
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edge_agent.runtimes.tree import copy_file, copy_tree
from workrs.domain.errors import ContainerError
from workrs.domain.ids import ClientId, split_job_id
from workrs.domain.job import INLINE_MAX_BYTES
from workrs.ports.runtime import Progress, StartRequest

JOB_DISK_BYTES = 256 << 20
"""What a program may keep in /job unless the agent is configured otherwise."""
ATTEMPT_BYTES = 512
NOT_SAVED = frozenset({"in", "attempt"})
"""Names in /job that every start writes anew, so no snapshot holds them."""
_TAIL_BYTES = 4096
_NOTE_LENGTH_MAX = 200


class ResultTooLargeError(ContainerError):
    """What the program left in /job/out is more than it may keep in /job."""


class JobFolder:
    """Paths and content of one attempt's folder."""

    def __init__(self, work: Path, request: StartRequest) -> None:
        """Name the folder below *work*; nothing is created yet."""
        split_job_id(request.job)
        self.path = work / f"{request.job}.{request.epoch}.{request.attempt}"
        self.job = self.path / "job"
        self.inputs = self.path / "in"
        self.stdout = self.path / "stdout"
        self.stderr = self.path / "stderr"
        self._result = self.path / "result"

    def create(self) -> None:
        """Make the empty folders.

        Raises:
            ContainerError: it is there already: that start was made before; or a full disk here.
        """
        try:
            self.path.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            raise ContainerError(f"{self.path.name} was started before") from None
        except OSError as error:
            raise ContainerError(f"{self.path.name}: no folder for it: {error}") from error
        try:
            self.job.mkdir()
            self.inputs.mkdir()
            self.stdout.touch(mode=0o600)
            self.stderr.touch(mode=0o600)
        except OSError as error:
            self.remove()
            raise ContainerError(f"{self.path.name}: no folder for it: {error}") from error

    def write_inputs(self, request: StartRequest) -> None:
        """Put the job's files and its raw input into `in/`."""
        for name, content in request.spec.file_bytes().items():
            (self.inputs / name).write_bytes(content)
        if request.input_file is not None:
            shutil.copyfile(request.input_file, self.inputs / "input")
        else:
            (self.inputs / "input").write_bytes(request.spec.input_bytes() or b"")

    def write_attempt(self, request: StartRequest) -> None:
        """Tell the program which start of the job this is."""
        text = json.dumps(
            {
                "job": request.job,
                "epoch": request.epoch,
                "attempt": request.attempt,
                "resumed": request.restore_from is not None,
            }
        )
        path = self.job / "attempt"
        path.unlink(missing_ok=True)
        path.write_text(text.ljust(ATTEMPT_BYTES - 1) + "\n")

    def take(self, snapshot: Path, *, limit_bytes: int) -> None:
        """Copy a snapshot's files and output into the empty folders."""
        copy_tree(snapshot / "job", self.job, skip=NOT_SAVED, limit_bytes=limit_bytes)
        self.stdout.unlink()
        copy_file(snapshot / "stdout", self.stdout)

    def read_progress(self) -> Progress | None:
        """Return what the last whole line of /job/progress says."""
        return parse_progress(_read_tail(self.job / "progress", _TAIL_BYTES))

    def log_tail(self, limit_bytes: int) -> bytes:
        """Return the last lines of stdout, then of stderr.

        Either has half of the room, and what the other leaves of its own.
        """
        room = limit_bytes - 1
        stdout, stderr = _read_tail(self.stdout, room + 1), _read_tail(self.stderr, room + 1)
        stderr = _last_lines(stderr, max(room // 2, room - len(stdout)))
        stdout = _last_lines(stdout, room - len(stderr))
        gap = b"\n" if stdout and stderr and not stdout.endswith(b"\n") else b""
        return stdout + gap + stderr

    def stderr_tail(self) -> str:
        """Return the end of stderr as text."""
        return _read_tail(self.stderr, _TAIL_BYTES).decode(errors="replace")

    def collect_result(self, *, limit_bytes: int | None = None) -> tuple[bytes | Path, int]:
        """Return the result and its size. Call when the program has ended. Blocks.

        Raises:
            ResultTooLargeError: what is in /job/out has more than *limit_bytes*.
            ContainerError: a full disk here, or a file that may not be read.
        """
        try:
            source = self._collect_out(limit_bytes) or self.stdout
            size = source.stat().st_size
            return (source.read_bytes() if size <= INLINE_MAX_BYTES else source), size
        except OSError as error:
            raise ContainerError(f"{self.path.name}: its result was not read: {error}") from error

    def _collect_out(self, limit_bytes: int | None) -> Path | None:
        entries = list(_regular_files(self.job / "out"))
        if not entries:
            return None
        # Before anything is copied: holes cost a program nothing, and would fill this disk.
        size = sum(path.lstat().st_size for _, path in entries)
        if limit_bytes is not None and size > limit_bytes:
            raise ResultTooLargeError(f"the files in /job/out have more than {limit_bytes} bytes")
        if len(entries) == 1 and "/" not in entries[0][0]:
            with _open_regular(entries[0][1]) as source, self._result.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            return self._result
        with tarfile.open(self._result, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, path in entries:
                with _open_regular(path) as source:
                    entry = tarfile.TarInfo(name)
                    status = os.fstat(source.fileno())
                    entry.size, entry.mode = status.st_size, stat.S_IMODE(status.st_mode) & 0o755
                    archive.addfile(entry, source)
        return self._result

    def remove(self) -> None:
        """Remove the folder. What is mounted in it must be unmounted before."""
        shutil.rmtree(self.path, ignore_errors=True)


def owner(agent: ClientId, work: Path) -> str:
    """Return the name under which an agent's cgroups and containers are its own.

    The folder belongs to it, since two clusters on one machine may both have an `edge-1`, and
    neither may sweep away what the other runs.
    """
    return f"{agent}.{hashlib.sha256(str(work.absolute()).encode()).hexdigest()[:8]}"


def contract_environment(request: StartRequest) -> dict[str, str]:
    """Return the variables that every program finds, as of its start."""
    return {
        "WORKRS_JOB": request.job,
        "WORKRS_EPOCH": str(request.epoch),
        "WORKRS_ATTEMPT": str(request.attempt),
        "WORKRS_RESUMED": "0" if request.restore_from is None else "1",
    }


def parse_progress(data: bytes) -> Progress | None:
    """Return what the last whole line of *data* says; None when it is no number from 0 to 1."""
    lines = data[: data.rfind(b"\n") + 1].split(b"\n") if b"\n" in data else [data]
    last = next((line for line in reversed(lines) if line.strip()), b"")
    number, _, note = last.decode(errors="replace").strip().partition(" ")
    try:
        fraction = float(number)
    except ValueError:
        return None
    if not math.isfinite(fraction):
        return None
    shown = "".join(c for c in note.strip() if c.isprintable())[:_NOTE_LENGTH_MAX]
    return Progress(fraction=min(1.0, max(0.0, fraction)), note=shown)


def _last_lines(data: bytes, limit_bytes: int) -> bytes:
    """Return the end of *data*, from the beginning of a line unless that line is too long."""
    over = len(data) - limit_bytes
    if over <= 0:
        return data
    start = data.find(b"\n", over - 1) + 1
    return data[start:] if over <= start < len(data) else data[over:]


def _read_tail(path: Path, limit_bytes: int) -> bytes:
    try:
        with _open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit_bytes))
            return file.read(limit_bytes)
    except OSError:
        return b""


def _open_regular(path: Path) -> BinaryIO:
    """Open a file to read, without following a link and without waiting for a FIFO's writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return os.fdopen(descriptor, "rb")


def _regular_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of the regular files below *folder*, by name; links are skipped."""
    if folder.is_symlink():
        return
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield str(path.relative_to(folder)), path
