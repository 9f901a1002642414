"""Rows in which the network is bad but whole: loss, jitter, half-open sockets, resets.

Delays, swallowed bytes and resets are made by doors before the nodes' brokers, so they
strike clients and bridges, not a daemon and its own broker.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from workrs.faults.proxy import Door
from workrs.faults.row import NET, Injection, Row, RowError
from workrs.faults.rows.network import NET_PLAN
from workrs.faults.site import Notes, Site
from workrs.faults.whereabouts import healing, network, require_end, require_kept, walk

_TTL_S: Final = NET_PLAN.timing.ttl_s
_LOSS: Final = 0.1
_JITTER_MAX_S: Final = 0.5
_BAD_WEATHER_S: Final = 15.0
_HALF_OPEN_S: Final = (1.0, 10.0)
_RESETS: Final = 5
_SETTLING_S: Final = 4.0


def _packet_loss(site: Site) -> Injection:
    with site.injecting("packet-loss") as notes:
        walked = walk(site, run_s=6.0)
        with healing(site) as net, _accepting(site, notes):
            notes.mark("network", "fault", f"{_LOSS:.0%} of all packets lost")
            net.lose(_LOSS)
            site.pause(_BAD_WEATHER_S)
        notes.mark("network", "heal")
        require_end(site, walked.sent)
    return notes.done()


def _jitter(site: Site) -> Injection:
    doors = _doors(site)
    with site.injecting("jitter") as notes:
        walked = walk(site, run_s=6.0)
        with healing(site), _accepting(site, notes):
            notes.mark("network", "fault", f"every message 0 to {1000 * _JITTER_MAX_S:g} ms late")
            for door in doors.values():
                door.slow(0.0, _JITTER_MAX_S)
            site.pause(_BAD_WEATHER_S)
        notes.mark("network", "heal")
        require_end(site, walked.sent)
    return notes.done()


def _half_open(site: Site) -> Injection:
    """Have one node's connections swallow everything; at random also those made later."""
    doors = _doors(site)
    with site.injecting("half-open") as notes:
        walked = walk(site, run_s=8.0)
        later = site.rng.choice((False, True))
        inbound, outbound = site.rng.choice(((True, True), (True, False), (False, True)))
        ways = {(True, True): "both ways", (True, False): "inbound"}.get(
            (inbound, outbound), "outbound"
        )
        with healing(site), _accepting(site, notes):
            which = "all connections" if later else "the connections of now"
            notes.mark(walked.home, "fault", f"{which} swallow everything, {ways}")
            doors[walked.home].swallow(inbound=inbound, outbound=outbound, later=later)
            site.pause(site.rng.uniform(*_HALF_OPEN_S))
        notes.mark(walked.home, "heal")
        require_end(site, walked.sent)
        require_kept(site, walked)
    return notes.done()


def _resets(site: Site) -> Injection:
    doors = _doors(site)
    with site.injecting("connections-reset") as notes:
        walked = walk(site, run_s=6.0)
        with healing(site), _accepting(site, notes):
            for _ in range(_RESETS):
                node = site.rng.choice(site.nodes)
                notes.mark(node, "fault", "every connection reset")
                doors[node].slam()
                site.pause(site.rng.uniform(0.0, 1.0))
        notes.mark("network", "heal")
        require_end(site, walked.sent)
        require_kept(site, walked)
    return notes.done()


def _doors(site: Site) -> dict[str, Door]:
    """Return a door before each node's broker."""
    net = network(site)
    brokers = [(node, at.port) for node, at in site.cluster.addresses.items()]
    is_new = not net.doors.keys() >= set(brokers)
    found = {node: net.door(node, port) for node, port in brokers}
    if is_new:
        # New doors end the connections that stand, and bridges take their time to come back.
        site.pause(_SETTLING_S)
        site.until_healthy()
    return found


@contextmanager
def _accepting(site: Site, notes: Notes) -> Iterator[None]:
    """Note how long the load's jobs wait to be accepted meanwhile."""
    since_s = site.trace.now_s
    yield
    until_s = site.trace.now_s
    sent = [s for s in site.load.sent if since_s <= s.sent_s < until_s]
    site.until("all jobs sent meanwhile to be accepted", lambda: all(s.accepted_s for s in sent))
    if not sent:
        raise RowError("no job was sent while the network was bad")
    notes.figure("accepted_meanwhile", *site.load.accepted_between(since_s, until_s))
    moved = [s for s in sent if len({x.agent for x in site.trace.leases(s.bus_id)}) > 1]
    notes.note(f"{len(moved)} of {len(sent)} jobs sent meanwhile were taken over")


ROWS = (
    Row(
        name="packet-loss",
        title="10 % of all packets lost, for 15 s",
        passes_when="nothing is lost",
        inject=_packet_loss,
        plan=NET_PLAN,
        repeat=6,
        needs=frozenset({NET}),
    ),
    Row(
        name="jitter",
        title="every message 0 to 500 ms late, each way, for 15 s",
        passes_when="nothing is lost",
        inject=_jitter,
        plan=NET_PLAN,
        repeat=6,
        needs=frozenset({NET}),
    ),
    Row(
        name="half-open",
        title="a node's connections stand, but swallow everything",
        passes_when="nothing is lost; no takeover",
        inject=_half_open,
        plan=NET_PLAN,
        repeat=12,
        needs=frozenset({NET}),
    ),
    Row(
        name="connections-reset",
        title="all connections of a node reset, five times within 5 s",
        passes_when="nothing is lost; no takeover",
        inject=_resets,
        plan=NET_PLAN,
        repeat=12,
        needs=frozenset({NET}),
    ),
)
