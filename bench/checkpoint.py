"""What a checkpoint and a takeover's restore cost, step by step, beside runc alone.

    sudo .venv/bin/python -m bench.checkpoint [--mib 64 1024] [--rounds 3] [--json FILE]

Two engines and two blob stores of this machine. A program fills its memory with bytes of which
half can be compressed; it is checkpointed, stored, fetched, verified and restored on the other
engine. In the same run `runc checkpoint` dumps the same program alone: what is above that is
ours. Times are medians in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from broker.blob_directory import BlobLimits
from broker.blob_server import BlobServer
from edge_agent.checkpoint import load, save, size_limit
from edge_agent.runtimes.docker import DockerRuntime
from edge_agent.runtimes.host import tool_path
from edge_agent.stores import Stores
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.engine.image import build_image
from workrs.engine.own import OwnEngine, own_engines
from workrs.ports.runtime import Rung, StartRequest
from workrs.testing.runtime import FakeWarden

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

JOB = JobId("bench_1")
PROGRAM = """
import os, sys, time
half = int(sys.argv[1]) << 19
noise, text = bytearray(os.urandom(1 << 20)) * (half >> 20), bytearray(range(256)) * (half >> 8)
# Each megabyte of noise is another one, or equal parts would be stored once.
for n in range(0, half, 4096):
    noise[n : n + 8] = n.to_bytes(8, "big")
open("/job/progress", "w").write("0.5 filled\\n")
while True:
    time.sleep(1)
"""


def serve(root: Path, ready: Connection) -> None:
    """Run two stores in a process of their own, as nodes would."""

    async def run() -> None:
        limits = BlobLimits(blob_max_bytes=64 << 20, total_max_bytes=64 << 30, free_min_bytes=0)
        servers = [BlobServer(root / name, "127.0.0.1", 0, limits=limits) for name in ("n1", "n2")]
        for server in servers:
            await server.start()
        ready.send([server.url for server in servers])
        await asyncio.to_thread(ready.recv)
        for server in servers:
            await server.stop()

    asyncio.run(run())


@contextlib.contextmanager
def stores_in(root: Path) -> Iterator[list[str]]:
    ours, theirs = multiprocessing.Pipe()
    for name in ("n1", "n2"):
        (root / name).mkdir()
    process = multiprocessing.Process(target=serve, args=(root, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def raw_dump(engine: OwnEngine, container_id: str, folder: Path) -> float:
    """Return how long runc alone takes, leaving the program running."""
    folder.mkdir(parents=True)
    begin = time.perf_counter()
    subprocess.run(
        [
            *("runc", "--root", engine.runc_root, "checkpoint", "--leave-running", "--file-locks"),
            *("--image-path", folder / "image", "--work-path", folder / "work", container_id),
        ],
        check=True,
        capture_output=True,
        env=tool_path(),
    )
    took_s = time.perf_counter() - begin
    shutil.rmtree(folder)
    return took_s


async def measure(
    *, mib: int, engines: list[OwnEngine], image: str, urls: list[str], path: Path, number: int
) -> dict[str, float]:
    """Take one program through a checkpoint and a restore."""
    warden = FakeWarden()
    a, b = [
        await DockerRuntime.open(
            url=engine.url, agent=ClientId(f"bench-{name}"), work=path / name, warden=warden
        )
        for name, engine in zip("ab", engines, strict=True)
    ]
    if a.rung is not Rung.MEMORY:
        raise SystemExit("no memory rung here: see `workrs doctor`")
    spec = JobSpec(
        image=image, command=("python3", "-c", PROGRAM, str(mib)), memory_mb=2 * mib + 64
    )
    first = StartRequest(
        job=JOB, epoch=Epoch(2 * number + 1), attempt=1, spec=spec, deadline=Instant(1e12)
    )
    found: dict[str, float] = {}
    clock = time.perf_counter
    async with Stores() as stores:
        attempt = await a.start(first)
        while await attempt.progress() is None:
            await asyncio.sleep(0.05)
        found["runc alone"] = raw_dump(engines[0], attempt.container_id, path / "raw")
        begin = clock()
        snapshot = await attempt.checkpoint(path / "snapshot")
        found["checkpoint: frozen"] = snapshot.frozen_s
        found["checkpoint: dump"] = snapshot.steps_s["dump"]
        found["checkpoint: all"] = clock() - begin
        opened = [stores.open(url) for url in urls]
        saved = await save(snapshot, job=JOB, epoch=first.epoch, seq=1, stores=opened)
        shutil.rmtree(snapshot.path)
        found["store: both copies"] = saved.took_s
        snapshot = await attempt.checkpoint(path / "snapshot")
        again = await save(
            snapshot, job=JOB, epoch=first.epoch, seq=2, stores=opened, previous=saved
        )
        shutil.rmtree(snapshot.path)
        found["store: unchanged"] = again.took_s
        found["MiB stored"] = saved.ref.bytes / (1 << 20)
        found["MiB sent if unchanged"] = again.uploaded_bytes / (1 << 20)
        begin = clock()
        await attempt.remove()
        found["remove"] = clock() - begin
        begin = clock()
        snapshot = await load(
            saved.ref,
            job=JOB,
            open_store=stores.open,
            path=path / "loaded",
            limit_bytes=size_limit(memory_mb=spec.memory_mb, disk_bytes=256 << 20),
        )
        loaded = clock()
        second = await b.start(
            StartRequest(
                job=JOB,
                epoch=Epoch(first.epoch + 1),
                attempt=2,
                spec=spec,
                deadline=Instant(1e12),
                restore_from=snapshot,
            )
        )
        found["restore: fetch and verify"] = loaded - begin
        found |= {f"restore: {name}": took_s for name, took_s in second.steps_s.items()}
        found["restore: all"] = clock() - begin
        await second.remove()
        shutil.rmtree(path / "loaded")
    await a.close()
    await b.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mib", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    scratch = "/dev/shm" if os.path.ismount("/dev/shm") else None
    with (
        tempfile.TemporaryDirectory(prefix="workrs-bench-") as disk,
        tempfile.TemporaryDirectory(prefix="workrs-bench-", dir=scratch) as fast,
        stores_in(Path(disk)) as urls,
        own_engines(2, Path(disk) / "engines") as engines,
    ):
        image = build_image([engine.url for engine in engines]).image_id
        for mib in options.mib:
            rounds = [
                asyncio.run(
                    measure(
                        mib=mib,
                        engines=list(engines),
                        image=image,
                        urls=urls,
                        path=Path(fast),
                        number=number,
                    )
                )
                for number in range(options.rounds)
            ]
            median = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
            results[f"{mib} MiB"] = median
            print(f"{mib} MiB")
            for name, value in median.items():
                print(f"  {name:28} {value:8.3f}")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process  {peak_mib:8.1f} MiB")
    if options.json:
        options.json.write_text(json.dumps({**results, "peak_mib": peak_mib}, indent=2) + "\n")


if __name__ == "__main__":
    main()
