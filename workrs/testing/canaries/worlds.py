"""Schedules in which one rule or another matters often.

Each is an ordinary schedule of the planner with fewer kinds of faults, and where it says so
with other jobs or agents.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from workrs.testing.simulator import Schedule, plan
from workrs.testing.simulator.schedule import AgentPlan, FaultPlan, JobPlan

Planner = Callable[[int], Schedule]

APART = (1.0, 5.0, 9.0, 13.0)
"""Times of faults that leave one another alone."""


def any_schedule(seed: int) -> Schedule:
    """Return the simulator's own schedule of *seed*."""
    return plan(seed)


def world(
    *faults: str,
    nodes: int | None = None,
    jobs: Callable[[JobPlan], JobPlan] | None = None,
    agents: Callable[[int], Sequence[AgentPlan]] | None = None,
    faults_at_s: tuple[float, ...] = (),
    on: str = "",
    ttl_s: float = 3.0,
) -> Planner:
    """Return a planner with these faults only, and jobs and agents to the purpose.

    Args:
        faults: their names.
        nodes: how many, if not drawn.
        jobs: changes each job.
        agents: makes the agents for so many nodes.
        faults_at_s: when a fault strikes, if not now and then.
        on: what an agent says when a fault strikes, if not anything or nothing.
        ttl_s: of the leases.
    """

    def make(seed: int) -> Schedule:
        made = replace(plan(seed, nodes=nodes, only=faults), ttl_s=ttl_s)
        if jobs is not None:
            made = replace(made, jobs=tuple(jobs(job) for job in made.jobs))
        if agents is not None:
            made = replace(made, agents=tuple(agents(made.nodes)))
        if faults_at_s:
            kinds = [fault.name for fault in made.faults]
            made = replace(
                made,
                storm_s=max(faults_at_s) + 15.0,
                faults=tuple(
                    FaultPlan(at_s=at_s, name=kind, salt=salt)
                    for salt, (at_s, kind) in enumerate(zip(faults_at_s, kinds, strict=False))
                ),
            )
        if on:
            made = replace(made, faults=tuple(replace(fault, on=on) for fault in made.faults))
        return made

    return make


def long_and_strict(job: JobPlan) -> JobPlan:
    """Make it one that runs for long, and never twice at a time."""
    return replace(job, strict=True, work_s=6.0, exits=(0,), cancel_at_s=None, rivals=())


def early_and_long(job: JobPlan) -> JobPlan:
    """Make it one that runs from the start on, and may be taken over when its agent seems lost."""
    return replace(
        job, at_s=0.5, strict=False, work_s=25.0, exits=(0,), cancel_at_s=None, rivals=(), copies=()
    )


def short(job: JobPlan) -> JobPlan:
    """Make it one that ends at once: outcomes are proposed all the time."""
    return replace(job, work_s=0.2, exits=(0,), resumes=False, is_large=False)


def short_and_fast(job: JobPlan) -> JobPlan:
    """Make it one that ends at once, and of which two programs may run for a moment."""
    return replace(short(job), strict=False)


def failing(job: JobPlan) -> JobPlan:
    """Let its first attempts end soon, to be tried again: leases are given back all the time."""
    return replace(job, work_s=0.8, exits=(75, 75, 0), attempts_max=5, cancel_at_s=None, rivals=())


def contested(job: JobPlan) -> JobPlan:
    """Let another spec arrive under the same id, at every node, at the same moment."""
    at_s = job.at_s + 0.004
    return replace(
        job, rivals=tuple((at_s, number) for number in range(3)), copies=(), cancel_at_s=None
    )


def resubmitted(job: JobPlan) -> JobPlan:
    """Let another spec arrive under the same id, some time later."""
    times = (job.at_s + 0.5, job.at_s + 1.5)
    return replace(
        job,
        work_s=6.0,
        cancel_at_s=None,
        rivals=tuple((at_s, number) for at_s in times for number in range(3)),
    )


def saved_as_it_can(job: JobPlan) -> JobPlan:
    """Make it one that is saved often, as its agent can, and goes on from its files as well."""
    return replace(
        job,
        mode="auto",
        checkpoint_s=0.4,
        work_s=6.0,
        exits=(0,),
        resumes=False,
        attempts_max=5,
        cancel_at_s=None,
        rivals=(),
    )


def falling(nodes: int) -> list[AgentPlan]:
    """Return two agents that save memory, one of which restores none when it comes to it."""
    first, other = pair(nodes)
    return [replace(first, rung="memory"), replace(other, rung="memory", refuses=True)]


def crowd(nodes: int) -> list[AgentPlan]:
    """Return many agents on one broker."""
    assert nodes
    return [AgentPlan(name=f"a{number + 1}", home=0, slots=2) for number in range(8)]


def pair(nodes: int) -> list[AgentPlan]:
    """Return two agents, on brokers of their own where there are two."""
    return [AgentPlan(name=f"a{number + 1}", home=number % nodes, slots=8) for number in range(2)]


def twins(nodes: int) -> list[AgentPlan]:
    """Return an agent, and one that runs on a copy of its disk, on brokers of their own."""
    first = AgentPlan(name="a1", home=0)
    return [first, AgentPlan(name="a2", home=1 % nodes, twin_of="a1")]


def single(nodes: int) -> list[AgentPlan]:
    """Return one agent, so that nobody else takes up what it lets go."""
    return [AgentPlan(name="a1", home=nodes - 1, slots=4)]
