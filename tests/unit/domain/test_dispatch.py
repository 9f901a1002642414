"""Goal: a job goes to an agent that may have it, the best one, and every node agrees which.

Method: one agent that fits; then every way not to; then pairs that differ in one thing.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from workrs.domain.dispatch import AgentProfile, Candidate, choose, fits, rank_nodes
from workrs.domain.host import HostFacts
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import CheckpointMode, CheckpointPolicy, Constraints, JobSpec
from workrs.domain.record import CheckpointRef

NODES = [ClientId(f"n{i}") for i in range(1, 6)]
SPEC = JobSpec(
    image="base",
    command=("true",),
    memory_mb=256,
    constraints=Constraints(arch="amd64", labels=("gpu",)),
)
PROFILE = AgentProfile(slots=2, arch="amd64", memory_mb=256, cpus=1.0, labels=("gpu", "roof"))


def agent(name: str, busy: int = 0, **changes: Any) -> Candidate:
    return Candidate(client=ClientId(name), profile=replace(PROFILE, **changes), busy=busy)


def best(
    *candidates: Candidate, avoid: tuple[str, ...] = (), spec: JobSpec = SPEC, job: str = "pump_1"
) -> str | None:
    shuffled = list(candidates)
    random.Random(len(shuffled)).shuffle(shuffled)
    return choose(JobId(job), spec, shuffled, frozenset(ClientId(name) for name in avoid))


@pytest.mark.parametrize(
    "changes",
    [
        {"draining": True},
        {"arch": "arm64"},
        {"labels": ()},
        {"labels": ("roof",)},
        {"memory_mb": 255},
    ],
)
def test_an_agent_that_misses_one_constraint_gets_nothing(changes: dict[str, Any]) -> None:
    assert fits(SPEC, PROFILE)
    assert not fits(SPEC, replace(PROFILE, **changes))
    assert best(agent("a", **changes)) is None


@pytest.mark.parametrize(
    ("mode", "rung", "fitting"),
    [
        (CheckpointMode.MEMORY, "memory", True),
        (CheckpointMode.MEMORY, "files", False),
        (CheckpointMode.MEMORY, "none", False),
        (CheckpointMode.FILES, "none", True),
        (CheckpointMode.AUTO, "none", True),
        (CheckpointMode.OFF, "none", True),
    ],
)
def test_only_memory_checkpoints_are_demanded_of_an_agent(
    mode: CheckpointMode,
    rung: str,
    fitting: bool,  # noqa: FBT001
) -> None:
    spec = replace(SPEC, checkpoint=CheckpointPolicy(mode=mode))
    assert fits(spec, replace(PROFILE, rung=rung)) == fitting


def test_a_job_without_constraints_fits_anywhere_large_enough() -> None:
    spec = replace(SPEC, constraints=Constraints())
    assert fits(spec, AgentProfile(slots=1, arch="armhf", memory_mb=256, cpus=0.1))


@pytest.mark.parametrize(("busy", "chosen"), [(1, "a"), (2, None), (3, None)])
def test_an_agent_with_all_slots_taken_gets_nothing(busy: int, chosen: str | None) -> None:
    assert best(agent("a", busy)) == chosen
    assert best() is None


def test_image_then_free_share_then_load() -> None:
    plain = agent("a")
    assert best(plain, agent("z", 1, images=("base",), load=9.0)) == "z"
    assert best(agent("a", 1), agent("z", load=9.0)) == "z"
    assert best(agent("a", 1, slots=2), agent("z", 1, slots=3)) == "z"
    assert best(agent("a", load=0.2), agent("z", load=0.1)) == "z"


def test_equal_agents_share_the_jobs_and_any_order_gives_the_same() -> None:
    equal = [agent(name) for name in "amz"]
    chosen = Counter(best(*equal, job=f"pump_{number}") for number in range(300))
    assert set(chosen) == {"a", "m", "z"}
    assert max(chosen.values()) < 150
    for number in range(20):
        job = f"pump_{number}"
        assert best(*equal, job=job) == best(*reversed(equal), job=job)


def test_agents_that_let_an_offer_lapse_come_last_but_not_never() -> None:
    assert best(agent("a", images=("base",)), agent("z", 1), avoid=("a",)) == "z"
    assert best(agent("a"), avoid=("a",)) == "a"
    assert best(agent("a"), agent("z"), avoid=("a", "z")) in ("a", "z")
    assert best(replace(agent("a"), lapsed=True), agent("z", 1)) == "z"
    assert best(replace(agent("a"), lapsed=True)) == "a"


def test_every_node_computes_the_same_ranks_in_any_order() -> None:
    job = JobId("pump_j1")
    ranks = rank_nodes(job, NODES)
    assert sorted(ranks) == NODES
    assert rank_nodes(job, reversed(NODES)) == ranks
    assert rank_nodes(job, []) == []


def test_a_dead_node_moves_only_its_own_jobs() -> None:
    for number in range(200):
        ranks = rank_nodes(JobId(f"pump_{number}"), NODES)
        alive = [node for node in NODES if node != ranks[0]]
        assert rank_nodes(JobId(f"pump_{number}"), alive) == ranks[1:]


def test_jobs_spread_evenly_over_nodes() -> None:
    firsts = Counter(rank_nodes(JobId(f"pump_{n}"), NODES)[0] for n in range(2000))
    assert max(firsts.values()) < 1.25 * 2000 / len(NODES)


def test_a_job_with_a_checkpoint_goes_to_an_agent_that_can_restore_it() -> None:
    here = HostFacts(arch="amd64", cpu="c1", kernel="6.1", criu="4.1")
    ref = CheckpointRef(
        epoch=Epoch(1),
        seq=1,
        manifest=Digest("0" * 64),
        location=("u",),
        rung="memory",
        bytes=1,
        host=here,
    )
    able = agent("b", rung="memory", host=here)
    unable = [
        agent("a", rung="memory", host=replace(here, cpu="c2")),
        agent("c", rung="files", host=here),
    ]
    everybody = [able, *unable]
    chosen = choose(JobId("pump_1"), SPEC, everybody, frozenset({able.client}), newest=ref)
    assert chosen == able.client
    assert choose(JobId("pump_1"), SPEC, unable, frozenset(), newest=ref) is None
    assert choose(JobId("pump_1"), SPEC, unable, frozenset()) is not None
