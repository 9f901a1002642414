"""Rows about many: a thousand idle agents, ten thousand jobs, and what is left after retention.

They run a cluster of their own without the recorder: to write every message of a thousand
heartbeats down would cost more than what is measured. What they check themselves: every job
ends once with its own value.

Messages are PUBLISH packets that clients send: nodes, agents and the device count their own.
Those of idle agents and nodes are measured before the jobs and subtracted; what bridges carry
on is no client's.
"""

import asyncio
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from workrs.cli.cluster import LocalCluster
from workrs.faults import census
from workrs.faults.bulk import Bulk, send
from workrs.faults.census import Census
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
IDLE_S: Final = 6.0
JOB_S: Final = 0.1
"""Allowed for each job of a load, on a busy machine."""
RETENTION_S: Final = 3.0
RETIRED_S: Final = 120.0
GROWTH_MB: Final = 10.0
"""Memory that a daemon may have more after the last round than after the second."""
_NUMBERS: Final = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of it."""

    agents: int
    jobs: int
    counted: int
    """Jobs of the phases in which messages are counted."""
    messages_max: float = MESSAGES_MAX
    more_max: float = 1.0
    """Messages per job beyond those with few agents: what measuring twice differs by."""

    def sample(self, device: str) -> Bulk:
        """Return the jobs of a phase in which messages are counted."""
        return Bulk(device=device, jobs=self.counted, retention_s=RETENTION_S)


# Where a machine is busy with other things, agents repeat what is not answered soon.
SMALL: Final = Size(agents=100, jobs=300, counted=100, messages_max=60.0, more_max=15.0)
LARGE: Final = Size(agents=1000, jobs=10_000, counted=1000)


def crowd(site: Site, *, name: str, size: Size) -> Injection:
    """Let a crowd of idle agents take a long queue of jobs."""
    root = site.root / f"fleet-{next(_NUMBERS)}"
    with site.injecting(name) as notes, fleet(root) as cluster:
        base = census.take(cluster)
        notes.note(f"load average before it: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        with gathered(cluster, FEW, "few") as few:
            few_cost = asyncio.run(_count(cluster, few, base, size.sample("counted-few")))
        with gathered(cluster, size.agents, "crowd") as agents:
            cost = asyncio.run(_count(cluster, agents, base, size.sample("counted")))
            before = census.take(cluster)
            _load(cluster, agents, notes, size)
            full, ended_s = census.take(cluster), site.trace.now_s
            site.until("everything of them to go", partial(_is_base, cluster, base), RETIRED_S)
            notes.figure("gone", site.trace.now_s - ended_s)
            _tell_memory(notes, before, full, census.take(cluster))
        notes.note(f"{cost:.1f} messages per job with {size.agents} agents, {few_cost:.1f} with 3")
        notes.figure("messages per job", cost)
        notes.figure("messages per job, 3 agents", few_cost)
        if cost > min(size.messages_max, few_cost + size.more_max):
            raise RowError(f"{cost:.1f} messages per job, {few_cost:.1f} with {FEW} agents")
    return notes.done()


@dataclass(slots=True)
class _Meter:
    """Counts the messages that all nodes and agents have published."""

    cluster: LocalCluster
    agents: Crowd
    said: int = 0
    """By the agents, so far."""

    async def read(self) -> tuple[int, float]:
        """Return how many, and when."""
        by_nodes = await census.count_sent(self.cluster.addresses)
        self.said += (await asyncio.to_thread(self.agents.report)).sent.total()
        return by_nodes + self.said, asyncio.get_running_loop().time()


async def _count(
    cluster: LocalCluster, agents: Crowd, base: Mapping[str, Census], bulk: Bulk
) -> float:
    """Return how many messages a job costs beyond what idle agents and nodes send anyway.

    From the submission to the last of it leaving the bus, which costs messages, too.
    """
    meter = _Meter(cluster, agents)
    first, begun_s = await meter.read()
    await asyncio.sleep(IDLE_S)
    idle, idle_s = await meter.read()
    idle_rate = (idle - first) / (idle_s - begun_s)
    address = next(iter(cluster.addresses.values()))
    await send(address, bulk, window=bulk.jobs, timeout_s=30 + bulk.jobs * JOB_S * 2)
    async with asyncio.timeout(RETIRED_S):
        while not await asyncio.to_thread(_is_base, cluster, base):  # noqa: ASYNC110 (a process)
            await asyncio.sleep(0.5)
    last, ended_s = await meter.read()
    return (bulk.sent + last - idle - idle_rate * (ended_s - idle_s)) / bulk.jobs


def _load(cluster: LocalCluster, agents: Crowd, notes: Notes, size: Size) -> None:
    """Send all jobs at once; every one must end with its own value.

    Claims won while the nodes still take in jobs are a figure of their own: what a flood of
    submissions delays is another question than how many agents and queued jobs there are.
    """
    agents.report()
    during: list[CrowdReport] = []
    bulk = Bulk(device="bulk", jobs=size.jobs, retention_s=RETENTION_S)
    began_s = notes.mark("jobs", "fault", f"{size.jobs} at once for {size.agents} idle agents")
    address = next(iter(cluster.addresses.values()))
    asyncio.run(
        send(
            address,
            bulk,
            window=size.jobs,
            timeout_s=60 + size.jobs * JOB_S,
            when_queued=lambda: during.append(agents.report()),
        )
    )
    took_s = notes.mark("jobs", "outcome", "all ended with their own value") - began_s
    after = agents.report()
    accepted_s, ended_s = bulk.waits()
    notes.figure("claim", *after.claims_s)
    notes.figure("claim in the flood", *during[0].claims_s)
    sent, logged = during[0].sent + after.sent, during[0].logged + after.logged
    notes.figure("accepted", *accepted_s)
    notes.figure("result", *ended_s)
    notes.note(
        f"{size.jobs} jobs in {took_s:.1f} s, {size.jobs / took_s:.0f} a second; "
        f"all accepted after {max(accepted_s):.1f} s; "
        f"{sent['claim']} claims sent for {logged['lease_won']} leases, "
        f"{logged['claim_split']} votes split, {logged['claim_lost']} lost, "
        f"{logged['node_silent']} times a node left as silent"
    )
    if logged["lease_won"] < size.jobs:
        raise RowError(f"{logged['lease_won']} leases for {size.jobs} jobs")


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
            held: list[float] = []
            for number in range(rounds):
                bulk = Bulk(device=f"soak-{number}", jobs=jobs, retention_s=RETENTION_S)
                address = list(cluster.addresses.values())[number % len(cluster.addresses)]
                asyncio.run(send(address, bulk, window=jobs, timeout_s=60 + jobs * JOB_S))
                ended_s = notes.mark("jobs", "outcome", f"round {number + 1}: {jobs} jobs ended")
                site.until("everything of them to go", partial(_is_base, cluster, base), RETIRED_S)
                notes.figure("gone", site.trace.now_s - ended_s)
                held.append(max(c.daemon_mb for c in census.take(cluster).values()))
                agents.report()
        notes.note("daemon's memory after each round: " + ", ".join(f"{mb:.0f}" for mb in held))
        if len(held) > 2 and held[-1] - held[1] > GROWTH_MB:
            raise RowError(f"a daemon grew from {held[1]:.0f} to {held[-1]:.0f} MB")
    return notes.done()


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
        passes_when="as `crowd`, with room for a machine that does other things: 60 messages, 1 s",
        inject=partial(crowd, name="crowd-small", size=SMALL),
        plan=ALONE,
        repeat=1,
        bounds={"claim": 10 * CLAIM_P99_S},
    ),
    Row(
        name="crowd",
        title="1,000 idle agents, 10,000 jobs at once",
        passes_when="at most 40 messages per job and no more than with 3 agents; claims within "
        "100 ms (p99) once all are queued; every job ends with its own value",
        inject=partial(crowd, name="crowd", size=LARGE),
        plan=ALONE,
        repeat=1,
        bounds={"claim": CLAIM_P99_S},
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
        passes_when="rows and retained topics go back to what they were; memory stays",
        inject=partial(soak, name="soak", rounds=10, jobs=1000),
        plan=ALONE,
        repeat=1,
    ),
)
