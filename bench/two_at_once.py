"""What an agent's memory grows to while it saves and fetches two checkpoints at once.

Method: two programs' memory, half of it noise, is written to disk as CRIU would leave it. A
process that has loaded what an agent loads saves both into two nodes' stores (in another process,
over HTTP, sealed), changes pages one by one, saves again, and fetches: one at a time, then two at
once, and saves beside fetches: one of each, then more than an agent does at once. Each step
prints the most that the process had in memory since it began. With --apart each
checkpoint has a share of its own, as if there were no bound.

Run: python -m bench.two_at_once [--mib 1024] [--apart]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import edge_agent.__main__
import edge_agent.runtimes.docker  # noqa: F401 (what an agent has loaded)
from bench.block_size import PAGE, change, write_memory
from bench.checkpoint.storing import forget_peak, node_stores, peak_mib
from edge_agent.checkpoint import Saved, Share, load, save
from edge_agent.checkpoint.keys import new_ring
from workrs.adapters.stores.opener import Stores
from workrs.domain.ids import Epoch, JobId
from workrs.ports.runtime import Rung, Snapshot
from workrs.testing.runtime import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable

CHANGED = 20
"""One page in so many is changed between two checkpoints."""


class Program:
    """A job's memory on disk, and its newest checkpoint."""

    def __init__(self, bench: Bench, number: int) -> None:
        self.root = bench.root / f"program-{number}"
        self.root.mkdir()
        self.job = JobId(f"bench_{number}")
        self.saved: Saved | None = None
        self._bench = bench
        self._image = write_memory(self.root, bench.pages)
        self._seq = itertools.count(1)
        self._fetches = itertools.count(1)

    def change(self) -> None:
        rng = random.Random(1)
        some = rng.sample(range(self._bench.pages), self._bench.pages // CHANGED)
        change(self._image, some, rng)

    async def save(self) -> None:
        bench = self._bench
        self.saved = await save(
            Snapshot(path=self.root, rung=Rung.MEMORY, image="i", command=("x",), host=HOST),
            job=self.job,
            epoch=Epoch(1),
            seq=next(self._seq),
            stores=[bench.stores.open(url) for url in bench.urls],
            previous=self.saved,
            keys=bench.keys,
            share=bench.share,
        )

    async def fetch(self) -> None:
        assert self.saved is not None
        bench, path = self._bench, self.root.with_suffix(f".{next(self._fetches)}")
        await load(
            self.saved.ref,
            job=self.job,
            open_store=bench.stores.open,
            path=path,
            limit_bytes=1 << 40,
            keys=bench.keys,
            share=bench.share,
        )
        await asyncio.to_thread(shutil.rmtree, path)


class Bench:
    """What the programs are saved with."""

    def __init__(self, root: Path, urls: list[str], pages: int, stores: Stores) -> None:
        self.root = root
        self.urls = urls
        self.pages = pages
        self.stores = stores
        self.keys = new_ring()
        self.share: Share | None = Share()


async def step(name: str, *calls: Awaitable[None]) -> float:
    forget_peak()
    begin = asyncio.get_running_loop().time()
    await asyncio.gather(*calls)
    peak, took_s = peak_mib(), asyncio.get_running_loop().time() - begin
    print(f"{name:34} {peak:6.0f} MiB {took_s:7.1f} s", flush=True)
    return peak


async def measure(root: Path, urls: list[str], mib: int, *, apart: bool) -> float:
    async with Stores() as stores:
        bench = Bench(root, urls, (mib << 20) // PAGE, stores)
        if apart:
            bench.share = None
        one, two = Program(bench, 1), Program(bench, 2)
        forget_peak()
        print(f"{'before':34} {peak_mib():6.0f} MiB")
        peaks = [await step("save one", one.save())]
        peaks.append(await step("fetch one", one.fetch()))
        one.saved = None
        peaks.append(await step("save two", one.save(), two.save()))
        for program in (one, two):
            await asyncio.to_thread(program.change)
        peaks.append(await step("save two, 5 % one by one", one.save(), two.save()))
        peaks.append(await step("fetch two", one.fetch(), two.fetch()))
        peaks.append(await step("save one, fetch the other", one.save(), two.fetch()))
        for program in (one, two):
            await asyncio.to_thread(program.change)
        fetches = (one.fetch(), two.fetch(), one.fetch())
        peaks.append(await step("save two, fetch three", one.save(), two.save(), *fetches))
        return max(peaks)


def run(mib: int, folder: Path, *, apart: bool = False) -> float:
    """Return the most memory in MiB. In a process of its own: what was free stays in it."""
    with node_stores(folder / "nodes") as urls:
        return asyncio.run(measure(folder, urls, mib, apart=apart))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--apart", action="store_true", help="without a bound on both together")
    options = parser.parse_args()
    scratch = "/dev/shm" if os.path.ismount("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="workrs-bench-", dir=scratch) as folder:
        context = multiprocessing.get_context("spawn")
        process = context.Process(
            target=run, args=(options.mib, Path(folder)), kwargs={"apart": options.apart}
        )
        process.start()
        process.join()


if __name__ == "__main__":
    main()
