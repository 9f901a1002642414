"""Goal: the fault matrix sees what must never happen.

Method: records with each violation planted.
"""

from tests.unit.faults.records import record, story
from workrs.faults.story import Start, kept_before, violations


def broken(*shown: dict[str, object], starts: tuple[Start, ...] = (), nodes: int = 3) -> list[str]:
    told = story(*shown)
    told.starts.extend(starts)
    return [text.split()[0] for text in violations(told, nodes)]


def test_an_ordinary_takeover_breaks_nothing() -> None:
    shown = [record(n, 1, epoch=1, holder="a1") for n in ("n1", "n2", "n3")]
    shown += [record(n, 2, epoch=1, holder="a1", checkpoints=[(1, 1)]) for n in ("n1", "n2")]
    shown += [record(n, 3, epoch=2, holder="a2", checkpoints=[(1, 1)]) for n in ("n1", "n2")]
    shown += [record(n, 4, epoch=2, accepted=(2, "x")) for n in ("n1", "n2")]
    shown += [record(n, 5, epoch=2, decided="x") for n in ("n1", "n2", "n3")]
    start = Start(5.0, "a2", 2, (1, 1))
    assert broken(*shown, starts=(start,)) == []


def test_two_decisions_break_s2() -> None:
    assert "S2" in broken(record("n1", 1, decided="x"), record("n2", 1, decided="y"))


def test_a_decision_that_changes_breaks_s2() -> None:
    assert "S2" in broken(record("n1", 1, decided="x"), record("n1", 2, decided="y"))


def test_two_ends_told_to_a_device_break_s2() -> None:
    told = story(record("n1", 1))
    told.add_told({"state": "succeeded", "result": "1"})
    assert list(violations(told, 3)) == []
    told.add_told({"state": "succeeded", "result": "1"})
    assert list(violations(told, 3)) == []
    told.add_told({"state": "succeeded", "result": "2"})
    assert [text.split()[0] for text in violations(told, 3)] == ["S2"]


def test_an_end_whose_result_is_no_longer_kept_is_the_same_end() -> None:
    told = story(record("n1", 1))
    told.add_told({"state": "succeeded", "exit_code": 0, "result": "1"})
    told.add_told({"state": "succeeded", "exit_code": 0, "reason": "no longer kept"})
    assert list(violations(told, 3)) == []
    told.add_told({"state": "failed", "exit_code": 1})
    assert len(list(violations(told, 3))) == 1


def test_two_outcomes_accepted_at_one_epoch_break_s2() -> None:
    shown = (
        record("n1", 1, epoch=2, accepted=(2, "x")),
        record("n1", 2, epoch=2, accepted=(2, "y")),
    )
    assert broken(*shown) == ["S2"]


def test_an_epoch_that_falls_breaks_s3_however_late_its_record_came() -> None:
    shown = [record("n1", 2, epoch=1), record("n1", 1, epoch=2)]
    assert broken(*shown) == ["S3"]
    assert broken(record("n1", 1, epoch=1), record("n1", 2, epoch=2)) == []


def test_two_holders_of_one_epoch_break_s3_only_with_majorities() -> None:
    five = [record(f"n{i}", 1, epoch=1, holder="a1" if i < 3 else "a2") for i in range(5)]
    assert broken(*five, nodes=5) == []
    five += [record("n0", 2, epoch=1, holder="a2")]
    assert broken(*five, nodes=5) == ["S3"]


def test_an_old_epochs_checkpoint_breaks_s4() -> None:
    shown = (record("n1", 1, epoch=2), record("n1", 2, epoch=2, checkpoints=[(1, 4)]))
    assert broken(*shown) == ["S4"]
    shown = (record("n1", 1, epoch=1), record("n1", 2, epoch=2, checkpoints=[(1, 4)]))
    assert broken(*shown) == []


def test_an_old_epochs_outcome_breaks_s4() -> None:
    shown = (record("n1", 1, epoch=2), record("n1", 2, epoch=2, accepted=(1, "x")))
    assert broken(*shown) == ["S4"]


def test_a_takeover_from_an_older_checkpoint_breaks_s5() -> None:
    shown = [record(n, 1, epoch=1, checkpoints=[(1, 2), (1, 1)]) for n in ("n1", "n2")]
    shown += [record("n3", 1, epoch=1, checkpoints=[(1, 3), (1, 2)])]
    assert kept_before(story(*shown), 2, 3) == (1, 2)
    for restored, wanted in (((1, 3), []), ((1, 2), []), ((1, 1), ["S5"]), (None, ["S5"])):
        assert broken(*shown, starts=(Start(5.0, "a2", 2, restored),)) == wanted


def test_a_checkpoint_that_came_after_the_grant_does_not_count() -> None:
    shown = [record(n, 1, epoch=2, checkpoints=[(2, 1)]) for n in ("n1", "n2", "n3")]
    assert broken(*shown, starts=(Start(5.0, "a2", 2, None),)) == []


def test_two_specs_of_one_id_break_s9() -> None:
    assert broken(record("n1", 1, digest="d"), record("n2", 1, digest="e")) == ["S9"]
