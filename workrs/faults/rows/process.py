"""Rows that kill, stop and starve brokers and nodes."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from workrs.faults.plan import SitePlan
from workrs.faults.row import Injection, Row, RowError
from workrs.faults.site import Notes, Site

RECOVERY_S: Final = 5.0
ACCEPTED_P99_S: Final = 3.0


def drawn_s(site: Site, least_s: float, most_s: float) -> float:
    """Draw a duration: most are near the least, a few near the most."""
    return least_s + (most_s - least_s) * site.rng.random() ** 3


def require_no_takeover(site: Site, notes: Notes, since_s: float) -> None:
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
        require_no_takeover(site, notes, began_s)
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
        require_no_takeover(site, notes, began_s)
    return notes.done()


def all_brokers_killed(site: Site) -> Injection:
    """Kill the brokers of all nodes at once."""
    with site.injecting("all brokers killed") as notes:
        began_s = site.trace.now_s
        for node in site.nodes:
            notes.mark(f"broker {node}", "fault", "killed")
            site.kill_broker(node)
        site.until("all brokers down", lambda: len(site.trace.linked) < len(site.nodes), 5.0)
        _require_recovery(site, notes, site.trace.now_s)
        site.until_healthy()
        require_no_takeover(site, notes, began_s)
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
        site.require_on_disks(accepted)
        started_s = site.trace.now_s
        for member in site.members:
            site.start(member)
            notes.mark(member, "heal", "started")
        _require_recovery(site, notes, started_s)
        site.until_healthy()
    return notes.done()


def _require_recovery(site: Site, notes: Notes, since_s: float) -> None:
    """Wait until a majority of brokers answers and a job sent now has its result."""
    sent = site.send_echo("load-1")
    least = len(site.nodes) // 2 + 1
    site.until("a majority of brokers", lambda: len(site.trace.linked) >= least, 30.0)
    notes.figure("listening", site.trace.now_s - since_s)
    site.until_ended([sent], 30.0)
    took_s = (sent.ended_s or 0.0) - since_s
    notes.figure("recovery", took_s)
    if took_s > RECOVERY_S:
        raise RowError(f"recovery took {took_s:.2f} s, allowed are {RECOVERY_S:g}")


def daemon_killed(site: Site) -> Injection:
    """Kill a node's daemon, its broker dies with it; start it again after a while."""
    node = site.rng.choice(site.nodes)
    with site.injecting(f"{node} killed") as notes:
        began_s = notes.mark(node, "fault", "killed")
        site.kill(node)
        site.pause(drawn_s(site, 0.0, 6.0))
        site.start(node)
        notes.mark(node, "heal", "started")
        site.until_healthy()
        require_no_takeover(site, notes, began_s)
    return notes.done()


def daemon_stopped(site: Site) -> Injection:
    """Stop a node's daemon, its broker lives on; resume it."""
    node = site.rng.choice(site.nodes)
    with site.injecting(f"{node} stopped") as notes:
        began_s = notes.mark(node, "fault", "stopped")
        site.stop(node)
        site.pause(drawn_s(site, 0.5, 8.0))
        site.resume(node)
        notes.mark(node, "heal", "resumed")
        site.until_healthy()
        require_no_takeover(site, notes, began_s)
    return notes.done()


def disk_full(site: Site) -> Injection:
    """Fill the disk of a node's ledger; the others go on and it says so; make room again."""
    node = site.rng.choice(site.nodes)
    filler = site.cluster.plan.root / node / "filler"
    with site.injecting(f"disk of {node} full") as notes:
        began_s = notes.mark(node, "fault", "disk full")
        _fill(filler)
        try:
            sent = [site.send_echo("load-1") for _ in range(5)]
            site.until_ended(sent, 20.0)
            site.until_log(node, "ledger", began_s, "an error of its ledger in its log")
            site.pause(drawn_s(site, 0.0, 4.0))
        finally:
            filler.unlink(missing_ok=True)
        notes.mark(node, "heal", "room again")
        if not site.cluster.members[node].is_running():
            notes.note(f"{node} had ended")
            site.start(node)
        site.until_healthy()
        require_no_takeover(site, notes, began_s)
    return notes.done()


def _fill(filler: Path) -> None:
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65536)
    except OSError:
        return


def database_truncated(site: Site) -> Injection:
    """Cut a node's database off while it is down: it must not start, and say why."""
    node = site.rng.choice(site.nodes)
    state = site.cluster.plan.root / node
    aside = site.root / f"{node}.aside"
    with site.injecting(f"database of {node} truncated") as notes:
        began_s = notes.mark(node, "fault", "killed, database truncated")
        site.kill(node)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(state, aside)
        database = state / "ledger.db"
        size = database.stat().st_size
        os.truncate(database, site.rng.randrange(0, max(1, size - 4096)))
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (state / name).unlink(missing_ok=True)
        site.start(node)
        member = site.cluster.members[node]
        site.until(f"the end of {node}", lambda: not member.is_running(), 15.0)
        status = member.process.returncode if member.process else 0
        last = member.log.read_text(errors="replace").strip().splitlines()[-1]
        notes.note(f"it ended with {status}: {last[-200:]}")
        if status == 0 or "ledger" not in last:
            raise RowError(f"it ended with {status} and said {last!r}")
        sent = [site.send_echo("load-1") for _ in range(3)]
        site.until_ended(sent, 20.0)
        _put_back(aside, state)
        site.start(node)
        notes.mark(node, "heal", "database put back, started")
        site.until_healthy()
        require_no_takeover(site, notes, began_s)
    return notes.done()


