"""Rows that kill, stop and starve nodes: their daemons, disks and ledgers, and a majority."""

import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from workrs.domain.record import Version
from workrs.faults.evidence import read_testimony
from workrs.faults.load import Sent
from workrs.faults.plan import SitePlan
from workrs.faults.row import Injection, Row, RowError
from workrs.faults.rows.process import drawn_s, require_no_takeovers
from workrs.faults.site import Site
from workrs.faults.trace import Shown
from workrs.wire import codec, topics
from workrs.wire.message import NodeState

_LOG_SLACK_S: Final = 0.1
"""How far a time in a log may be off the trace's."""
_NO_VERSION: Final = Version(-1, -1)


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
        require_no_takeovers(site, notes, began_s)
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
        require_no_takeovers(site, notes, began_s)
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
            unready_s, why = _await_unready(site, node, began_s)
            notes.mark(node, "note", f"not ready: {why}", at_s=unready_s)
            notes.figure("unready", unready_s - began_s)
            site.until_ended(sent, 20.0)
            _await_log(site, node, "ledger", began_s)
            site.pause(drawn_s(site, 0.0, 4.0))
            _require_no_vote(site, node, unready_s)
        finally:
            filler.unlink(missing_ok=True)
        notes.mark(node, "heal", "room again")
        if not site.cluster.members[node].is_running():
            notes.note(f"{node} had ended")
            site.start(node)
        site.until_healthy()
        require_no_takeovers(site, notes, began_s)
    return notes.done()


def _await_unready(site: Site, node: str, since_s: float) -> tuple[float, str]:
    """Wait until a node's own broker shows that it may not vote; return since when, and why."""

    def look() -> tuple[float, str] | None:
        heard = site.trace.heard(node, topics.node(node, "state"))
        if heard is None or heard.at_s < since_s or not heard.payload:
            return None
        state = codec.decode(NodeState, heard.payload)
        return None if state.ready else (heard.at_s, state.health)

    at_s, why = site.until(f"{node} to say that it is not ready", look, 20.0)
    if "ledger" not in why:
        raise RowError(f"{node} is not ready and says why: {why!r}, without its ledger")
    return at_s, why


def _require_no_vote(site: Site, node: str, since_s: float) -> None:
    """Raise RowError if a node that said that it may not vote has shown a vote since then.

    Room that something else made, like an upload that broke off, ends the silence early.
    """
    site.diary.refresh()
    recovered_s = [
        entry.at_s - _LOG_SLACK_S
        for entry in site.diary.entries
        if entry.member == node and entry.key == "ledger_recovered" and entry.at_s > since_s
    ]
    until_s = min([site.trace.now_s, *recovered_s])
    voted = [
        f"{job} {shown.record.version} at {shown.at_s:.2f} s"
        for job in site.trace.jobs()
        for shown in new_votes(site.trace.history(job), node, since_s, until_s)
    ]
    if voted:
        raise RowError(f"{node} was not ready from {since_s:.2f} s on and voted: {voted[0]}")


def new_votes(history: Sequence[Shown], node: str, since_s: float, until_s: float) -> list[Shown]:
    """Return the records of a node whose version came first between two times."""
    own = [shown for shown in history if shown.node == node]
    before = max((s.record.version for s in own if s.at_s <= since_s), default=_NO_VERSION)
    return [s for s in own if since_s < s.at_s < until_s and s.record.version > before]


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
        require_no_takeovers(site, notes, began_s)
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
        away_s = drawn_s(site, 5.0, 60.0)
        site.pause(away_s)
        back_s = site.trace.now_s
        for node in gone:
            site.start(node)
            notes.mark(node, "heal", "started")
        # What was under way when they died may still arrive; a second later nothing may.
        _require_silence(site, gone_s + 1.0, back_s)
        frozen = _longest_gaps(site, jobs, gone_s, back_s)
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


def _await_log(site: Site, member: str, word: str, since_s: float) -> None:
    """Wait until a warning or error in a member's log since then has *word* in it."""

    def look() -> bool:
        site.diary.refresh()
        return any(
            entry.member == member and entry.at_s >= since_s and word in entry.line
            for entry in site.diary.entries
            if entry.alarming
        )

    site.until(f"a word of {member} on its {word}", look, 20.0)


def _longest_gaps(site: Site, jobs: Sequence[Sent], since_s: float, until_s: float) -> list[float]:
    """Return each job's longest time without a sign of its program, within a time."""
    wanted = {sent.bus_id for sent in jobs}
    gaps = []
    for run in read_testimony(site.evidence, site.trace.zero_s):
        if run.key.job in wanted:
            inside = [at for at in run.seen_s if since_s <= at <= until_s]
            edges = [since_s, *inside, until_s]
            gaps.append(max(after - before for before, after in pairwise(edges)))
    return gaps


_PLAN: Final = SitePlan()
_SMALL_DISKS: Final = SitePlan(small_disks=True)

ROWS: Sequence[Row] = (
    Row(
        name="daemon-killed",
        title="daemon killed, back after 0-6 s",
        passes_when="the others go on, no takeover",
        inject=daemon_killed,
        plan=_PLAN,
        repeat=10,
    ),
    Row(
        name="daemon-stopped",
        title="daemon stopped 0.5-8 s, resumed",
        passes_when="the others go on, no takeover",
        inject=daemon_stopped,
        plan=_PLAN,
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
        plan=_PLAN,
        repeat=6,
        quick=1,
    ),
    Row(
        name="majority-away",
        title="majority of nodes away 5-60 s",
        passes_when="nothing decided meanwhile; programs frozen, then thawed, no work lost",
        inject=majority_away,
        plan=_PLAN,
        repeat=6,
    ),
)
