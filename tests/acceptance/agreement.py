"""Whether the ledgers, the bus and the agents of a cluster say the same of every job."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from workrs.adapters.mqtt import connect
from workrs.cli.cluster import LocalCluster
from workrs.cli.leftover import wait_clean
from workrs.domain.errors import BusError
from workrs.domain.record import Record
from workrs.ports.bus import Address, Message, Subscription, read_retained
from workrs.wire import codec, topics
from workrs.wire.message import AgentView

T = TypeVar("T")
SETTLE_S = 60.0


def until(what: str, look: Callable[[], T], timeout_s: float = 60.0) -> T:
    """Return the first true value of *look*, polled; fail with *what* after the time.

    A broker that does not answer yet is no failure: it may be on its way back.
    """
    deadline = time.monotonic() + timeout_s
    pause = _Pause()
    trouble: object = "it is not so"
    while True:
        try:
            if found := look():
                return found
        except BusError as error:
            trouble = error
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain for {what}: {trouble}"
        pause.short()


class _Pause:
    """A short wait that is no sleep: for an event that never comes."""

    def __init__(self) -> None:
        self._never = threading.Event()

    def short(self) -> None:
        self._never.wait(0.03)


async def _read(address: Address, *patterns: str) -> list[Message]:
    subscriptions = [Subscription(pattern=p) for p in patterns]
    async with connect(address=address, client_id="agreement") as bus:
        return await read_retained(bus, *subscriptions, echo_topic=f"{topics.ROOT}/echo/agreement")


def read_records(address: Address) -> dict[str, dict[str, Record]]:
    """Return {job: {node: record}} as one broker retains them."""
    found: dict[str, dict[str, Record]] = {}
    for message in asyncio.run(_read(address, topics.node("+", "job", "+"))):
        shown = topics.parse_node(message.topic)
        assert shown is not None
        if message.payload:
            record = codec.decode(Record, message.payload)
            found.setdefault(shown.name, {})[shown.node] = record
    return found


def read_agents(address: Address) -> dict[tuple[str, str], AgentView]:
    """Return {(node, agent): view} as one broker retains them."""
    found = {}
    for message in asyncio.run(_read(address, topics.node("+", "agent", "+"))):
        shown = topics.parse_node(message.topic)
        assert shown is not None
        if message.payload:
            found[shown.node, shown.name] = codec.decode(AgentView, message.payload)
    return found


def read_ledger(path: Path) -> dict[str, str | None]:
    """Return {job: decided digest or None} as one node has it on disk."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return dict(database.execute("SELECT job, decided FROM records"))


def _disagreement(cluster: LocalCluster) -> str:
    """Return what does not agree yet, or an empty string."""
    try:
        return _disagreement_of_live(cluster)
    except BusError as error:  # a broker that was killed is on its way back
        return str(error)


def _disagreement_of_live(cluster: LocalCluster) -> str:
    live = [n for n in cluster.addresses if cluster.members[n].is_running()]
    decisions: dict[str, set[str | None]] = {}
    for node in live:
        ledger = read_ledger(cluster.plan.root / node / "ledger.db")
        shown = read_records(cluster.addresses[node])
        for job, digest in ledger.items():
            decisions.setdefault(job, set()).add(digest)
            record = shown.get(job, {}).get(node)
            if record is None:
                return f"{node} has {job} on disk and does not show it"
            if record.decided_digest != digest:
                return f"{node} shows {job} as {record.decided_digest}, its ledger has {digest}"
    for job, digests in decisions.items():
        if len(digests) > 1:
            return f"the nodes disagree on {job}: {digests}"
    undecided = [job for job, digests in decisions.items() if digests == {None}]
    for node in live:
        for (by, agent), view in read_agents(cluster.addresses[node]).items():
            if by == node and view.held > len(undecided):
                return (
                    f"{node} counts {view.held} leases of {agent}, {len(undecided)} jobs are open"
                )
    return ""


def assert_agreement(cluster: LocalCluster) -> None:
    """Fail unless ledgers, bus and agents agree within a while."""
    deadline = time.monotonic() + SETTLE_S
    while (what := _disagreement(cluster)) and time.monotonic() < deadline:
        _Pause().short()
    assert not what, what


def assert_nothing_left(cluster: LocalCluster) -> None:
    """Fail if a stopped cluster left a process, a mount or a socket."""
    left = wait_clean(cluster.plan.root, timeout_s=SETTLE_S)
    assert not left, left
