"""Throughput of a node's blob store: one blob in, and out again, over the loopback.

Run: .venv/bin/python bench/blob_server.py [MEBIBYTES] [DIRECTORY]
Server and client are processes of their own. An upload counts until the answer that says
the blob is on disk.
"""

import asyncio
import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp

from broker.blob_server import BlobServer

PIECE_BYTES = 1 << 20


def serve(root: str, said: Connection) -> None:
    """Serve until killed; say the URL first."""

    async def run() -> None:
        server = BlobServer(Path(root), "127.0.0.1", 0)
        await server.start()
        said.send(server.url)
        await asyncio.Event().wait()

    asyncio.run(run())


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """Give *data* away a mebibyte at a time."""
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


async def measure(url: str, size_bytes: int) -> None:
    """Print megabytes a second for five rounds."""
    async with aiohttp.ClientSession(read_bufsize=PIECE_BYTES) as session:
        for number in range(5):
            data = os.urandom(size_bytes)
            digest = hashlib.sha256(data).hexdigest()
            began = time.perf_counter()
            async with session.put(
                f"{url}/blobs/bench_job/{number}/{digest}", data=pieces(data)
            ) as answer:
                assert answer.status == 201
            between = time.perf_counter()
            async with session.get(f"{url}/blobs/bench_job/{digest}") as answer:
                found = sum([len(part) async for part in answer.content.iter_any()])
            assert found == size_bytes
            ended = time.perf_counter()
            put, get = size_bytes / (between - began) / 1e6, size_bytes / (ended - between) / 1e6
            print(f"{size_bytes >> 20} MiB  PUT {put:5.0f} MB/s  GET {get:5.0f} MB/s")


def main() -> None:
    """Start the server, measure, end it."""
    size_bytes = (int(sys.argv[1]) if len(sys.argv) > 1 else 64) << 20
    place = sys.argv[2] if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory(dir=place) as root:
        hear, said = multiprocessing.Pipe(duplex=False)
        server = multiprocessing.Process(target=serve, args=(root, said))
        server.start()
        try:
            asyncio.run(measure(hear.recv(), size_bytes))
        finally:
            server.kill()
            server.join()


if __name__ == "__main__":
    main()
