"""When a lease is given back: scripted talks in which a container takes its time to go.

Goal: the next agent waits for the end of the program and for nothing else, and what is left of
the container is never mixed up with the job's return.
"""

from collections.abc import Callable

import pytest

from edge_agent.effect import Exit, RemoveContainer
from edge_agent.event import ContainerKilled, ContainerRemoved, StopRequested
from tests.unit.edge_agent.agent_talk import JOB, Talk, saved
from workrs.domain.ids import JobId
from workrs.wire.message import Claim, OrderKind, Release

ELSE = JobId("d1_else")


def moved(**asked: int) -> Talk:
    """Return a talk in which the container of a job that leaves is being removed."""
    talk = Talk(**asked)
    talk.auto_remove = False
    talk.run()
    talk.order()
    saved(talk)
    saved(talk)
    return talk


def killed(talk: Talk) -> None:
    talk.tell(ContainerKilled(job=JOB, run=talk.last(RemoveContainer).run))


def removed(talk: Talk) -> None:
    talk.tell(ContainerRemoved(job=JOB, run=talk.last(RemoveContainer).run))


def test_the_lease_is_given_back_when_the_program_is_dead_and_not_before() -> None:
    talk = moved()
    talk.wait(1.0)
    assert talk.said(Release) == []
    killed(talk)
    assert [release.spared for release in talk.said(Release)] == [1]
    assert [n.vote().record.holder for n in talk.nodes] == [None, None, None]
    removed(talk)
    talk.wait(20.0)
    assert len(talk.said(Release)) == 1


@pytest.mark.parametrize("order", [(killed, removed), (removed,)])
def test_a_container_that_goes_at_once_gives_the_lease_back_once(
    order: tuple[Callable[[Talk], None], ...],
) -> None:
    talk = moved()
    for step in order:
        step(talk)
    assert len(talk.said(Release)) == 1
    assert talk.brain.roster.works == {}


def test_a_job_that_comes_back_waits_until_its_container_is_gone() -> None:
    talk = moved()
    killed(talk)
    talk.order(OrderKind.UNDRAIN)
    claims = len(talk.said(Claim))
    talk.offer(epoch=2)
    assert len(talk.said(Claim)) == claims
    removed(talk)
    assert talk.said(Claim)[claims].epoch == 2


def test_another_job_takes_the_slot_meanwhile() -> None:
    talk = moved(slots=1)
    talk.order(OrderKind.UNDRAIN)
    talk.offer(job=ELSE)
    claims = len(talk.said(Claim))
    killed(talk)
    assert len(talk.said(Claim)) == claims + 1
    removed(talk)
    assert list(talk.brain.roster.works) == [ELSE]


def test_an_agent_that_stops_ends_when_nothing_is_left_of_its_containers() -> None:
    talk = moved()
    talk.tell(StopRequested())
    killed(talk)
    talk.wait(0.5)
    assert talk.all(Exit) == []
    removed(talk)
    assert talk.last(Exit).code == 0


def test_the_end_of_a_program_that_was_cancelled_is_proposed_when_nothing_is_left() -> None:
    talk = Talk()
    talk.auto_remove = False
    talk.run(timeout_s=5.0, attempts_max=1)
    talk.wait(5.1)
    killed(talk)
    assert not talk.decided()
    removed(talk)
    assert talk.decided()
