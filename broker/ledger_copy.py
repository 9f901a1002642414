"""How a node's ledger is read by another: `GET /ledger?generation=G`.

By one that lost its own, and by all while the list of nodes changes (`broker.list_copy`).

JSON, one object a line, and a line that counts the others at the end: an answer without it was
cut short. Refused with 409 while this node's votes are of a lower generation on its disk, since
votes that it gave after its answer would count together with forgotten ones.

| line | is |
|---|---|
| `{"job": {"record": …, "payload": "…"}}` | a job that is not retired, as on disk |
| `{"retired": {"job": …, "kept": …}}` | a retired one |
| `{"agent": {"client": …, "incarnation": …}}` | an agent that was heard |
| `{"function": …}` | what it knows of a function |
| `{"lines": 118}` | the end |
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from broker.effect import ReadPeerLedger
from broker.event import (
    CopiedAgent,
    CopiedJob,
    PeerLedgerFailed,
    PeerLedgerPart,
    PeerLedgerRead,
)
from workrs.domain.errors import WireError
from workrs.domain.function import FunctionRecord
from workrs.domain.record import Record
from workrs.ports.ledger import Ledger, SaveRetired
from workrs.wire import codec

PART_LINES = 500
CONNECT_S = 3.0
SILENT_S = 10.0
_FAILURES = (
    aiohttp.ClientError,
    HttpProcessingError,
    TimeoutError,
    OSError,
    ValueError,
    WireError,
)
LINE_MAX_BYTES = 1 << 20
"""A record and a spec at their largest are half of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    record: Record
    payload: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; exactly one of its fields is set."""

    job: _Job | None = None
    retired: SaveRetired | None = None
    agent: CopiedAgent | None = None
    function: FunctionRecord | None = None
    lines: int | None = None


class StaleGenerationError(WireError):
    """This node's votes are still of a lower generation."""


def lines(ledger: Ledger, agents: Iterable[CopiedAgent], generation: int) -> Iterator[bytes]:
    """Return the answer, line by line. Blocks on the disk.

    Raises:
        StaleGenerationError: before the first line.
        LedgerError: the ledger cannot be read.
    """
    own = ledger.standing.generation
    if own < generation:
        raise StaleGenerationError(f"votes are of generation {own} here, not yet {generation}")
    count = 0
    for line in _lines(ledger, agents):
        count += 1
        yield codec.encode(line) + b"\n"
    yield codec.encode(Line(lines=count)) + b"\n"


def _lines(ledger: Ledger, agents: Iterable[CopiedAgent]) -> Iterator[Line]:
    for agent in agents:
        yield Line(agent=agent)
    for saved_function in ledger.functions():
        yield Line(function=saved_function.record)
    # Retired ones last: a job that is retired meanwhile is then read twice, and not missed.
    for saved in ledger.load():
        payload = None if saved.payload is None else saved.payload.decode()
        yield Line(job=_Job(record=saved.record, payload=payload))
    for retired in ledger.load_retired():
        yield Line(retired=retired)


async def pieces(found: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Return *found* some hundred lines at a time, read in a thread."""
    while piece := await asyncio.to_thread(lambda: b"".join(islice(found, PART_LINES))):
        yield piece


async def read_peer_ledger(
    wanted: ReadPeerLedger, tls: ssl.SSLContext | None = None
) -> AsyncIterator[PeerLedgerPart | PeerLedgerRead | PeerLedgerFailed]:
    """Read another node's ledger over HTTP; never raises.

    Args:
        wanted: whose, and as of which generation.
        tls: proves this node to the other, and the other to it.
    """
    try:
        async for part in _read(wanted, tls):
            yield part
    except _FAILURES as error:
        why = f"{type(error).__name__}: {error}"[:300]
        yield PeerLedgerFailed(wanted.node, wanted.generation, why)
    else:
        yield PeerLedgerRead(wanted.node, wanted.generation)


async def _read(
    wanted: ReadPeerLedger, tls: ssl.SSLContext | None
) -> AsyncIterator[PeerLedgerPart]:
    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S)
    url = f"{wanted.url}/ledger"
    if tls is not None and not url.startswith("https://"):
        raise WireError(f"{wanted.node} names {wanted.url}, where nobody proves who he is")
    asked = {"generation": str(wanted.generation)}
    async with (
        aiohttp.ClientSession(timeout=patience, read_bufsize=LINE_MAX_BYTES) as session,
        session.get(url, params=asked, ssl=tls or True, allow_redirects=False) as answer,
    ):
        if answer.status != 200:
            raise WireError(f"{answer.status} {(await answer.text())[:200]}")
        found: list[Line] = []
        count, end = 0, None
        async for text in answer.content:
            line = codec.decode(Line, text)
            if line.lines is not None:
                end = line.lines
                break
            count += 1
            found.append(line)
            if len(found) == PART_LINES:
                yield part_of(wanted, found)
                found = []
        if end != count:
            raise WireError(f"the answer was cut short after {count} lines")
        yield part_of(wanted, found)


def part_of(wanted: ReadPeerLedger, found: Iterable[Line]) -> PeerLedgerPart:
    """Return what some lines say."""
    found = list(found)
    return PeerLedgerPart(
        wanted.node,
        wanted.generation,
        jobs=tuple(
            CopiedJob(
                line.job.record, None if line.job.payload is None else line.job.payload.encode()
            )
            for line in found
            if line.job
        ),
        retired=tuple(line.retired for line in found if line.retired),
        agents=tuple(line.agent for line in found if line.agent),
        functions=tuple(line.function for line in found if line.function),
    )
