"""restic and borg beside ours, on the same snapshots: time, processor time, bytes, restore.

Each stores three snapshots of one program in an empty repository on one file system, and brings
the third back, which must be the same bytes. One copy, no network.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import shutil
import time
from typing import TYPE_CHECKING, Protocol

from bench.checkpoint.ours import JOB
from bench.checkpoint.packages import environment
from bench.checkpoint.rivals import run
from edge_agent.checkpoint import Saved, load, save
from edge_agent.checkpoint.keys import new_ring
from workrs.adapters.stores.opener import Stores
from workrs.domain.ids import Epoch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from workrs.ports.runtime import Snapshot

OWN = "workrs"
_UNPACKED_MAX_BYTES = 64 << 30


class Archive(Protocol):
    """One way to keep snapshots."""

    name: str

    def open(self, folder: Path) -> None:
        """Make an empty repository in *folder*."""
        ...

    def store(self, snapshot: Snapshot, number: int) -> None: ...

    def restore(self, path: Path) -> None:
        """Write the newest snapshot into the new folder *path*."""
        ...


class Own:
    """save() and load(), with a shared folder as the store."""

    def __init__(self, *, sealed: bool = True) -> None:
        self.name = OWN if sealed else f"{OWN}, not encrypted"
        self._keys = new_ring() if sealed else None

    def open(self, folder: Path) -> None:
        self._url = folder.as_uri()
        self._saved: Saved | None = None

    def store(self, snapshot: Snapshot, number: int) -> None:
        async def call() -> Saved:
            async with Stores() as stores:
                return await save(
                    snapshot,
                    job=JOB,
                    epoch=Epoch(1),
                    seq=number,
                    stores=[stores.open(self._url)],
                    copies=1,
                    previous=self._saved,
                    keys=self._keys,
                )

        self._saved = asyncio.run(call())

    def restore(self, path: Path) -> None:
        async def call(saved: Saved) -> None:
            async with Stores() as stores:
                await load(
                    saved.ref,
                    job=JOB,
                    open_store=stores.open,
                    path=path,
                    limit_bytes=_UNPACKED_MAX_BYTES,
                    keys=self._keys,
                )

        assert self._saved is not None
        asyncio.run(call(self._saved))


class Restic:
    """restic as it is by default: encrypted, zstd, all cores."""

    def __init__(self, programs: Path, *, cores: int | None = None) -> None:
        self.name = "restic" if cores is None else f"restic, {cores} core"
        self._env = environment(programs) | {"RESTIC_PASSWORD": "bench"}
        if cores is not None:
            self._env["GOMAXPROCS"] = str(cores)

    def open(self, folder: Path) -> None:
        self._restic = ("restic", "--quiet", "--repo", str(folder / "repository"))
        self._env["RESTIC_CACHE_DIR"] = str(folder / "cache")
        run(*self._restic, "init", env=self._env)

    def store(self, snapshot: Snapshot, number: int) -> None:
        run(*self._restic, "backup", "--tag", str(number), snapshot.path, env=self._env)

    def restore(self, path: Path) -> None:
        run(*self._restic, "restore", "latest", "--target", path, env=self._env)


class Borg:
    """borg with its default compression, LZ4, or with zstd."""

    def __init__(self, programs: Path, *, encryption: str, compression: str = "lz4") -> None:
        self.name = f"borg, {encryption}, {compression}"
        self._encryption = encryption
        self._compression = compression
        self._env = environment(programs) | {
            "BORG_PASSPHRASE": "bench",
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        self._borg = ("/usr/bin/python3", str(programs / "usr/bin/borg"))

    def open(self, folder: Path) -> None:
        self._repository = folder / "repository"
        self._env["BORG_BASE_DIR"] = str(folder / "base")
        options = ("init", "--encryption", self._encryption, self._repository)
        run(*self._borg, *options, env=self._env)

    def store(self, snapshot: Snapshot, number: int) -> None:
        options = ("create", "--compression", self._compression)
        name = f"{self._repository}::{number}"
        run(*self._borg, *options, name, snapshot.path, env=self._env)
        self._newest = name

    def restore(self, path: Path) -> None:
        path.mkdir()
        with contextlib.chdir(path):  # it extracts to nowhere else
            run(*self._borg, "extract", self._newest, env=self._env)


def rivals(programs: Path) -> list[Archive]:
    return [
        Restic(programs),
        Restic(programs, cores=1),
        Borg(programs, encryption="none"),
        Borg(programs, encryption="repokey-blake2"),
        Borg(programs, encryption="repokey-blake2", compression="zstd,1"),
    ]


def measure(archive: Archive, snapshots: Sequence[Snapshot], folder: Path) -> dict[str, float]:
    """Store the snapshots one after the other, and restore the last."""
    found: dict[str, float] = {}
    repository = folder / "archive"
    restored = folder / "restored"
    repository.mkdir()
    try:
        archive.open(repository)
        size = _size(repository)
        for number, (name, snapshot) in enumerate(zip(_STEPS, snapshots, strict=True), 1):
            os.sync()
            begin, cpu = time.perf_counter(), _cpu_s()
            archive.store(snapshot, number)
            found[f"{name}_s"] = time.perf_counter() - begin
            found[f"{name}_cpu_s"] = _cpu_s() - cpu
            size, before = _size(repository), size
            found[f"{name}_bytes"] = size - before
        begin, cpu = time.perf_counter(), _cpu_s()
        archive.restore(restored)
        found["restore_s"] = time.perf_counter() - begin
        found["restore_cpu_s"] = _cpu_s() - cpu
        if _digests(restored) != _digests(snapshots[-1].path):
            raise SystemExit(f"{archive.name} restored other bytes")
    finally:
        shutil.rmtree(repository, ignore_errors=True)
        shutil.rmtree(restored, ignore_errors=True)
    return found


_STEPS = ("first", "second", "third")


def _cpu_s() -> float:
    """Return the processor time of this process and of all it has waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _size(folder: Path) -> int:
    """Return the bytes of all files but those of restic's and borg's caches."""
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in ("cache", "base")
    )


def _digests(folder: Path) -> set[tuple[str, str]]:
    """Return the names and contents of CRIU's images below *folder*, however deep they lie."""
    found = set()
    for path in folder.rglob("*.img"):
        with path.open("rb") as file:
            found.add((path.name, hashlib.file_digest(file, "sha256").hexdigest()))
    return found
