"""Copying what a program has in /job, without trusting it.

1. No link is followed. Links that stay in /job are copied as links; one that leads out of it
   makes the copy fail, since the reader of a checkpoint would refuse it.
2. Devices and sockets are not copied, set-uid bits are dropped.
3. Holes stay holes: a sparse file costs what it holds. Its apparent size counts against the
   limit, so that no later reader has to write more than that.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

from workrs.domain.errors import ContainerError

_COPY_BYTES = 8 << 20


def copy_tree(source: Path, target: Path, *, skip: frozenset[str], limit_bytes: int) -> int:
    """Copy what is in *source* except the names *skip* at its top into the folder *target*.

    Returns:
        The bytes of all files, holes included.

    Raises:
        ContainerError: a link leads out, or the files have more than *limit_bytes*.
        OSError: no space, or a folder that may not be read.
    """
    target.mkdir(mode=0o700, exist_ok=True)
    total = 0
    for parent, folders, files in os.walk(source, followlinks=False, onerror=_fail):
        inside = PurePosixPath(os.path.relpath(parent, source))
        if inside == PurePosixPath():
            folders[:] = [name for name in folders if name not in skip]
        for name in (*folders, *files):
            if name in skip and inside == PurePosixPath():
                continue
            total += _copy_entry(Path(parent, name), inside / name, target)
            if total > limit_bytes:
                raise ContainerError(f"the files in /job have more than {limit_bytes} bytes")
    return total


def _fail(error: OSError) -> NoReturn:
    # A walk by itself leaves out what it cannot read, and says nothing.
    raise error


def link_stays(path: PurePosixPath, link: str) -> bool:
    """Return whether a link at *path*, relative to /job, leads to somewhere in /job."""
    goal = PurePosixPath("/job", path.parent, link)
    depth: list[str] = []
    for part in goal.parts[1:]:
        if part == "..":
            depth[-1:] = []
        elif part != ".":
            depth.append(part)
        if depth[:1] != ["job"]:
            return False
    return True


def copy_times(status: os.stat_result, target: Path) -> None:
    """Give *target* the modification time in *status*."""
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


def _copy_entry(source: Path, inside: PurePosixPath, target: Path) -> int:
    status = source.lstat()
    copy = target / inside
    mode = stat.S_IMODE(status.st_mode) & 0o777
    if stat.S_ISDIR(status.st_mode):
        copy.mkdir()
        copy.chmod(mode | 0o700)
    elif stat.S_ISLNK(status.st_mode):
        link = str(source.readlink())
        if not link_stays(inside, link):
            # Quoted: a name need not be UTF-8, and the text goes into messages.
            raise ContainerError(f"{f'/job/{inside}'!r} is a link out of /job, to {link!r}")
        copy.symlink_to(link)
    elif stat.S_ISFIFO(status.st_mode):
        os.mkfifo(copy, mode)
    elif stat.S_ISREG(status.st_mode):
        copy_file(source, copy)
        copy.chmod(mode)
        copy_times(status, copy)
        return status.st_size
    return 0


def copy_file(source: Path, target: Path) -> None:
    """Copy a regular file with its holes into the new file *target*."""
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(reader).st_size
            os.ftruncate(writer, size)
            for start, end in _data_ranges(reader, size):
                os.lseek(writer, start, os.SEEK_SET)
                position = start
                while position < end:
                    position += _send(writer, reader, position, end)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a file that are not holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def _send(writer: int, reader: int, start: int, end: int) -> int:
    sent = os.sendfile(writer, reader, start, min(_COPY_BYTES, end - start))
    if sent == 0:
        raise OSError("a file became shorter while it was copied")
    return sent
