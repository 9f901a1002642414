"""What storing and fetching a checkpoint takes of the agent, and how much of a job is sent."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.checkpoint.ours import JOB, Workrs, spec_of
from bench.checkpoint.program import PIECE, SCATTERED, Pulse
from broker.blob_directory import BlobLimits
from broker.blob_server import BlobServer
from edge_agent.checkpoint import Saved, load, save, size_limit
from edge_agent.checkpoint.keys import new_ring
from workrs.adapters.stores.opener import Stores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from edge_agent.runtimes.docker_attempt import DockerAttempt
    from workrs.domain.job import JobSpec
    from workrs.ports.runtime import Snapshot
    from workrs.ports.store import BlobStore

_SPAWN = multiprocessing.get_context("spawn")
_DISK_BYTES = 256 << 20
_KEYS = new_ring()
"""Every process has its own, since what one saves no other loads."""


def _serve(root: Path, ready: Connection) -> None:
    """Run two stores in a process of their own, as nodes would."""

    async def run() -> None:
        limits = BlobLimits(blob_max_bytes=64 << 20, total_max_bytes=64 << 30, free_min_bytes=0)
        servers = [BlobServer(root / name, "127.0.0.1", 0, limits=limits) for name in ("n1", "n2")]
        for server in servers:
            await server.start()
        ready.send([server.url for server in servers])
        with contextlib.suppress(EOFError):
            await asyncio.to_thread(ready.recv)
        for server in servers:
            await server.stop()

    asyncio.run(run())


@contextlib.contextmanager
def node_stores(root: Path) -> Iterator[list[str]]:
    """Run two nodes' stores; yield their URLs."""
    ours, theirs = _SPAWN.Pipe()
    for name in ("n1", "n2"):
        (root / name).mkdir(parents=True)
    process = _SPAWN.Process(target=_serve, args=(root, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def peak_mib() -> float:
    """Return the largest resident size of this process since `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmHWM in /proc/self/status")


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def costs(
    *, mib: int, image: str, engines: Sequence[str], urls: Sequence[str], folder: Path
) -> dict[str, float]:
    """Return what one save and one load take of an agent, in a process that did nothing before."""
    with _SPAWN.Pool(1) as pool:
        arguments = (mib, image, list(engines), list(urls), folder)
        return pool.apply(_costs, arguments)


def _costs(
    mib: int, image: str, engines: list[str], urls: list[str], folder: Path
) -> dict[str, float]:
    return asyncio.run(_measure_costs(mib, image, engines, urls, folder))


async def _measure_costs(
    mib: int, image: str, engines: list[str], urls: list[str], folder: Path
) -> dict[str, float]:
    clock = time.perf_counter
    spec = spec_of(image=image, mib=mib)
    ours = await Workrs.open(folder / "work", engines)
    found = {"idle: MiB": peak_mib()}
    attempt, place = await ours.start(spec)
    try:
        async with Stores() as stores:
            opened = [stores.open(url) for url in urls]
            Pulse(place)
            forget_peak()
            snapshot = await attempt.checkpoint(folder / "snapshot")
            found["checkpoint: MiB"] = peak_mib()
            found |= {f"frozen: {name}": took_s for name, took_s in snapshot.steps_s.items()}
            forget_peak()
            begin, cpu = clock(), time.process_time()
            save_it = partial(save, snapshot, job=JOB, stores=opened, keys=_KEYS)
            saved = await save_it(epoch=attempt.epoch, seq=1)
            found["store, two copies"] = clock() - begin
            found["cores"] = (time.process_time() - cpu) / found["store, two copies"]
            found["store, two copies: MiB"] = peak_mib()
            forget_peak()
            again = await save_it(epoch=attempt.epoch, seq=2, previous=saved)
            found["store, unchanged"] = again.took_s
            found["store, unchanged: MiB"] = peak_mib()
            await attempt.remove()
            shutil.rmtree(snapshot.path)
            forget_peak()
            begin, cpu = clock(), time.process_time()
            loaded = await _load(saved, stores, folder / "loaded", spec)
            found["fetch and verify"] = clock() - begin
            found["fetch and verify: cores"] = (time.process_time() - cpu) / (clock() - begin)
            found["fetch and verify: MiB"] = peak_mib()
            found |= {f"fetch: {name}": took_s for name, took_s in loaded.steps_s.items()}
            forget_peak()
            begin = clock()
            attempt, place = await ours.start(spec, on=1, saved=loaded)
            found["restore"] = clock() - begin
            found["restore: MiB"] = peak_mib()
            found |= {f"restore: {name}": took_s for name, took_s in attempt.steps_s.items()}
    finally:
        await attempt.remove()
        await ours.close()
        shutil.rmtree(folder / "loaded", ignore_errors=True)
    found["peak_mib"] = max(value for name, value in found.items() if name.endswith("MiB"))
    return found


async def _load(saved: Saved, stores: Stores, path: Path, spec: JobSpec) -> Snapshot:
    limit_bytes = size_limit(memory_mb=spec.memory_mb, disk_bytes=_DISK_BYTES)
    return await load(
        saved.ref,
        job=JOB,
        open_store=stores.open,
        path=path,
        limit_bytes=limit_bytes,
        keys=_KEYS,
    )


class Chain:
    """Checkpoints of one program, each after the one before; their snapshots are kept."""

    def __init__(self, attempt: DockerAttempt, opened: Sequence[BlobStore], mib: int) -> None:
        self._attempt = attempt
        self._opened = opened
        self._bytes = mib << 20
        self._saved: Saved | None = None
        self._seq = 0

    async def save(self, path: Path) -> tuple[Snapshot, dict[str, float]]:
        snapshot = await self._attempt.checkpoint(path)
        self._seq += 1
        self._saved = await save(
            snapshot,
            job=JOB,
            epoch=self._attempt.epoch,
            seq=self._seq,
            stores=self._opened,
            previous=self._saved,
            keys=_KEYS,
        )
        sent = float(self._saved.uploaded_bytes)
        return snapshot, {
            "sent_bytes": sent,
            "share": sent / self._bytes,
            "took_s": self._saved.took_s,
        }


async def changes(
    ours: Workrs, *, image: str, mib: int, urls: Sequence[str], folder: Path
) -> tuple[dict[str, dict[str, float]], list[Snapshot]]:
    """Return what is sent after each kind of change, and the snapshots before and after two."""
    found: dict[str, dict[str, float]] = {}
    kept: list[Snapshot] = []
    async with Stores() as stores:
        opened = [stores.open(url) for url in urls]
        attempt, place = await ours.start(spec_of(image=image, mib=mib))
        try:
            pulse = Pulse(place)
            chain = Chain(attempt, opened, mib)
            first, found["the first"] = await chain.save(folder / "first")
            same, found["nothing changed"] = await chain.save(folder / "same")
            shutil.rmtree(same.path)
            pulse.change(PIECE)
            piece, found["5 % in one piece"] = await chain.save(folder / "piece")
            pulse.change(SCATTERED)
            scattered, found["5 % page by page"] = await chain.save(folder / "scattered")
            kept = [first, piece, scattered]
        finally:
            await attempt.remove()
        attempt, place = await ours.start(spec_of(image=image, mib=mib, fill="zero"))
        try:
            Pulse(place)
            zero, found["all zero"] = await Chain(attempt, opened, mib).save(folder / "zero")
            shutil.rmtree(zero.path)
        finally:
            await attempt.remove()
    return found, kept
