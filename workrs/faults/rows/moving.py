"""Rows in which a node goes away: how soon its clients are at another one, idle or busy.

A node that dies closes its sockets, so its clients learn at once. One whose host vanishes,
or that stands still, says nothing, and has to be found out by its silence.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from workrs.domain.lease import LeaseTiming
from workrs.faults.plan import LoadPlan, SitePlan
from workrs.faults.row import NET, Injection, Row, RowError
from workrs.faults.site import Notes, Site
from workrs.faults.whereabouts import (
    MOVE_MAX_S,
    chase,
    healing,
    home,
    require_end,
    until_home,
)

MOVING_PLAN: Final = SitePlan(
    net=True,
    agents=4,
    slots=2,
    timing=LeaseTiming(),
    load=LoadPlan(echo_period_s=1.0, long_jobs=1),
)
"""With the default ttl, since how soon an agent misses a silent node hangs on it."""
DIES_S: Final = 2.0
"""Within so long a client is to be at another node when its node's process dies."""
SILENT_S: Final = 4.0
"""The same when its node says nothing any more."""
_IDLE: Final = "idler"
_BUSY: Final = "walker"

Away = Callable[[Site, str], AbstractContextManager[None]]
"""Takes a node away while the context lasts."""


def _leave(site: Site, name: str, what: str, away: Away) -> Injection:
    """Take a node away that has an idle and a busy device and agents; time who leaves it."""
    with site.injecting(name) as notes:
        jobs = [site.send_beads(_BUSY, run_s=10.0) for _ in range(2)]
        for sent in jobs:
            site.until_lease(sent.bus_id)
        node = until_home(site, _BUSY)
        site.device(_IDLE)
        chase(site, _IDLE, node)
        agents = [agent for agent in site.agents if home(site, agent) == node]
        if not agents:
            agents = [site.rng.choice(site.agents)]
            chase(site, agents[0], node)
        at_s = notes.mark(node, "fault", what)
        with away(site, node):
            _time_moves(site, notes, _groups(site, agents), node, at_s)
            site.pause(site.rng.uniform(0.0, 2.0))
        notes.mark(node, "heal")
        for sent in jobs:
            require_end(site, sent)
    return notes.done()


def _groups(site: Site, agents: list[str]) -> dict[str, str]:
    """Return which figure each client belongs to."""
    leases = [site.trace.holder(sent.bus_id) for sent in site.load.open_jobs()]
    busy = {lease.agent for lease in leases if lease is not None}
    found = {agent: "agent_busy" if agent in busy else "agent_idle" for agent in agents}
    return {**found, _IDLE: "device_idle", _BUSY: "device_busy"}


def _time_moves(site: Site, notes: Notes, groups: dict[str, str], left: str, at_s: float) -> None:
    """Wait until all clients are elsewhere; how long each took is a figure of its group."""
    staying = dict(groups)

    def look() -> bool:
        for client in list(staying):
            now = home(site, client)
            if now in ("", left):
                continue
            heard = site.trace.home(client)
            moved_s = heard.at_s if heard is not None else site.trace.now_s
            notes.figure(staying.pop(client), max(0.0, moved_s - at_s))
        return not staying

    try:
        site.until("all clients at other nodes", look, MOVE_MAX_S)
    except RowError as error:
        raise RowError(f"{error.why}: {', '.join(staying)} stayed with {left}") from None


@contextmanager
def _killed(site: Site, node: str) -> Iterator[None]:
    site.kill(node)
    try:
        yield
    finally:
        site.start(node)


@contextmanager
def _broker_killed(site: Site, node: str) -> Iterator[None]:
    site.kill_broker(node)
    yield


@contextmanager
def _cut_off(site: Site, node: str) -> Iterator[None]:
    with healing(site) as net:
        net.cut(node)
        yield


@contextmanager
def _broker_stopped(site: Site, node: str) -> Iterator[None]:
    site.stop_broker(node)
    try:
        yield
    finally:
        site.resume_broker(node)


def _stopped_node(site: Site) -> Injection:
    """Stop a daemon: agents reach a majority through its broker and stay; a device must not."""
    with site.injecting("leave-stopped-node") as notes:
        device = site.device(_IDLE)
        node = until_home(site, _IDLE)
        value = f"past {node}"
        spec = {"function": "echo", "input": value}
        at_s = notes.mark(node, "fault", "its daemon stands still, its broker goes on")
        site.stop(node)
        try:
            sent = site.load.send(_IDLE, device, spec, value.encode(), 0.0)
            accepted_s = site.until(f"{sent.bus_id} to be accepted", lambda: sent.accepted_s)
            notes.figure("new_job", accepted_s - at_s)
            site.pause(site.rng.uniform(0.0, 2.0))
        finally:
            site.resume(node)
        notes.mark(node, "heal")
        require_end(site, sent)
    return notes.done()


def _row(name: str, title: str, away: Away, *, within_s: float) -> Row:
    groups = ("device_idle", "device_busy", "agent_idle", "agent_busy")
    return Row(
        name=name,
        title=title,
        passes_when=f"its clients, idle or busy, are at another node within {within_s:g} s",
        inject=lambda site: _leave(site, name, title, away),
        plan=MOVING_PLAN,
        repeat=10,
        needs=frozenset({NET}),
        bounds=dict.fromkeys(groups, within_s),
    )


ROWS = (
    _row("leave-killed-node", "a node is killed, its broker with it", _killed, within_s=DIES_S),
    _row("leave-killed-broker", "a node's broker is killed", _broker_killed, within_s=DIES_S),
    _row("leave-lost-host", "a node's host vanishes", _cut_off, within_s=SILENT_S),
    _row(
        "leave-stopped-broker", "a node's broker stands still", _broker_stopped, within_s=SILENT_S
    ),
    Row(
        name="leave-stopped-node",
        title="a node's daemon stands still, and a device of it has a new job",
        passes_when=f"the job is accepted through another node within {SILENT_S:g} s",
        inject=_stopped_node,
        plan=MOVING_PLAN,
        repeat=10,
        needs=frozenset({NET}),
        bounds={"new_job": SILENT_S},
    ),
)
