"""Rows about many: a thousand idle agents, ten thousand jobs, and what is left after retention.

They run a cluster of their own without the recorder: to write every message of a thousand
heartbeats down would cost more than what is measured. What they check themselves: every job
ends once with its own value.

Messages are PUBLISH packets that clients send: nodes, agents and the device count their own,
from the first submission until nothing of the last job is left. Those that idle agents and nodes
send are measured before the jobs and subtracted; what bridges carry on is no client's.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from workrs.cli.cluster import LocalCluster
from workrs.faults import census
from workrs.faults.bulk import Bulk, send
from workrs.faults.census import Census, Reading, beyond_idle
from workrs.faults.fleet import Crowd, CrowdReport, fleet, gathered
from workrs.faults.plan import LoadPlan, SitePlan
from workrs.faults.row import Injection, Row, RowError
from workrs.faults.site import Notes, Site

ALONE: Final = SitePlan(nodes=1, agents=0, load=LoadPlan(echo_period_s=0.0, long_jobs=0, devices=1))
MESSAGES_MAX: Final = 40.0
"""Per job."""
CLAIM_P99_S: Final = 0.1
FEW: Final = 3
"""Agents to compare with. One slot each, as in the crowd: a heartbeat for ten jobs is cheaper."""
IDLE_S: Final = 20.0
"""Ten heartbeats of each agent."""
JOB_S: Final = 0.1
"""Allowed for each job of a load, on a busy machine."""
RETENTION_S: Final = 3.0
RETIRED_S: Final = 120.0
GROWTH_MB: Final = 10.0
"""Memory that a daemon or a broker may have more after the last round than after the second."""
_NUMBERS: Final = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of it."""

    agents: int
    jobs: int
    few_jobs: int
    """Jobs of the load with few agents, whose messages are compared."""
    messages_max: float = MESSAGES_MAX
    more_max: float = 0.0
    """Messages per job beyond those with few agents."""


# Where a machine is busy with other things, agents repeat what is not answered soon.
SMALL: Final = Size(agents=100, jobs=300, few_jobs=100, messages_max=60.0, more_max=15.0)
LARGE: Final = Size(agents=1000, jobs=10_000, few_jobs=1000)


