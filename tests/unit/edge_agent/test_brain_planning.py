"""When the brain has checkpoints taken: from the forecast, what they cost, and known faults."""

import math
from dataclasses import replace

import pytest

from edge_agent.effect import Log, PrepareStart, StartContainer, TakeCheckpoint
from edge_agent.event import ContainerStarted, StartPrepared, TermsSeen
from edge_agent.measured import averaged
from edge_agent.planning import COST_FIXED_S, COST_LEAST_S, COST_PER_MB_S
from tests.unit.edge_agent.agent_talk import JOB, Talk, checkpoint, saved
from workrs.domain.fault_history import FaultHistory
from workrs.domain.next_checkpoint import Why
from workrs.domain.plan import Conditions, best, endless_interval_s
from workrs.domain.record import CheckpointRef
from workrs.wire import codec
from workrs.wire.message import CheckpointReport, NodeTerms

GUESS_S = COST_FIXED_S + 256 * COST_PER_MB_S
PRIOR_S = FaultHistory().mtbf_s


def endless_s(cost_s: float, mtbf_s: float = PRIOR_S) -> float:
    return endless_interval_s(Conditions(cost_s=cost_s, mtbf_s=mtbf_s))


def planned(talk: Talk) -> list[dict[str, object]]:
    return [dict(log.fields) for log in talk.all(Log) if log.key == "checkpoint_planned"]


def due_in_s(talk: Talk) -> float:
    return talk.brain.roster.works[JOB].save_at - talk.now


def restored(talk: Talk, ref: CheckpointRef, *, forecast_s: float) -> None:
    """Take a job over that another agent has saved, and start it."""
    talk.nodes[0].change(checkpoints=(ref,), attempt=1)
    talk.connect()
    talk.offer(epoch=2, forecast_s=forecast_s)
    talk.tell(StartPrepared(job=JOB, run=talk.last(PrepareStart).run))
    talk.wait(0.1)
    asked = talk.last(StartContainer)
    assert asked.restore
    talk.tell(ContainerStarted(job=JOB, run=asked.run, fetch_s=2.0, start_s=1.0))


def test_the_first_is_planned_from_the_memory_limit_and_the_prior() -> None:
    talk = Talk()
    talk.run()
    assert due_in_s(talk) == pytest.approx(endless_s(GUESS_S))
    assert planned(talk) == [
        {
            "job": JOB,
            "epoch": 1,
            "in_s": round(endless_s(GUESS_S), 1),
            "why": "endless",
            "cost_s": round(GUESS_S, 3),
            "mtbf_s": PRIOR_S,
            "safe_s": 0.0,
        }
    ]


def test_a_forecast_is_cut_into_equal_parts_and_what_is_left_of_it_again() -> None:
    talk = Talk()
    talk.run(forecast_s=600.0)
    first_s = best(600.0, Conditions(cost_s=GUESS_S, mtbf_s=PRIOR_S)).interval_s
    assert due_in_s(talk) == pytest.approx(first_s)
    talk.wait(first_s + 0.01)
    saved(talk, frozen_s=4.0)
    assert talk.all(TakeCheckpoint)[0].seq == 1
    left = best(600.0 - first_s, Conditions(cost_s=4.0, mtbf_s=PRIOR_S))
    # The instant at which the program went on is 4 s after the checkpoint was begun.
    assert due_in_s(talk) == pytest.approx(left.interval_s + 4.0, abs=0.02)


def test_past_its_forecast_a_job_is_saved_as_one_without_an_end() -> None:
    talk = Talk()
    talk.run(forecast_s=30.0)
    assert planned(talk)[0]["why"] == "last"
    talk.wait(endless_s(GUESS_S) + 0.01)
    saved(talk, frozen_s=0.5)
    assert talk.brain.roster.works[JOB].kept[0].next_why == Why.OUTLIVED
    assert due_in_s(talk) == pytest.approx(endless_s(0.5) + 0.5, abs=0.02)


def test_the_cost_is_a_moving_average_of_the_jobs_own_checkpoints() -> None:
    talk = Talk()
    talk.run()
    talk.wait(due_in_s(talk) + 0.01)
    saved(talk, frozen_s=1.0)
    talk.wait(due_in_s(talk) + 0.01)
    saved(talk, frozen_s=3.0)
    assert due_in_s(talk) == pytest.approx(endless_s(2.0) + 3.0, abs=0.02)
    assert averaged(None, 3.0) == 3.0


def test_a_program_that_hardly_stands_still_is_not_saved_all_the_time() -> None:
    talk = Talk()
    talk.run()
    talk.wait(due_in_s(talk) + 0.01)
    saved(talk, frozen_s=0.001)
    assert due_in_s(talk) == pytest.approx(endless_s(COST_LEAST_S), abs=0.02)


def test_faults_that_nodes_counted_shorten_the_interval() -> None:
    talk = Talk()
    talk.connect()
    names = tuple(node.name for node in talk.nodes)
    short = FaultHistory(losses=0, agent_s=10.0)
    long = FaultHistory(losses=40, agent_s=4000.0)
    for node, faults in zip(talk.nodes, (short, long, short), strict=True):
        talk.tell(TermsSeen(node=node.name, terms=NodeTerms(nodes=names, faults=faults)))
    talk.offer()
    talk.wait(0.1)
    talk.started()
    assert due_in_s(talk) == pytest.approx(endless_s(GUESS_S, long.mtbf_s))


def test_a_checkpoint_shows_its_work_its_cost_and_the_plan() -> None:
    talk = Talk()
    talk.run()
    first_s = endless_s(GUESS_S)
    talk.wait(first_s + 0.01)
    saved(talk, frozen_s=1.0)
    shown = talk.said(CheckpointReport)[-1].checkpoint
    assert shown.work_s == pytest.approx(first_s, abs=0.01)
    assert shown.frozen_s == 1.0
    assert shown.next_s == pytest.approx(endless_s(1.0), abs=0.001)
    assert shown.next_why == "endless"
    again = codec.decode(CheckpointReport, codec.encode(talk.said(CheckpointReport)[-1]))
    assert again.checkpoint.next_s == shown.next_s
    assert shown == checkpoint(1, 1), "what is planned is not part of which checkpoint it is"


def test_a_takeover_goes_on_with_what_is_left_of_the_forecast() -> None:
    ref = replace(checkpoint(1, 3), work_s=500.0, frozen_s=2.0)
    talk = Talk()
    restored(talk, ref, forecast_s=1000.0)
    left = best(500.0, Conditions(cost_s=2.0, mtbf_s=PRIOR_S))
    assert due_in_s(talk) == pytest.approx(left.interval_s)
    assert talk.brain.roster.works[JOB].measured.restore_s == 3.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300, 0.0])
def test_no_claim_of_another_agent_keeps_a_job_from_being_planned(value: float) -> None:
    ref = replace(checkpoint(1, 3), work_s=value, frozen_s=value)
    talk = Talk()
    restored(talk, ref, forecast_s=1000.0)
    assert 0 < due_in_s(talk) < 1e5