def _put_back(aside: Path, state: Path) -> None:
    """Give a node the very disk back that it had: it was not alive in between."""
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (state / name).unlink(missing_ok=True)
        if (aside / name).exists():
            shutil.copy2(aside / name, state / name)
    shutil.rmtree(aside)


def majority_away(site: Site) -> Injection:
    """Kill a majority of nodes: programs freeze, nothing is decided; then all goes on."""
    gone = site.rng.sample(site.nodes, len(site.nodes) // 2 + 1)
    with site.injecting(f"{' and '.join(gone)} away") as notes:
        jobs = [site.send_beads("load-1", run_s=6.0) for _ in range(2)]
        site.until_running(jobs)
        before = {sent.bus_id: site.trace.holder(sent.bus_id) for sent in jobs}
        for node in gone:
            notes.mark(node, "fault", "killed")
            site.kill(node)
        gone_s = site.trace.now_s
        away_s = drawn_s(site, 5.0, 30.0)
        site.pause(away_s)
        back_s = site.trace.now_s
        for node in gone:
            site.start(node)
            notes.mark(node, "heal", "started")
        # What was under way when they died may still arrive; a second later nothing may.
        _require_silence(site, gone_s + 1.0, back_s)
        frozen = site.longest_gaps(jobs, gone_s, back_s)
        notes.figure("frozen", *frozen)
        least_s = away_s - site.timing.holding_s - 1.0
        if min(frozen, default=0.0) < least_s:
            raise RowError(f"programs stood still for {frozen}, not for {least_s:.1f} s")
        site.until_healthy()
        site.until_ended(jobs, 40.0)
        after = {sent.bus_id: site.trace.holder(sent.bus_id) for sent in jobs}
        if before != after:
            raise RowError(f"work was lost: {before} became {after}")
        notes.note(f"away {away_s:.1f} s")
    return notes.done()


def _require_silence(site: Site, since_s: float, until_s: float) -> None:
    for job in site.trace.jobs():
        for shown in site.trace.history(job):
            if since_s < shown.at_s < until_s and shown.record.decided is not None:
                raise RowError(f"{job} was decided while a majority was away")


_MINE: Final = SitePlan()
_SMALL_DISKS: Final = SitePlan(small_disks=True)

ROWS: Sequence[Row] = (
    Row(
        name="broker-killed",
        title="broker killed, back empty after 0-10 s",
        passes_when="nothing lost or doubled, no takeover; accepted within 3 s (p99) meanwhile",
        inject=broker_killed,
        plan=_MINE,
        repeat=20,
        quick=1,
        bounds={"accepted": ACCEPTED_P99_S},
    ),
    Row(
        name="broker-stopped",
        title="broker stopped 1-20 s, resumed (false wills)",
        passes_when="no takeover of a live agent",
        inject=broker_stopped,
        plan=_MINE,
        repeat=15,
        quick=1,
    ),
    Row(
        name="all-brokers-killed",
        title="all brokers killed together",
        passes_when="nothing acknowledged lost, a new job ends within 5 s",
        inject=all_brokers_killed,
        plan=_MINE,
        repeat=10,
        bounds={"recovery": RECOVERY_S},
    ),
    Row(
        name="everything-killed",
        title="everything killed together",
        passes_when="nothing acknowledged lost, a new job ends within 5 s of the restart",
        inject=everything_killed,
        plan=_MINE,
        repeat=10,
        quick=1,
        bounds={"recovery": RECOVERY_S},
    ),
    Row(
        name="daemon-killed",
        title="daemon killed, back after 0-6 s",
        passes_when="the others go on, no takeover",
        inject=daemon_killed,
        plan=_MINE,
        repeat=10,
    ),
    Row(
        name="daemon-stopped",
        title="daemon stopped 0.5-8 s, resumed",
        passes_when="the others go on, no takeover",
        inject=daemon_stopped,
        plan=_MINE,
        repeat=10,
        quick=1,
    ),
    Row(
        name="disk-full",
        title="disk of a node full",
        passes_when="the others go on; it does not vote and says why; no takeover",
        inject=disk_full,
        plan=_SMALL_DISKS,
        repeat=6,
    ),
    Row(
        name="database-truncated",
        title="database of a node truncated",
        passes_when="it refuses to start and names its ledger; the others go on",
        inject=database_truncated,
        plan=_MINE,
        repeat=6,
        quick=1,
    ),
    Row(
        name="majority-away",
        title="majority of nodes away 5-30 s",
        passes_when="nothing decided meanwhile; programs frozen, then thawed, no work lost",
        inject=majority_away,
        plan=_MINE,
        repeat=6,
    ),
)
