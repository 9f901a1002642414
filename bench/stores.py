"""What stores take and give: 64 MiB as the parts of a checkpoint, and as one large file.

    .venv/bin/python -m bench.stores [--rounds 3]

A folder, a node, a real S3 server (SeaweedFS) and a real Azure server (Azurite), all on this
machine's disk, in one run, interleaved. MiB/s, medians of the rounds.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from broker.blob_server import BlobServer
from workrs.adapters.stores.opener import Stores
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.store import BlobStore, JobSpace
from workrs.testing.object_server import NoServerError, azurite, seaweedfs

TOTAL_MIB = 64
PART_MIB = 4
AT_ONCE = 4
"""Parts under way at once, as when a checkpoint is stored."""
COLUMNS = ("put parts", "get parts", "put file", "fetch file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is stored."""

    parts: dict[Digest, bytes]
    file: Path
    digest: Digest


def make_load(folder: Path) -> Load:
    """Return random bytes, which nothing compresses."""
    rng = random.Random(1)
    parts = [rng.randbytes(PART_MIB << 20) for _ in range(TOTAL_MIB // PART_MIB)]
    file = folder / "file"
    file.write_bytes(b"".join(parts))
    with file.open("rb") as content:
        digest = Digest(hashlib.file_digest(content, "sha256").hexdigest())
    return Load(
        parts={Digest(hashlib.sha256(part).hexdigest()): part for part in parts},
        file=file,
        digest=digest,
    )


@contextlib.asynccontextmanager
async def open_all(folder: Path) -> AsyncIterator[dict[str, BlobStore]]:
    """Start every server that is here and yield stores by name."""
    found: dict[str, BlobStore] = {}
    with contextlib.ExitStack() as stack:
        stores = Stores()
        shared = folder / "folder"
        shared.mkdir()
        found["folder"] = stores.open(shared.as_uri())
        for name, start in (("S3", seaweedfs), ("Azure", azurite)):
            place = folder / name
            place.mkdir()
            try:
                server = stack.enter_context(start(place))
            except NoServerError as error:
                print(f"{name}: {error}")
                continue
            stack.enter_context(server.environment())
            found[name] = stores.open(f"{server.bucket}/bench")
        node = BlobServer(folder / "node", "127.0.0.1", 0)
        await node.start()
        try:
            async with stores:
                found["node"] = stores.open(node.url)
                yield found
        finally:
            await node.stop()


async def _measure(store: BlobStore, load: Load, space: JobSpace, out: Path) -> list[float]:
    limit = asyncio.Semaphore(AT_ONCE)

    async def put(name: Digest) -> None:
        async with limit:
            await store.put(name, load.parts[name], space)

    async def get(name: Digest) -> None:
        async with limit:
            assert await store.get(name, space) == load.parts[name]

    async def all_of(one: Callable[[Digest], Awaitable[None]]) -> None:
        await asyncio.gather(*(one(name) for name in load.parts))

    size = TOTAL_MIB << 20
    rates = [
        await _rate(all_of(put)),
        await _rate(all_of(get)),
        await _rate(store.put(load.digest, load.file, space)),
        await _rate(store.fetch(load.digest, out, space, limit_bytes=size)),
    ]
    out.unlink()  # noqa: ASYNC240 (a file of its own)
    for name in (*load.parts, load.digest):
        await store.delete(name, space)
    return rates


async def _rate(work: Awaitable[None]) -> float:
    begin = time.perf_counter()
    await work
    return TOTAL_MIB / (time.perf_counter() - begin)


async def _run(rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd() / ".workrs") as made:
        folder = Path(made)
        load = make_load(folder)
        async with open_all(folder) as stores:
            rates: dict[str, list[list[float]]] = {name: [] for name in stores}
            for number in range(rounds):
                space = JobSpace(job=JobId("bench_stores"), epoch=Epoch(number))
                for name, store in stores.items():
                    await asyncio.to_thread(os.sync)
                    rates[name].append(await _measure(store, load, space, folder / "out"))
    print(f"| MiB/s | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name, measured in rates.items():
        medians = [f"{statistics.median(column):.0f}" for column in zip(*measured, strict=True)]
        print(f"| {name} | {' | '.join(medians)} |")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(_run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
