"""L2: what brokers retain of the nodes' records, held against the ledgers and each other.

1. A node's own broker shows what its ledger has: epoch, holder, spec, acceptance, decision.
2. Every other broker's copy is that of the node's own.
3. Of a job that a node has retired, what is still shown is what was decided.
4. A node that has retired a job owes nobody's copy of it: one that was cut off when the job was
   decided keeps it for longer, and the others empty what their brokers have of that.

Pure but for `read_shown` and `read_votes`; JSON and SQL are read as they are.
"""

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from workrs.adapters.mqtt import connect
from workrs.domain.errors import BusError
from workrs.ports.bus import Address, Subscription, read_retained
from workrs.wire import topics

ANSWER_S: Final = 5.0


class Vote(NamedTuple):
    """What counts of a node's record on a job."""

    epoch: int = 0
    holder: str = ""
    """Client and incarnation."""
    digest: str = ""
    accepted: str = ""
    """Epoch and digest."""
    decided: str = ""
    """Digest."""


NOTHING: Final = Vote()


class Place(NamedTuple):
    """A record of a node on a job, as one broker retains it."""

    broker: str
    node: str
    job: str


class Ledger(NamedTuple):
    """What a node's disk has."""

    votes: Mapping[str, Vote]
    """By job, while it is on the bus."""
    retired: Mapping[str, str]
    """Job to the digest of its outcome."""


def vote_of(body: Mapping[str, Any]) -> Vote:
    """Return what counts of a record in JSON."""
    holder, accepted = body.get("holder"), body.get("accepted")
    return Vote(
        epoch=body.get("epoch", 0),
        holder=f"{holder['client']} {holder['incarnation']}" if holder else "",
        digest=body.get("digest") or "",
        accepted=f"{accepted['epoch']} {accepted['digest']}" if accepted else "",
        decided=body.get("decided_digest") or "",
    )


def read_votes(path: Path) -> Ledger | None:
    """Return what the ledger at *path* has, or None when it cannot be read."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            # One transaction: a job that is retired meanwhile is in one of the two.
            database.execute("BEGIN")
            bodies = database.execute("SELECT job, body FROM records").fetchall()
            retired = dict(database.execute("SELECT job, outcome FROM retired"))
    except sqlite3.Error:
        return None
    return Ledger({job: vote_of(json.loads(body)) for job, body in bodies}, retired)


def read_shown(addresses: Mapping[str, Address]) -> dict[str, dict[Place, Vote] | None]:
    """Return what each broker retains of all nodes' records; None: it does not answer."""

    async def read_all() -> list[dict[Place, Vote] | None]:
        return await asyncio.gather(*(_read(name, at) for name, at in addresses.items()))

    return dict(zip(addresses, asyncio.run(read_all()), strict=True))


async def _read(broker: str, address: Address) -> dict[Place, Vote] | None:
    wanted = Subscription(pattern=topics.node("+", "job", "+"))
    try:
        async with (
            asyncio.timeout(ANSWER_S),
            connect(address=address, client_id="agreement") as bus,
        ):
            found = await read_retained(bus, wanted, echo_topic=f"{topics.ROOT}/echo/agreement")
    except (BusError, TimeoutError):
        return None
    votes: dict[Place, Vote] = {}
    for message in found:
        shown = topics.parse_node(message.topic)
        if shown is None or not message.retain:
            continue  # an answer about a retired job stays nowhere
        place = Place(broker, shown.node, shown.name)
        if message.payload:
            votes[place] = vote_of(json.loads(message.payload))
        else:
            votes.pop(place, None)
    return votes


def differences(
    shown: Mapping[str, Mapping[Place, Vote] | None], ledgers: Mapping[str, Ledger | None]
) -> dict[Place, str]:
    """Return what differs, by where; a whole broker or ledger that is not there has no job."""
    found: dict[Place, str] = {}
    for node, ledger in ledgers.items():
        if ledger is None:
            found[Place(node, node, "")] = f"L2 the ledger of {node} cannot be read"
        if shown[node] is None:
            found[Place(node, node, "")] = f"L2 the broker of {node} cannot be read"
    whole = {broker: votes for broker, votes in shown.items() if votes is not None}
    for node, ledger in ledgers.items():
        if ledger is None or node not in whole:
            continue
        own = {place.job: vote for place, vote in whole[node].items() if place.node == node}
        found.update(_compared(node, node, own, ledger.votes, ledger))
        for broker in whole.keys() - {node}:
            copies = {p.job: vote for p, vote in whole[broker].items() if p.node == node}
            at = ledgers.get(broker)
            owed = own if at is None else {j: v for j, v in own.items() if owes(at, j, copies)}
            found.update(_compared(broker, node, copies, owed, ledger))
    return found


def owes(at: Ledger, job: str, copies: Mapping[str, Vote]) -> bool:
    """Return whether a broker whose ledger is *at* has to show a peer's record of *job*."""
    return job in copies or job not in at.retired


def _compared(
    broker: str, node: str, shown: Mapping[str, Vote], wanted: Mapping[str, Vote], ledger: Ledger
) -> Iterator[tuple[Place, str]]:
    """Yield where a broker does not show what it should of a node."""
    whose = "its ledger" if broker == node else f"the broker of {node}"
    for job in sorted(shown.keys() | wanted.keys()):
        has, should = shown.get(job, NOTHING), wanted.get(job, NOTHING)
        if has == should:
            continue
        if job not in wanted and ledger.retired.get(job) == has.decided:
            continue
        parts = [
            f"{name} {one or 'none'}, {whose} {other or 'none'}"
            for name, one, other in zip(Vote._fields, has, should, strict=True)
            if one != other
        ]
        where = f"the broker of {broker} shows {node}'s record of {job}"
        yield Place(broker, node, job), f"L2 {where} with {'; '.join(parts)}"
