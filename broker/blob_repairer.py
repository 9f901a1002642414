"""Fetches the copies of checkpoints that a node lost, from the nodes that have them.

1. It only adds, and takes away only what has not the bytes of its name. What it fetches is taken
   like an upload: hashed, synced, then named; so it may meet uploads, deletions and its own death
   at any point.
2. One blob at a time, at most RATE_BYTES_S: jobs that run need the disks and the network.
3. Everything that another node has of a job is fetched, at the epoch at which it lies there,
   and the manifests last: what a manifest names need not be known, nor be readable, here.
4. It never ends for a failure: a source that is silent or a full disk is said and tried later,
   at once where other checkpoints are wanted since.

A blob that was deleted while it was being fetched may stay. It goes with its job.
"""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Final, NamedTuple

import aiohttp

from broker.blob_directory import BlobDirectory
from broker.blob_name import BlobName, checkpoint_name
from broker.blob_repair import Copy, Repair, copies, repairs
from broker.blob_upload import Upload
from broker.node import Node
from workrs.adapters import log
from workrs.domain.errors import StoreError, WorkrsError
from workrs.domain.ids import Digest, JobId

LOG = log.get("node.repair")
PERIOD_S: Final = 5.0
"""Between two looks. A look costs a few microseconds for an open job."""
RETRY_S: Final = 60.0
"""Wait after a repair that found nobody to fetch from."""
LISTINGS_MAX: Final = 3
"""Times a source is asked what it has: what an agent deletes meanwhile is not there any more."""
RATE_BYTES_S: Final = 32 << 20
ENTRIES_AT_ONCE: Final = 1_000
"""Looked at between two turns of the event loop."""
_CONNECT_S: Final = 2.0
_SILENT_S: Final = 8.0
_PIECE_BYTES: Final = 1 << 20
_LISTING_MAX_BYTES: Final = 64 << 20
_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError, WorkrsError)


class Listed(NamedTuple):
    """A blob that another node has."""

    name: BlobName
    bytes: int


class BlobGoneError(StoreError):
    """What a node listed a moment ago is not there any more."""


