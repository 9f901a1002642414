"""Rows that kill and stop brokers, one or all of them, or everything."""

import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from workrs.faults.disks import lost, read_disk
from workrs.faults.load import Sent
from workrs.faults.plan import SitePlan
from workrs.faults.row import Injection, Row, RowError
from workrs.faults.site import Notes, Site

RECOVERY_S: Final = 5.0
ACCEPTED_P99_S: Final = 3.0


def drawn_s(site: Site, least_s: float, most_s: float) -> float:
    """Draw a duration: most are near the least, a few near the most."""
    return least_s + (most_s - least_s) * site.rng.random() ** 3


def require_no_takeovers(site: Site, notes: Notes, since_s: float) -> None:
    """Raise RowError if a lease went to another agent since then, though all agents lived."""
    taken = site.trace.takeovers(since_s)
    for one in taken:
        text = f"{one.job} from {one.loser}"
        notes.mark(one.lease.agent, "takeover", text, at_s=one.lease.at_s)
    if taken:
        first = taken[0]
        raise RowError(
            f"{len(taken)} takeovers of live agents, first {first.job} from {first.loser} "
            f"to {first.lease.agent} at epoch {first.lease.epoch}"
        )


@contextmanager
def port_held(site: Site, node: str) -> Iterator[None]:
    """Keep a killed broker from coming back: hold its port, without listening."""
    address = site.cluster.addresses[node]
    with site.at(node):  # a socket belongs to the network it was made in
        holder = socket.socket()
    with holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        site.kill_broker(node)

        def bound() -> bool:
            try:
                holder.bind((address.host, address.port))
            except OSError:
                return False
            return True

        site.until(f"the port of {node}", bound, 3.0)
        # Two sockets may share a port while neither listens, unless one does not agree.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        yield


def broker_killed(site: Site) -> Injection:
    """Kill a broker and let it come back empty after a while."""
    node = site.rng.choice(site.nodes)
    with site.injecting(f"broker of {node} killed") as notes:
        began_s = notes.mark(f"broker {node}", "fault", "killed")
        away_s = drawn_s(site, 0.0, 10.0) if site.rng.random() < 0.7 else 0.0
        if away_s:
            with port_held(site, node):
                site.pause(away_s)
        else:
            site.kill_broker(node)
        notes.mark(f"broker {node}", "heal", "may start again")
        notes.note(f"away {away_s:.1f} s")
        site.until_healthy()
        require_no_takeovers(site, notes, began_s)
    return notes.done()


def broker_stopped(site: Site) -> Injection:
    """Stop a broker and resume it: it then sends the wills of clients that live."""
    node = site.rng.choice(site.nodes)
    with site.injecting(f"broker of {node} stopped") as notes:
        began_s = notes.mark(f"broker {node}", "fault", "stopped")
        site.stop_broker(node)
        away_s = drawn_s(site, 1.0, 20.0)
        site.pause(away_s)
        site.resume_broker(node)
        notes.mark(f"broker {node}", "heal", "resumed")
        notes.note(f"stopped {away_s:.1f} s")
        site.until_healthy()
        # What a false will does shows after the grace, at the latest after a ttl.
        site.pause(site.timing.reconnect_grace_s + 0.5)
        require_no_takeovers(site, notes, began_s)
    return notes.done()


def all_brokers_killed(site: Site) -> Injection:
    """Kill the brokers of all nodes at once."""
    with site.injecting("all brokers killed") as notes:
        for node in site.nodes:
            notes.mark(f"broker {node}", "fault", "killed")
            site.kill_broker(node)
        killed_s = site.trace.now_s
        _await_silence(site, notes.began_s)
        _require_recovery(site, notes, killed_s)
    return notes.done()


def everything_killed(site: Site) -> Injection:
    """Kill every daemon, broker and agent at once; look at the disks; start all again."""
    with site.injecting("everything killed") as notes:
        accepted = [s for s in site.load.recent() if s.accepted_s is not None]
        for member in site.members:
            notes.mark(member, "fault", "killed")
            site.cluster.kill(member, signal.SIGSTOP)
        # Stopped first: so that none lives long enough to see another one's end.
        for member in site.members:
            site.kill(member)
        _await_silence(site, notes.began_s)
        _require_on_disks(site, accepted)
        started_s = site.trace.now_s
        for member in site.members:
            site.start(member)
            notes.mark(member, "heal", "started")
        _require_recovery(site, notes, started_s)
    return notes.done()


def _require_on_disks(site: Site, jobs: Sequence[Sent]) -> None:
    """Raise RowError unless a majority of disks holds each of the jobs, now."""
    found = {n: read_disk(site.cluster.plan.root / n / "ledger.db") for n in site.nodes}
    missing = list(lost((sent.bus_id for sent in jobs), found))
    if missing:
        raise RowError("; ".join(missing[:5]))


def _await_silence(site: Site, since_s: float) -> None:
    """Wait until the recorder has noticed that every broker was gone, be it back by now."""

    def all_were_gone() -> bool:
        gone = {e.lane for e in site.trace.events if e.kind == "down" and e.at_s >= since_s}
        return gone >= {f"broker {node}" for node in site.nodes}

    site.until("the end of all brokers", all_were_gone, 5.0)


def _require_recovery(site: Site, notes: Notes, since_s: float) -> None:
    """Wait until a majority of brokers answers and a job sent now has its result."""
    sent = site.send_echo("load-1")
    least = len(site.nodes) // 2 + 1
    site.until("a majority of brokers", lambda: len(site.trace.linked) >= least, 30.0)
    notes.figure("listening", site.trace.now_s - since_s)
    site.until_ended([sent], 30.0)
    took_s = (sent.ended_s or 0.0) - since_s
    notes.figure("recovery", took_s)
    if took_s > (most_s := site.allowed_s(RECOVERY_S)):
        raise RowError(f"recovery took {took_s:.2f} s, allowed are {most_s:g}")


_PLAN: Final = SitePlan()

ROWS: Sequence[Row] = (
    Row(
        name="broker-killed",
        title="broker killed, back empty after 0-10 s",
        passes_when="nothing lost or doubled, no takeover; accepted within 3 s (p99) meanwhile",
        inject=broker_killed,
        plan=_PLAN,
        repeat=20,
        quick=1,
        bounds={"accepted": ACCEPTED_P99_S},
    ),
    Row(
        name="broker-stopped",
        title="broker stopped 1-20 s, resumed (false wills)",
        passes_when="no takeover of a live agent",
        inject=broker_stopped,
        plan=_PLAN,
        repeat=15,
        quick=1,
    ),
    Row(
        name="all-brokers-killed",
        title="all brokers killed together",
        passes_when="nothing acknowledged lost, a new job ends within 5 s",
        inject=all_brokers_killed,
        plan=_PLAN,
        repeat=10,
        bounds={"recovery": RECOVERY_S},
    ),
    Row(
        name="everything-killed",
        title="everything killed together",
        passes_when="nothing acknowledged lost, a new job ends within 5 s of the restart",
        inject=everything_killed,
        plan=_PLAN,
        repeat=10,
        quick=1,
        bounds={"recovery": RECOVERY_S},
    ),
)
