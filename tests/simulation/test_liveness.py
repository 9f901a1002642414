"""Goal: what must come about in the end is looked for. Method: a world at rest is tampered with."""

from dataclasses import replace

import pytest

from workrs.domain.ids import Digest, JobId
from workrs.domain.record import Record
from workrs.testing.simulator import liveness
from workrs.testing.simulator.broken import BrokenError
from workrs.testing.simulator.parcel import Parcel
from workrs.testing.simulator.planner import plan
from workrs.testing.simulator.trace import Trace
from workrs.testing.simulator.world import World
from workrs.wire import topics


@pytest.fixture
def world() -> World:
    """Return a world that has come to rest."""
    schedule = replace(plan(1, nodes=3), faults=())
    it = World(schedule, Trace())
    it.start()
    it.timeline.run_until(schedule.storm_s)
    it.mend()
    liveness.heal(it)
    assert it.oracle.accepted
    assert liveness.find_unrest(it) is None
    return it


def test_a_copy_of_another_version_at_another_broker_is_seen(world: World) -> None:
    job = next(iter(world.nodes["n1"].disk.jobs))
    topic = topics.record(world.names[0], job)
    parcel = world.nodes["n2"].broker.retained[topic]
    assert isinstance(parcel.body, Record)
    older = replace(parcel.body, attempt=parcel.body.attempt + 1)
    world.nodes["n2"].broker.retained[topic] = Parcel(parcel.message, older)
    assert str(liveness.find_unrest(world)).startswith("('L2', 'n2 shows in another version")
    del world.nodes["n2"].broker.retained[topic]
    assert str(liveness.find_unrest(world)).startswith("('L2', 'n2 does not show")


def test_an_agent_that_does_not_come_back_is_seen(world: World) -> None:
    next(iter(world.agents.values())).die()
    assert str(liveness.find_unrest(world)).startswith("('L4'")


def test_an_accepted_job_that_no_disk_has_is_seen(world: World) -> None:
    world.oracle.accepted[JobId("d1_gone")] = Digest("0" * 64)
    with pytest.raises(BrokenError, match=r"L1.*d1_gone"):
        liveness.heal(world)


def test_a_job_that_is_open_at_one_node_is_seen(world: World) -> None:
    job, saved = next(iter(world.nodes["n3"].disk.jobs.items()))
    open_again = replace(saved.record, decided=None, decided_digest=None)
    world.nodes["n3"].disk.jobs[job] = replace(saved, record=open_again)
    assert liveness.find_undecided(world) == [job]


def test_a_device_that_was_not_told_is_seen(world: World) -> None:
    device = next(iter(world.devices.values()))
    device.outbox["j9"] = b""
    assert liveness.find_untold(world) == [f"{device.name}_j9"]