def crowd(site: Site, *, name: str, size: Size) -> Injection:
    """Let a crowd of idle agents take a long queue of jobs."""
    root = site.root / f"fleet-{next(_NUMBERS)}"
    with site.injecting(name) as notes, fleet(root) as cluster:
        base = census.take(cluster)
        notes.note(f"load average before it: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        with gathered(cluster, FEW, "few") as few:
            bulk = Bulk(device="few", jobs=size.few_jobs, retention_s=RETENTION_S)
            few_cost = _cost(site, _Meter(cluster, few), base, bulk)
        notes.figure("messages per job, 3 agents", few_cost)
        with gathered(cluster, size.agents, "crowd") as agents:
            bulk = Bulk(device="bulk", jobs=size.jobs, retention_s=RETENTION_S)
            cost = _cost(site, _Meter(cluster, agents), base, bulk, notes)
        notes.figure("messages per job", cost)
        notes.note(
            f"{cost:.1f} messages per job over {size.jobs} with {size.agents} agents, "
            f"{few_cost:.1f} over {size.few_jobs} with {FEW}"
        )
        if cost > few_cost + size.more_max:
            raise RowError(f"{cost:.1f} messages per job, {few_cost:.1f} with {FEW} agents")
    return notes.done()


@dataclass(slots=True)
class _Meter:
    """Counts the messages that all nodes and agents have published."""

    cluster: LocalCluster
    agents: Crowd
    said: int = 0
    """By the agents, so far."""

    def ask(self) -> CrowdReport:
        """Ask the agents what they did since they were last asked."""
        report = self.agents.report()
        self.said += report.sent.total()
        return report

    def read(self) -> dict[str, Reading]:
        """Return how many each node has published so far, and all agents together."""
        found = asyncio.run(census.count_sent(self.cluster.addresses))
        self.ask()
        return {**found, "agents": Reading(self.said, time.monotonic())}


def _cost(
    site: Site, meter: _Meter, base: Mapping[str, Census], bulk: Bulk, notes: Notes | None = None
) -> float:
    """Return how many messages a job costs beyond what idle agents and nodes send anyway.

    From the submission to the last of it leaving the bus, which costs messages, too.
    """
    first = meter.read()
    site.pause(IDLE_S)
    idle = meter.read()
    if notes is None:
        _send(meter.cluster, bulk)
        _until_gone(site, meter.cluster, base)
    else:
        _load(site, meter, base, bulk, notes)
    return (bulk.sent + beyond_idle(first, idle, meter.read())) / bulk.jobs


def _send(
    cluster: LocalCluster, bulk: Bulk, when_queued: Callable[[], object] | None = None
) -> None:
    """Send all jobs at once to the first node; every one must end with its own value."""
    address = next(iter(cluster.addresses.values()))
    timeout_s = 60 + bulk.jobs * JOB_S
    asyncio.run(send(address, bulk, window=bulk.jobs, timeout_s=timeout_s, when_queued=when_queued))


def _load(site: Site, meter: _Meter, base: Mapping[str, Census], bulk: Bulk, notes: Notes) -> None:
    """Send all jobs at once, and note what became of them until everything of them is gone.

    Claims won while the nodes still take in jobs are a figure of their own: what a flood of
    submissions delays is another question than how many agents and queued jobs there are.
    """
    before = census.take(meter.cluster)
    meter.ask()
    flood: list[CrowdReport] = []
    began_s = notes.mark("jobs", "fault", f"{bulk.jobs} at once for idle agents")
    _send(meter.cluster, bulk, when_queued=lambda: flood.append(meter.ask()))
    ended_s = notes.mark("jobs", "outcome", "all ended with their own value")
    queued = meter.ask()
    full = census.take(meter.cluster)
    _until_gone(site, meter.cluster, base)
    notes.figure("gone", site.trace.now_s - ended_s)
    _tell_memory(notes, before, full, census.take(meter.cluster))
    _tell_claims(notes, flood[0], queued)
    accepted_s, results_s = bulk.waits()
    notes.figure("accepted", *accepted_s)
    notes.figure("result", *results_s)
    took_s = ended_s - began_s
    notes.note(
        f"{bulk.jobs} jobs in {took_s:.1f} s, {bulk.jobs / took_s:.0f} a second; "
        f"all accepted after {max(accepted_s):.1f} s"
    )
    leases = flood[0].logged["lease_won"] + queued.logged["lease_won"]
    if leases < bulk.jobs:
        raise RowError(f"{leases} leases for {bulk.jobs} jobs")


def _tell_claims(notes: Notes, flood: CrowdReport, queued: CrowdReport) -> None:
    """Note how claims went, in the flood of submissions and once all jobs were queued."""
    notes.figure("claim in the flood", *flood.claims_s)
    notes.figure("claim", *queued.claims_s)
    sent, logged = flood.sent + queued.sent, flood.logged + queued.logged
    notes.note(
        f"{len(flood.claims_s)} claims won in the flood, {len(queued.claims_s)} once all jobs were "
        f"queued; {sent['claim']} sent for {logged['lease_won']} leases, "
        f"{logged['claim_split']} votes split, {logged['claim_lost']} lost, "
        f"{logged['node_silent']} times a node left as silent"
    )


def _tell_memory(notes: Notes, *stages: Mapping[str, Census]) -> None:
    """Note each node's memory before the jobs, with all of them, and after their retention."""
    for node in stages[0]:
        daemon = " → ".join(f"{stage[node].daemon_mb:.0f}" for stage in stages)
        broker = " → ".join(f"{stage[node].broker_mb:.0f}" for stage in stages)
        notes.note(f"{node}: daemon {daemon} MB, broker {broker} MB")


def soak(site: Site, *, name: str, rounds: int, jobs: int) -> Injection:
    """Run rounds of jobs with a short retention; after each the nodes must keep nothing of them."""
    root = site.root / f"soak-{next(_NUMBERS)}"
    with site.injecting(name) as notes, fleet(root) as cluster:
        with gathered(cluster, FEW * 4, "soak") as agents:
            base = census.take(cluster)
            held: dict[str, list[float]] = {"daemon": [], "broker": []}
            for number in range(rounds):
                bulk = Bulk(device=f"soak-{number}", jobs=jobs, retention_s=RETENTION_S)
                address = list(cluster.addresses.values())[number % len(cluster.addresses)]
                asyncio.run(send(address, bulk, window=jobs, timeout_s=60 + jobs * JOB_S))
                ended_s = notes.mark("jobs", "outcome", f"round {number + 1}: {jobs} jobs ended")
                _until_gone(site, cluster, base)
                notes.figure("gone", site.trace.now_s - ended_s)
                now = census.take(cluster).values()
                held["daemon"].append(max(one.daemon_mb for one in now))
                held["broker"].append(max(one.broker_mb for one in now))
                agents.report()
        for program, sizes_mb in held.items():
            shown = ", ".join(f"{size_mb:.0f}" for size_mb in sizes_mb)
            notes.note(f"{program}'s memory after each round, MB: {shown}")
        for program, sizes_mb in held.items():
            require_steady(program, sizes_mb)
    return notes.done()


def require_steady(program: str, sizes_mb: Sequence[float]) -> None:
    """Raise RowError if a program's memory grew after the second of its rounds."""
    if len(sizes_mb) > 2 and sizes_mb[-1] - sizes_mb[1] > GROWTH_MB:
        raise RowError(f"a {program} grew from {sizes_mb[1]:.0f} to {sizes_mb[-1]:.0f} MB")


def _until_gone(site: Site, cluster: LocalCluster, base: Mapping[str, Census]) -> None:
    site.until("everything of them to go", partial(_is_base, cluster, base), RETIRED_S)


def _is_base(cluster: LocalCluster, base: Mapping[str, Census]) -> bool:
    """Return whether every node keeps as few rows and topics as before the jobs."""
    now = census.take(cluster)
    return all(
        now[node].rows <= base[node].rows and now[node].retained <= base[node].retained
        for node in base
    )


ROWS = (
    Row(
        name="crowd-small",
        title="100 idle agents, 300 jobs at once",
        passes_when="as `crowd`, with room for a machine that does other things: at most 60 "
        "messages per job and 15 more than with 3 agents, claims within 1 s",
        inject=partial(crowd, name="crowd-small", size=SMALL),
        plan=ALONE,
        repeat=1,
        bounds={"claim": 10 * CLAIM_P99_S, "messages per job": SMALL.messages_max},
    ),
    Row(
        name="crowd",
        title="1,000 idle agents, 10,000 jobs at once",
        passes_when="over all 10,000 jobs at most 40 messages per job, and no more than with 3 "
        "agents over 1,000; claims within 100 ms (p99) once all are queued; every job "
        "ends with its own value",
        inject=partial(crowd, name="crowd", size=LARGE),
        plan=ALONE,
        repeat=1,
        bounds={"claim": CLAIM_P99_S, "messages per job": LARGE.messages_max},
    ),
    Row(
        name="soak-small",
        title="2 rounds of 200 jobs, kept for 3 s",
        passes_when="as `soak`",
        inject=partial(soak, name="soak-small", rounds=2, jobs=200),
        plan=ALONE,
        repeat=1,
    ),
    Row(
        name="soak",
        title="10 rounds of 1,000 jobs, kept for 3 s",
        passes_when="rows and retained topics go back to what they were; a daemon's and a broker's "
        "memory grows by at most 10 MB after the second round",
        inject=partial(soak, name="soak", rounds=10, jobs=1000),
        plan=ALONE,
        repeat=1,
    ),
)