class Repairer:
    """Keeps the copies of one node's blob store complete."""

    def __init__(
        self, node: Node, directory: BlobDirectory, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Hold what the ledger's jobs have here as doubtful until it was compared once.

        Args:
            node: whose store it is.
            directory: the store.
            tls: proves this node to the others, and they to it; None: they ask nobody.
        """
        self._tls = tls
        self._node = node
        self._directory = directory
        self._doubtful: set[Copy] = {
            (entry.job, manifest)
            for entry in node.entries.values()
            if entry.is_open
            for manifest in copies(entry.records, node.settings.blobs_url)
        }
        self._whole: set[Copy] = set()
        self._failed: dict[JobId, tuple[Repair, float]] = {}
        """What was tried in vain, and when it is to be tried again."""

    async def keep(self) -> None:
        """Look for what is missing, and fetch it, until cancelled."""
        clock = asyncio.get_running_loop().time
        patience = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S)
        async with aiohttp.ClientSession(
            timeout=patience,
            auto_decompress=False,
            connector=aiohttp.TCPConnector(ssl=self._tls or True),
        ) as session:
            while True:
                for wanted in await self._look():
                    failed, not_before = self._failed.get(wanted.job, (None, 0.0))
                    if wanted != failed or clock() >= not_before:
                        await self._repair(session, wanted)
                await asyncio.sleep(PERIOD_S)

    async def _look(self) -> list[Repair]:
        """Return what is missing now."""
        entries = list(self._node.entries.values())
        settings, peers = self._node.settings, self._node.peers.values()
        found: list[Repair] = []
        for start in range(0, len(entries), ENTRIES_AT_ONCE):
            found += repairs(
                entries[start : start + ENTRIES_AT_ONCE],
                own_url=settings.blobs_url,
                live_urls={peer.blobs_url for peer in peers if peer.live and peer.blobs_url},
                whole=self._whole,
                is_here=self._is_here,
            )
            await asyncio.sleep(0)
        self._forget()
        return found

    def _is_here(self, job: JobId, manifest: Digest) -> bool:
        if (job, manifest) in self._doubtful:
            return False
        if self._directory.find_any_epoch(job, manifest) is None:
            return False
        self._whole.add((job, manifest))
        return True

    def _forget(self) -> None:
        """Let go of jobs that are not on the bus any more."""
        jobs = self._node.entries
        self._whole = {copy for copy in self._whole if copy[0] in jobs}
        self._doubtful = {copy for copy in self._doubtful if copy[0] in jobs}
        self._failed = {job: found for job, found in self._failed.items() if job in jobs}

    async def _repair(self, session: aiohttp.ClientSession, wanted: Repair) -> None:
        clock = asyncio.get_running_loop().time
        why: object = "no node has it"
        for source in wanted.sources:
            try:
                fetched, size = await self._fetch_all(session, wanted, source)
            except _FAILURES as error:
                why = str(error) or type(error).__name__  # of a timeout there are no words
                continue
            if fetched:
                LOG.event("copies_repaired", job=wanted.job, blobs=fetched, bytes=size, of=source)
            whole = [m for m in wanted.manifests if self._directory.find_any_epoch(wanted.job, m)]
            self._whole.update((wanted.job, manifest) for manifest in whole)
            self._doubtful.difference_update((wanted.job, manifest) for manifest in whole)
            if len(whole) == len(wanted.manifests):
                return
        self._failed[wanted.job] = (wanted, clock() + RETRY_S)
        LOG.warning("copies_missing", job=wanted.job, why=why, retry_s=RETRY_S)

    async def _fetch_all(
        self, session: aiohttp.ClientSession, wanted: Repair, source: str
    ) -> tuple[int, int]:
        """Fetch what *source* has of a job and this node has not; return blobs and bytes."""
        fetched: list[Listed] = []
        for last in (*[False] * (LISTINGS_MAX - 1), True):
            try:
                for blob in await _listing(session, source, wanted):
                    if await self._fetch(session, source, blob):
                        fetched.append(blob)  # noqa: PERF401 (counts though another fails)
                break
            except BlobGoneError:
                if last:
                    raise
        return len(fetched), sum(blob.bytes for blob in fetched)

    async def _fetch(self, session: aiohttp.ClientSession, source: str, blob: Listed) -> bool:
        """Fetch a blob unless it is here; return whether it was not."""
        name, directory = blob.name, self._directory
        if await asyncio.to_thread(directory.delete_damaged, name, blob.bytes):
            LOG.warning("copy_damaged", job=name.job, blob=name.digest)
        upload = await asyncio.to_thread(directory.begin, name, blob.bytes)
        if upload is None:
            return False
        await _take(session, f"{source}/blobs/{name.job}/{name.digest}", upload)
        return True


async def _listing(session: aiohttp.ClientSession, source: str, wanted: Repair) -> list[Listed]:
    """Return what *source* has of a job, what is wanted by name last."""
    job = wanted.job
    async with session.get(f"{source}/blobs/{job}") as answer:
        if answer.status != 200:
            raise StoreError(f"{source} answered {answer.status}")
        text = bytearray()
        async for piece in answer.content.iter_chunked(_PIECE_BYTES):
            text += piece
            if len(text) > _LISTING_MAX_BYTES:
                raise StoreError(f"{source} lists over {_LISTING_MAX_BYTES} bytes")
    found = read_listing(text.decode("ascii"), job)
    return sorted(found, key=lambda blob: blob.name.digest in wanted.manifests)


def read_listing(text: str, job: JobId) -> Iterator[Listed]:
    """Read `EPOCH SHA256 BYTES` lines.

    Raises:
        IdError: an epoch or a digest is none.
        ValueError: a line is no such line.
    """
    for line in text.splitlines():
        epoch, digest, size = line.split(" ")
        yield Listed(checkpoint_name(job, epoch, digest), int(size))


async def _take(session: aiohttp.ClientSession, url: str, upload: Upload) -> None:
    """Take one blob, and no faster than is good for others."""
    clock = asyncio.get_running_loop().time
    began, size = clock(), 0
    try:
        async with session.get(url) as answer:
            if answer.status == 404:
                raise BlobGoneError(f"{url} answered 404")
            if answer.status != 200:
                raise StoreError(f"{url} answered {answer.status}")
            async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                size += len(piece)
                await asyncio.to_thread(upload.write, piece)
                await asyncio.sleep(began + size / RATE_BYTES_S - clock())
        await asyncio.to_thread(upload.commit)
    finally:
        # Shielded: a draft that stays open would keep its reservation for good.
        await asyncio.shield(asyncio.to_thread(upload.abandon))
