"""From a seed to a schedule.

Each schedule draws a few kinds of faults and leaves the others out: with all kinds at once
nothing would ever get far enough for the rare combinations to matter.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from workrs.domain.ladder import FILES, MEMORY
from workrs.testing.simulator.schedule import (
    AgentPlan,
    DevicePlan,
    FaultPlan,
    JobPlan,
    Schedule,
)

SIZES = (1, 3, 3, 3, 5)
FAULTS_MIN, FAULTS_MAX = 14, 38
STORM_MIN_S, STORM_MAX_S = 8.0, 22.0
VERBS = ("claim", "outcome", "outcome", "release", "checkpoint", "beat")
REPEATS = (0.0, 0.0, 0.02, 0.1, 0.3)
RAW = 0.12
WITH_MEMORY = 0.4
EXITS = ((0,), (0,), (0,), (1, 0), (75, 0), (1,), (78,), (1, 1, 0))


def plan(seed: int, *, nodes: int | None = None, only: Sequence[str] = ()) -> Schedule:
    """Return the schedule of *seed*, with that many nodes and those faults only if given."""
    from workrs.testing.simulator.faults import FAULTS  # noqa: PLC0415 (it knows the world)

    rng = Random(f"{seed}/plan")  # noqa: S311 (reproducible on purpose)
    size = nodes or rng.choice(SIZES)
    storm_s = round(rng.uniform(STORM_MIN_S, STORM_MAX_S), 1)
    crowd = rng.random() < 0.06
    agents = tuple(
        AgentPlan(
            name=f"a{i + 1}",
            home=0 if crowd else rng.randrange(size),
            slots=rng.choice((1, 2, 2, 4)),
            rung=rng.choice(("files", "files", "files", "none")),
        )
        for i in range(rng.randint(6, 8) if crowd else rng.choice((1, 2, 2, 2, 3, 3)))
    )
    devices = tuple(
        DevicePlan(name=f"d{i + 1}", home=rng.randrange(size)) for i in range(rng.choice((1, 1, 2)))
    )
    jobs = tuple(
        _job(rng, number, rng.choice(devices).name, size, storm_s)
        for number in range(rng.randint(1, 6))
    )
    more = _more(seed)
    if not only:
        jobs = tuple(_maybe_raw(job, more) for job in jobs)
        agents, jobs = _with_memory(agents, jobs, seed)
    kinds = list(only) or sorted(rng.sample(sorted(FAULTS), rng.randint(2, 6)))
    times = sorted(
        round(rng.uniform(0.3, storm_s - 0.5), 2)
        for _ in range(rng.randint(FAULTS_MIN, FAULTS_MAX))
    )
    return Schedule(
        seed=seed,
        nodes=size,
        ttl_s=rng.choice((3.0,) * 12 + (10.0, 20.0)),
        drift=rng.random() < 0.8,
        repeats=0.0 if only else more.choice(REPEATS),
        storm_s=storm_s,
        agents=agents,
        devices=devices,
        jobs=jobs,
        faults=tuple(
            FaultPlan(at_s=at_s, name=rng.choice(kinds), salt=salt, on=_on(rng))
            for salt, at_s in enumerate(times)
        ),
    )


def _more(seed: int) -> Random:
    """Return the generator for what is no fault of a kind, apart from the rest."""
    return Random(f"{seed}/more")  # noqa: S311 (reproducible on purpose)


def _maybe_raw(job: JobPlan, rng: Random) -> JobPlan:
    """Now and then let a job be a call of a function, whose limits are not the caller's."""
    return replace(job, is_raw=True, strict=False) if rng.random() < RAW else job


def _with_memory(
    agents: tuple[AgentPlan, ...], jobs: tuple[JobPlan, ...], seed: int
) -> tuple[tuple[AgentPlan, ...], tuple[JobPlan, ...]]:
    """Now and then let agents save memory, on machines that are alike or not, and jobs ask for it.

    A job that asks for nothing else waits for such an agent, so there has to be one.
    """
    rng = Random(f"{seed}/memory")  # noqa: S311 (reproducible on purpose)
    if rng.random() >= WITH_MEMORY:
        return agents, jobs
    changed = tuple(
        replace(
            agent,
            rung=MEMORY if agent.rung == FILES and rng.random() < 0.7 else agent.rung,
            machine=rng.choice(("m1", "m1", "m2")),
            refuses=rng.random() < 0.15,
        )
        for agent in agents
    )
    is_there = any(agent.rung == MEMORY for agent in changed)
    modes = ("auto", "auto", "files", *(["memory"] if is_there else []))
    return changed, tuple(replace(job, mode=rng.choice(modes)) for job in jobs)


def _on(rng: Random) -> str:
    return rng.choice(VERBS) if rng.random() < 0.35 else ""


def _job(rng: Random, number: int, device: str, nodes: int, storm_s: float) -> JobPlan:
    at_s = round(rng.uniform(0.0, storm_s * 0.7), 2)

    def later() -> float:
        return round(min(at_s + rng.expovariate(0.5), storm_s), 2)

    def places(chance: float) -> tuple[tuple[float, int], ...]:
        if rng.random() >= chance:
            return ()
        return tuple((later(), rng.randrange(nodes)) for _ in range(rng.randint(1, 4)))

    return JobPlan(
        name=f"j{number + 1}",
        device=device,
        at_s=at_s,
        work_s=round(rng.choice((0.1, 1.0, 3.0, 6.0)) * rng.uniform(0.5, 1.5), 2),
        exits=rng.choice(EXITS),
        resumes=rng.random() < 0.15,
        is_large=rng.random() < 0.1,
        strict=rng.random() < 0.5,
        checkpoint_s=rng.choice((None, 0.4, 0.8, 1.5)),
        attempts_max=rng.choice((1, 2, 3, 5)),
        retention_s=rng.choice((86400.0,) * 5 + (2.0,)),
        copies=places(0.3),
        rivals=places(0.12),
        cancel_at_s=later() if rng.random() < 0.2 else None,
    )
