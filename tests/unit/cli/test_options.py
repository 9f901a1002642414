"""Options: which of three places wins, and that every mistake names its place."""

from pathlib import Path

import pytest

from workrs.cli.options import Options
from workrs.domain.errors import ConfigError


def sample() -> Options:
    it = Options("sample", "try options", examples=("workrs sample --slots 3",))
    it.argument("job", nargs="?", help="a job")
    it.value("--slots", convert=int, default=2, help="how many")
    it.value("--lease-ttl", convert=float, help="how long")
    it.value("--mode", choices=("fast", "strict"), help="which")
    it.many("--node", default=["here"], help="where")
    it.flag("--json", help="print 100 % JSON")
    return it


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "workrs.toml"
    path.write_text(
        """
        slots = 7
        nodes = ["a:1", "b:2"]
        json = true
        unknown_of_another_subcommand = 1

        [sample]
        lease_ttl = 30

        [other]
        anything = 1
        """
    )
    return path


def test_without_anything_defaults_hold(tmp_path: Path) -> None:
    asked = sample().parse([], environ={}, home=tmp_path)
    found = (asked.job, asked.slots, asked.lease_ttl, asked.mode, asked.node, asked.json)
    assert found == (None, 2, None, None, ["here"], False)


def test_the_file_is_above_the_defaults(file: Path) -> None:
    asked = sample().parse(["--config", str(file)], environ={})
    assert (asked.slots, asked.lease_ttl, asked.node, asked.json) == (7, 30.0, ["a:1", "b:2"], True)


def test_variables_are_above_the_file(file: Path) -> None:
    environ = {
        "WORKRS_CONFIG": str(file),
        "WORKRS_SLOTS": "9",
        "WORKRS_LEASE_TTL": "1.5",
        "WORKRS_NODES": "c:3, d:4",
        "WORKRS_JSON": "off",
    }
    asked = sample().parse([], environ=environ)
    assert (asked.slots, asked.lease_ttl, asked.node, asked.json) == (9, 1.5, ["c:3", "d:4"], False)


def test_the_command_line_is_above_all_and_lists_never_mix(file: Path) -> None:
    environ = {"WORKRS_CONFIG": str(file), "WORKRS_SLOTS": "9", "WORKRS_NODES": "c:3"}
    words = ["--slots", "1", "--node", "e:5", "--node", "f:6", "--no-json", "sum"]
    asked = sample().parse(words, environ=environ)
    assert (asked.job, asked.slots, asked.node, asked.json) == ("sum", 1, ["e:5", "f:6"], False)


def test_the_table_of_the_subcommand_is_above_the_top_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("slots = 1\n[sample]\nslots = 2\n")
    assert sample().parse(["--config", str(path)], environ={}).slots == 2


def test_the_file_is_looked_for_here_and_then_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".config" / "workrs").mkdir(parents=True)
    (home / ".config" / "workrs" / "workrs.toml").write_text("slots = 5")
    monkeypatch.chdir(tmp_path)
    assert sample().parse([], environ={}, home=home).slots == 5
    (tmp_path / "workrs.toml").write_text("slots = 6")
    assert sample().parse([], environ={}, home=home).slots == 6


WRONG_WORDS = {
    ("--slots", "many"): "--slots: 'many'",
    ("--mode", "slow"): "slow",
    ("--frob",): "--frob",
    ("--slot", "3"): "--slot",
    ("a", "b"): "b",
}


@pytest.mark.parametrize("words", WRONG_WORDS)
def test_a_wrong_word_is_told(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=WRONG_WORDS[words]):
        sample().parse(words, environ={}, home=tmp_path)


WRONG_VARIABLES = {
    ("WORKRS_SLOTS", "x"): "WORKRS_SLOTS: 'x'",
    ("WORKRS_JSON", "maybe"): "WORKRS_JSON: write true or false",
    ("WORKRS_MODE", "slow"): "WORKRS_MODE: 'slow' is none of fast, strict",
    ("WORKRS_CONFIG", "/nowhere/x.toml"): "cannot read /nowhere/x.toml",
}


@pytest.mark.parametrize("variable", WRONG_VARIABLES)
def test_a_wrong_variable_is_told(variable: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=WRONG_VARIABLES[variable]):
        sample().parse([], environ=dict([variable]), home=tmp_path)


WRONG_FILES = {
    "[sample": "not valid TOML",
    "sample = 3": r"write \[sample\]",
    "[sample]\nslot = 3": "no option 'slot'",
    "[sample]\nslots = [1]": "slots: write one value",
    "[sample]\nslots = true": "slots: write one value",
    "[sample]\nnodes = 'a:1'": "nodes: write a list",
    "[sample]\njson = 'perhaps'": "json: write true or false",
}


@pytest.mark.parametrize("text", WRONG_FILES)
def test_a_wrong_file_is_told_with_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=WRONG_FILES[text]) as caught:
        sample().parse([], environ={"WORKRS_CONFIG": str(path)})
    assert "mine.toml" in str(caught.value)


def test_a_missing_option_names_all_three_places(tmp_path: Path) -> None:
    it = sample()
    it.value("--name", required=True, help="who")
    with pytest.raises(ConfigError, match=r"--name is missing.*WORKRS_NAME.*name ="):
        it.parse([], environ={}, home=tmp_path)
    assert it.parse([], environ={"WORKRS_NAME": "n1"}, home=tmp_path).name == "n1"


@pytest.mark.parametrize(
    "words", [("j1", "--slots", "3", "k1"), ("--slots", "3", "j1", "k1"), ("j1", "k1", "--slots=3")]
)
def test_options_stand_before_between_and_after_the_arguments(words: tuple[str, ...]) -> None:
    it = sample()
    it.argument("other", nargs="?", help="one more")
    asked = it.parse(words, environ={})
    assert (asked.job, asked.other, asked.slots) == ("j1", "k1", 3)
    with pytest.raises(ConfigError, match="one argument too many: 'more'"):
        it.parse([*words, "more"], environ={})
