"""Goal: `workrs history` and `workrs export` say what the ledger has, for eyes and programs.

Method: the commands on a ledger that is open for writing meanwhile.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.ledger import create_ledger, open_ledger
from workrs.cli.main import main
from workrs.domain.ids import JobId
from workrs.ports.ledger import NoteHistory

JOB = JobId("pump-7_sum")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[str]:
    """Return the folder of a running node."""
    create_ledger(tmp_path / "ledger.db")
    ledger = open_ledger(tmp_path / "ledger.db", wall=lambda: 1_700_000_000.0)
    for epoch, (event, agent) in enumerate((("granted", "a1"), ("taken_over", "a2")), start=1):
        facts = {"agent": agent, "epoch": epoch, "former": None}
        ledger.commit([NoteHistory(event=event, job=JOB, facts=facts)])
    yield str(tmp_path)
    ledger.close()


def test_events_are_listed_for_a_job(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--state", state, "--job", "pump-7/sum"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [
        "2023-11-14",
        "22:13:20",
        "granted",
        "pump-7/sum",
        "agent=a1",
        "epoch=1",
    ]
    assert len(lines) == 3


@pytest.mark.parametrize(
    "words", [["--event", "taken_over"], ["--agent", "a2"], ["--last", "1"]], ids=" ".join
)
def test_events_are_chosen(
    state: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "--state", state, "--json", *words]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "taken_over"


def test_sql_is_answered_as_a_table_and_as_json(
    state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["history", "--state", state, "--sql", "SELECT agent, last_wall FROM agents LIMIT 1"]
    assert main(words) == 0
    assert capsys.readouterr().out == "AGENT  LAST_WALL\na1     2023-11-14 22:13:20\n"
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"agent": "a1", "last_wall": 1_700_000_000.0}


def test_wrong_sql_is_the_users_mistake(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--state", state, "--sql", "SELECT absent"]) == 2
    assert "no such column: absent" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["9e999", "-9e999", "1e15", "-1e15"])
def test_a_time_that_no_calendar_has_is_a_number(
    state: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["history", "--state", state, "--sql", f"SELECT {number} AS wall"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"WALL\n{float(number):.6g}\n"
    assert main([*words, "--json"]) == 0
    expected = None if "9e999" in number else float(number)
    assert capsys.readouterr().out == f"{json.dumps({'wall': expected})}\n"


@pytest.mark.parametrize(
    "words", [["--sql", "SELECT '\udcff'"], ["--job", "\udcff"], ["--event", "\udcff"]]
)
def test_what_is_not_utf_8_is_the_users_mistake(
    state: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "--state", state, *words]) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_sql_is_a_question_of_its_own(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["history", "--state", state, "--sql", "SELECT 1", "--event", "taken_over"]
    assert main(words) == 2
    assert "WHERE" in capsys.readouterr().err


def test_an_export_has_a_file_of_each_table(state: str, tmp_path: Path) -> None:
    into = tmp_path / "copy"
    assert main(["export", "--state", state, "--into", str(into)]) == 0
    names = ("jobs", "attempts", "checkpoints", "takeovers", "agents", "history")
    assert {file.name for file in into.iterdir()} == {f"{name}.csv" for name in names}
    with (into / "attempts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["job"], row["epoch"], row["ended"]) for row in rows] == [
        (JOB, "1", "taken_over"),
        (JOB, "2", ""),
    ]


def test_an_export_that_ends_early_leaves_nothing_half(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "copy"
    (into / "takeovers.csv").mkdir(parents=True)
    assert main(["export", "--state", state, "--into", str(into)]) == 2
    assert "takeovers.csv" in capsys.readouterr().err
    assert not list(into.glob("*.part"))


def test_an_export_of_one_table_is_printed(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "history", "--format", "jsonl", "--state", state]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["granted", "taken_over"]
    assert main(["export", "--state", state]) == 2


def test_the_only_node_of_a_machine_needs_no_name(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("workrs.cli.ledger_options.state_home", lambda: tmp_path / "home")
    assert main(["history"]) == 2
    assert "--state" in capsys.readouterr().err
    home = tmp_path / "home"
    home.mkdir()
    (home / "n1").symlink_to(state)
    assert main(["history"]) == 0
    (home / "n2").symlink_to(state)
    assert main(["history"]) == 2
    assert "several nodes" in capsys.readouterr().err
