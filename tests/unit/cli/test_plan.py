"""`workrs plan` by its output: the keys of its JSON, the table, the plot, and its refusals."""

import json
import sys
from pathlib import Path

import pytest

from workrs.cli import plan_plot
from workrs.cli.main import main
from workrs.domain.plan import Conditions, best

ASKED = ["plan", "--work", "3600", "--cost", "2", "--mtbf", "7200"]
MORE = ["--restore", "5", "--detect", "3"]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def test_the_json_has_the_plan_and_what_others_recommend(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = json.loads(printed(capsys, *ASKED, *MORE, "--json"))
    plan = best(3600.0, Conditions(cost_s=2.0, mtbf_s=7200.0, restore_s=5.0, detect_s=3.0))
    for advice in (told, told["young"], told["daly"], told["workrs"]):
        assert advice["segments"] == plan.segments == 21
        assert advice["expected_s"] == plan.expected_s
        assert advice["restart_only_s"] == plan.restart_only_s
    assert told["interval_s"] == plan.interval_s
    assert told["young"]["interval_s"] == pytest.approx(169.7, abs=0.05)
    assert told["daly"]["interval_s"] == pytest.approx(168.4, abs=0.05)
    assert told["workrs"]["published_s"] < told["workrs"]["expected_s"]


def test_what_is_longer_than_any_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--work", "1e6", "--cost", "1", "--mtbf", "1", "--json"]
    assert '"restart_only_s": null' in printed(capsys, *words)


def test_without_a_length_there_is_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--cost", "2", "--mtbf", "7200"]
    told = json.loads(printed(capsys, *words, "--json"))
    assert told["interval_s"] == pytest.approx(168.4, abs=0.05)
    assert told["segments"] is told["expected_s"] is told["restart_only_s"] is None
    assert told["stretch"] == pytest.approx(1.0239, abs=1e-4)
    shown = printed(capsys, *words)
    assert "work between checkpoints" in shown
    assert "expected time" not in shown.lower()


def test_the_table_and_the_plot_fit_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = printed(capsys, *ASKED, *MORE)
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "exact optimum         20" in shown
    assert "best: 20" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("mtbf_s", ["1", "inf"])
def test_what_never_ends_and_what_never_fails_has_a_table(
    capsys: pytest.CaptureFixture[str], mtbf_s: str
) -> None:
    shown = printed(capsys, "plan", "--work", "5000", "--cost", "800", "--mtbf", mtbf_s)
    assert ("never ends" in shown) == (mtbf_s == "1")
    assert "without any" in shown


def test_without_the_library_the_table_must_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plan_plot, "find_spec", lambda _: None)
    shown = printed(capsys, *ASKED)
    assert "exact optimum" in shown
    assert "pip install" in shown
    assert main([*ASKED, "--svg", str(tmp_path / "a.svg")]) == 2


def test_pictures_are_written_on_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    svg, png = tmp_path / "a.svg", tmp_path / "b"
    printed(capsys, *ASKED, "--svg", str(svg), "--png", str(png), "--json")
    assert "<svg" in svg.read_text()
    assert png.read_bytes().startswith(b"\x89PNG")
    assert main([*ASKED, "--svg", str(tmp_path / "none" / "a.svg")]) == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--cost", "2", "--mtbf", "inf"], "without faults no checkpoint ever pays"),
        (["--work", "5000", "--cost", "800", "--mtbf", "1"], "no choice, or only one, lets"),
        (["--work", "64", "--cost", "1e8", "--mtbf", "1699"], "no choice, or only one, lets"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_an_error_that_says_why(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], why: str
) -> None:
    svg = tmp_path / "a.svg"
    assert main(["plan", *words, "--svg", str(svg)]) == 1
    told = capsys.readouterr().err
    assert f"{svg} was not written: " in told
    assert why in told
    assert not svg.exists()
    assert main(["plan", *words]) == 0
    assert "No plot: " in capsys.readouterr().err


def test_a_fault_that_never_strikes_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(
        capsys, "plan", "--work", "100", "--cost", "2", "--mtbf", "inf", "--detect", "3"
    )
    assert "no fault ever strikes." in shown
    assert "inf" not in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--work", "nan"], "the work of the job is nan: write seconds"),
        (["--cost", "-1"], "the cost of a checkpoint is -1: write seconds"),
        (["--mtbf", "0"], "the mean time between faults is 0: write seconds"),
        (["--restore", "nan"], "the time of a restore is nan: write seconds"),
        (["--detect", "inf"], "the time to detect a fault is inf: write seconds"),
        (["--work", "long"], "'long' is not right"),
    ],
)
def test_what_is_no_time_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main([*ASKED, *words]) == 2
    assert told in capsys.readouterr().err


def test_its_libraries_are_loaded_only_for_a_plot() -> None:
    before = {"matplotlib", "plotext"} & set(sys.modules)
    assert main([*ASKED, "--json"]) == 0
    assert {"matplotlib", "plotext"} & set(sys.modules) == before
