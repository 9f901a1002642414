"""Goal: programs that ran when they might not are seen. Method: times on both sides of a bound."""

import pytest

from workrs.faults.evidence import Run, RunKey
from workrs.faults.plan import TEST_TIMING
from workrs.faults.receipts import Renewal
from workrs.faults.running import LAG_S, SLACK_S, SURVIVAL_S, late_runs, overlaps, survivors


def run(*seen_s: float, job: str = "d_j", epoch: int = 1, agent: str = "a1") -> Run:
    return Run(RunKey(job, epoch, agent), list(seen_s))


def told(*at_s: float) -> list[Renewal]:
    """Renewals that were acknowledged as soon as they were sent."""
    return [Renewal(at, at) for at in at_s]


@pytest.mark.parametrize(("last_s", "seen"), [(5.0 + SURVIVAL_S + SLACK_S - 0.01, 0), (6.5, 1)])
def test_a_program_may_outlive_its_agent_by_a_second(last_s: float, seen: int) -> None:
    assert len(list(survivors([run(1.0, last_s)], {"a1": [5.0]}, {}))) == seen


def test_what_began_after_the_kill_or_elsewhere_is_no_survivor() -> None:
    runs = [run(5.1, 9.0), run(1.0, 9.0, agent="a2")]
    assert list(survivors(runs, {"a1": [5.0]}, {})) == []


def test_a_program_that_starts_late_belongs_to_the_agent_that_was_granted_its_epoch() -> None:
    renewals = {("d_j", 1, "a1"): told(4.0)}
    assert len(list(survivors([run(5.1, 9.0)], {"a1": [5.0]}, renewals))) == 1
    assert list(survivors([run(5.1, 9.0)], {"a1": [3.0]}, renewals)) == []


def test_a_program_past_its_lease_is_seen_also_if_it_was_renewed_later() -> None:
    key = ("d_j", 1, "a1")
    gone_s = 10.0 + TEST_TIMING.holding_s
    frozen_s = gone_s + TEST_TIMING.freeze_max_s
    on_time, late = run(10.0, frozen_s - 0.01, 20.0), run(10.0, frozen_s + 0.01, 20.0)
    renewals = {key: told(10.0, 20.0 + LAG_S - 0.01)}
    assert list(late_runs([on_time], renewals, TEST_TIMING)) == []
    assert len(list(late_runs([late], renewals, TEST_TIMING))) == 1


def test_a_heartbeat_that_was_acknowledged_later_excuses_nothing_before() -> None:
    key = ("d_j", 1, "a1")
    late_s = 10.0 + TEST_TIMING.holding_s + TEST_TIMING.freeze_max_s + 0.1
    for known_s, seen in ((late_s + LAG_S + 0.1, 1), (late_s, 0)):
        renewals = {key: [*told(10.0), Renewal(known_s, 12.0)]}
        assert len(list(late_runs([run(10.0, late_s)], renewals, TEST_TIMING))) == seen


def test_a_program_runs_on_under_its_agents_next_epoch_and_no_other() -> None:
    renewed_s = 10.0 + TEST_TIMING.holding_s
    runs = [run(10.0, renewed_s, renewed_s + TEST_TIMING.holding_s)]
    for epoch, agent, seen in ((3, "a1", 0), (3, "a2", 1), (0, "a1", 1)):
        renewals = {("d_j", 1, "a1"): told(10.0), ("d_j", epoch, agent): told(renewed_s)}
        assert len(list(late_runs(runs, renewals, TEST_TIMING))) == seen


def test_two_programs_of_a_strict_job_at_a_time_are_seen() -> None:
    runs = [run(1.0, 5.0), run(4.9, 9.0, epoch=2, agent="a2")]
    assert len(list(overlaps(runs, frozenset({"d_j"})))) == 1
    assert list(overlaps(runs, frozenset())) == []
    runs = [run(1.0, 5.0), run(5.1, 9.0, epoch=2, agent="a2")]
    assert list(overlaps(runs, frozenset({"d_j"}))) == []
