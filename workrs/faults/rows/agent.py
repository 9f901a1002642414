"""Rows that kill and stop agents, alone and with all that runs on their machine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from workrs.faults.load import Sent
from workrs.faults.plan import TEST_TIMING, LoadPlan, SitePlan
from workrs.faults.programs import family, kill_all, programs
from workrs.faults.row import CRIU, ENGINE, NET, Injection, Row, RowError
from workrs.faults.site import Notes, Site
from workrs.faults.trace import Lease

KILL_SLACK_S: Final = 1.0
"""Beyond the grace: to see the will, offer, claim, vote."""
LOSS_TTLS: Final = 1.2
DEAD_S: Final = 1.0

Leases = Mapping[str, Lease]
"""By job id on the bus."""


def occupy(site: Site, *, jobs: int, run_s: float) -> tuple[str, Leases, list[Sent]]:
    """Send jobs, wait for two checkpoints of each; return the busiest agent and its leases.

    Two, so that starting from another than the newest would show.
    """
    sent = [site.send_beads(f"load-{1 + n % 2}", run_s=run_s) for n in range(jobs)]
    site.until_checkpointed(sent, count=2)
    leases = {one.bus_id: site.until_lease(one.bus_id) for one in sent}
    held = Counter(lease.agent for lease in leases.values())
    most = max(held.values())
    victim = site.rng.choice(sorted(agent for agent, count in held.items() if count == most))
    return victim, {job: at for job, at in leases.items() if at.agent == victim}, sent


def await_takeover(
    site: Site, notes: Notes, leases: Leases, since_s: float, allowed_s: float
) -> None:
    """Wait until other agents hold the leases and run the jobs; measure both from *since_s*."""
    for job, before in leases.items():
        lease = site.until_lease(job, above=before.epoch, timeout_s=allowed_s + 15.0)
        notes.mark(lease.agent, "takeover", job, at_s=lease.at_s)
        took_s = lease.at_s - since_s
        notes.figure("lease", took_s)
        if lease.agent == before.agent:
            raise RowError(f"{job} went back to {before.agent}")
        if took_s > (most_s := site.allowed_s(allowed_s)):
            raise RowError(f"the lease of {job} took {took_s:.2f} s, allowed are {most_s:.2f}")
    for job, before in leases.items():
        seen_s = site.until_seen(job, above=before.epoch)
        notes.mark(job, "running", at_s=seen_s)
        notes.figure("running", seen_s - since_s)


def agent_killed(site: Site, *, jobs: int = 3) -> Injection:
    """Kill an agent; another one must hold its leases soon after the grace."""
    allowed_s = site.timing.reconnect_grace_s + KILL_SLACK_S
    with site.injecting("agent killed") as notes:
        victim, leases, _ = occupy(site, jobs=jobs, run_s=8.0)
        notes.mark(victim, "fault", "killed")
        killed_s = site.kill(victim)
        await_takeover(site, notes, leases, killed_s, allowed_s)
        site.start(victim)
        notes.mark(victim, "heal", "started")
    return notes.done()


def host_lost(site: Site, *, jobs: int = 3) -> Injection:
    """Kill an agent with its warden and programs, its network cut before: no will is sent."""
    assert site.net is not None
    allowed_s = LOSS_TTLS * site.timing.ttl_s
    with site.injecting("host lost") as notes:
        victim, leases, _ = occupy(site, jobs=jobs, run_s=5.0 + 2 * site.timing.ttl_s)
        notes.mark(victim, "fault", "cut off and killed with its programs")
        try:
            site.net.cut(victim)
            lost_s = site.trace.now_s
            doomed = family(site.cluster.members[victim].pid)
            site.kill(victim)
            kill_all(doomed[1:])
            await_takeover(site, notes, leases, lost_s, allowed_s)
        finally:
            site.net.heal()
        site.start(victim)
        notes.mark(victim, "heal", "started")
    return notes.done()


def agent_stopped(site: Site) -> Injection:
    """Stop an agent, resume it: what it lost meanwhile it must give up at once."""
    ttl_s = site.timing.ttl_s
    with site.injecting("agent stopped") as notes:
        victim, leases, sent = occupy(site, jobs=3, run_s=10.0)
        notes.mark(victim, "fault", "stopped")
        stopped_s = site.stop(victim)
        away_s = site.rng.uniform(0.5 * ttl_s, 4 * ttl_s)
        site.pause(away_s)
        taken = _taken(site, leases)
        resumed_s = site.resume(victim)
        notes.mark(victim, "heal", "resumed")
        notes.note(f"stopped {away_s:.1f} s, lost {len(taken)} of {len(leases)} leases")
        for job, lease in taken.items():
            notes.figure("lease", lease.at_s - stopped_s)
            _require_dead(site, notes, job, leases[job], resumed_s)
        site.until_ended(sent, 60.0)
    return notes.done()


def _taken(site: Site, leases: Leases) -> dict[str, Lease]:
    """Return the leases that others hold by now."""
    now = {job: site.trace.holder(job) for job in leases}
    return {job: at for job, at in now.items() if at and at.epoch > leases[job].epoch}


def _require_dead(site: Site, notes: Notes, job: str, lost: Lease, resumed_s: float) -> None:
    """Wait until the program of a lease that was lost is gone."""
    what = f"the end of {lost.agent}'s program of {job}"
    site.until(what, lambda: not programs(site, lost.agent, job, lost.epoch), 10.0)
    took_s = site.trace.now_s - resumed_s
    notes.figure("dead", took_s)
    if took_s > site.allowed_s(DEAD_S):
        raise RowError(f"{what} came {took_s:.2f} s after it was resumed")


_PLAN: Final = SitePlan()
_NET_PLAN: Final = SitePlan(net=True)
_MEMORY_PLAN: Final = SitePlan(
    runtime="docker",
    engines=2,
    agents=2,
    memory_rung=True,
    load=LoadPlan(echo_period_s=2.0, long_jobs=1),
)
ROWS: Sequence[Row] = (
    Row(
        name="agent-killed",
        title="agent killed",
        passes_when="lease held by another agent within grace + 1 s, work resumed from the last "
        "checkpoint",
        inject=agent_killed,
        plan=_PLAN,
        repeat=20,
        quick=1,
        bounds={"lease": TEST_TIMING.reconnect_grace_s + KILL_SLACK_S},
    ),
    Row(
        name="agent-killed-memory",
        title="agent killed, containers with memory checkpoints",
        passes_when="as agent-killed",
        inject=agent_killed,
        plan=_MEMORY_PLAN,
        repeat=6,
        needs=frozenset({ENGINE, CRIU}),
        bounds={"lease": TEST_TIMING.reconnect_grace_s + KILL_SLACK_S},
    ),
    Row(
        name="agent-stopped",
        title="agent stopped 0.5-4 ttl, resumed",
        passes_when="every late write refused, its containers dead within 1 s",
        inject=agent_stopped,
        plan=_PLAN,
        repeat=10,
        quick=1,
        bounds={"dead": DEAD_S},
    ),
    Row(
        name="host-lost",
        title="agent and its containers gone at once (host loss)",
        passes_when="lease held by another agent within 1.2 ttl",
        inject=host_lost,
        plan=_NET_PLAN,
        repeat=15,
        quick=1,
        needs=frozenset({NET}),
        bounds={"lease": LOSS_TTLS * TEST_TIMING.ttl_s},
    ),
)
