"""Goal: `workrs history` and `workrs export` say what the ledger has, for eyes and programs.

Method: the commands on a ledger that is open for writing meanwhile.
"""

import csv
import io
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.ledger import create_ledger, open_ledger
from workrs.cli.export import csv_cell
from workrs.cli.main import main
from workrs.domain.ids import JobId
from workrs.ports.ledger import NoteHistory

ROOT = Path(__file__).parents[3]
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


def test_bytes_are_text_or_base64(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["history", "--state", state, "--sql", "SELECT x'6869' AS a, x'ff00' AS b, NULL AS c"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"a": "hi", "b": {"b64": "/wA="}, "c": None}
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "hi",
        "2",
        "bytes,",
        "base64",
        "/wA=",
    ]


MANY = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {}) SELECT x FROM n"


def test_a_table_that_is_too_long_is_refused_and_lines_of_json_are_not(
    state: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("workrs.cli.history.ROWS_MAX", 50)
    ask = ["history", "--state", state, "--sql"]
    assert main([*ask, MANY.format(50)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 51
    assert main([*ask, MANY.format(51)]) == 2
    told = capsys.readouterr()
    assert "--json" in told.err
    assert told.out == ""
    assert main([*ask, MANY.format(51), "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 51


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT {} FROM n"


MAX = ENDLESS.format("max(x)")
FILL = f"SELECT 1.0, 'rejoined', '{{}}' FROM ({MANY.format(20_000)})"


@pytest.mark.parametrize("what", ["max(x)", "x"])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_question_without_end_ends_with_the_code_of_its_time(
    state: str,
    what: str,
    form: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("workrs.cli.history.ROWS_MAX", 1 << 40)
    words = ["history", "--state", state, "--timeout", "0.1", "--sql", ENDLESS.format(what), *form]
    assert main(words) == 4
    assert "--timeout" in capsys.readouterr().err


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


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")


def test_no_cell_of_csv_is_a_formula_and_json_lines_are_exact(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = sqlite3.connect(tmp_path / "ledger.db")
    for number, reason in enumerate(FORMULAS):
        database.execute(
            "INSERT INTO retired (job, request, outcome, verdict, reason, epoch, attempt, wall) "
            "VALUES (?, '', '', 'failed', ?, 1, 1, -1.5)",
            (f"pump-9_{number}", reason),
        )
    database.commit()
    database.close()
    assert main(["export", "jobs", "--state", state]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [row["reason"] for row in rows] == [f"'{reason}" for reason in FORMULAS]
    # A number is one, whatever its sign; NULL is nothing.
    assert {row["retired_wall"] for row in rows} == {"-1.5"}
    assert {row["decided_wall"] for row in rows} == {""}
    assert main(["export", "jobs", "--format", "jsonl", "--state", state]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reason"] for line in lines] == list(FORMULAS)
    assert lines[0]["retired_wall"] == -1.5
    assert lines[0]["decided_wall"] is None


@pytest.mark.parametrize("text", ["", " a", "a,b", 'say "x"', "a\r\nb", "a\rb", "漢字 🚀", "5"])
def test_a_text_comes_out_of_csv_as_it_went_in(text: str) -> None:
    line = f"{csv_cell(text)},{csv_cell(None)},{csv_cell(0.1 + 0.2)},{csv_cell(1 << 60)}\n"
    (row,) = csv.reader(io.StringIO(line, newline=""))
    assert row == [text, "", "0.30000000000000004", "1152921504606846976"]
    assert (csv_cell(""), csv_cell(None)) == ('""', "")


def test_sqlite_utils_reads_exports_back(state: str, tmp_path: Path) -> None:
    for form in ("csv", "jsonl"):
        assert main(["export", "--state", state, "--into", str(tmp_path), "--format", form]) == 0
    asked = "select agent, sum(ended = 'taken_over') as lost from attempts group by agent"
    program = Path(sys.executable).with_name("sqlite-utils")
    lines = ("insert", "kept.db", "attempts", "attempts.jsonl", "--nl")
    subprocess.run([program, *lines], check=True, cwd=tmp_path, capture_output=True, timeout=60)
    for words in (("memory", "attempts.csv", asked), ("query", "kept.db", asked)):
        done = subprocess.run(
            [program, *words], check=True, cwd=tmp_path, capture_output=True, timeout=60
        )
        found = {row["agent"]: row["lost"] or 0 for row in json.loads(done.stdout)}
        assert found == {"a1": 1, "a2": 0}


def test_an_export_that_nobody_reads_ends_with_its_time(state: str, tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "ledger.db")
    database.execute(f"INSERT INTO history (wall, event, facts) {FILL}")
    database.commit()
    database.close()
    words = ("export", "history", "--state", state, "--timeout", "0.2")
    process = subprocess.Popen(
        [sys.executable, "-m", "workrs.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stderr is not None
    assert b"--timeout" in process.stderr.readline()
    # Only now is taken what it had written; behind `| less` that would be hours later.
    process.communicate(timeout=60)
    assert process.returncode == 4


def test_ctrl_c_ends_a_question_in_its_middle(state: str) -> None:
    words = (
        "history",
        "--state",
        state,
        "--json",
        "--sql",
        f"SELECT 0 UNION ALL SELECT 1 UNION ALL SELECT * FROM ({MAX})",
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "workrs.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, b"")


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
