"""docs/cli.md is what the parsers say, docs/cli.schema.json what the program prints."""

import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli_node import hold_against_schema
from workrs.cli import json_schema
from workrs.cli.main import COMMANDS, load, main
from workrs.cli.reference import reference

DOCS = Path(__file__).parents[3] / "docs"


def test_the_document_is_fresh() -> None:
    told = "run: python -m workrs.cli.reference > docs/cli.md"
    assert (DOCS / "cli.md").read_text() == reference(), told


def test_every_subcommand_is_in_it() -> None:
    text = reference()
    assert all(f"\n## workrs {name}\n" in text for name in COMMANDS)


def test_the_schema_is_fresh_and_one() -> None:
    told = "run: python -m workrs.cli.json_schema > docs/cli.schema.json"
    page = (DOCS / "cli.schema.json").read_text()
    assert page == json_schema.text() + "\n", told
    for schema in json.loads(page)["$defs"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_whatever_has_json_has_a_schema() -> None:
    helps = {name: load(name).options().parser.format_help() for name in COMMANDS}
    # `--json FILE` of the demo is a file with its summary.
    speaking = {name for name, text in helps.items() if "  --json " in text} - {"demo"}
    assert speaking == set(json_schema.SCHEMAS)


PLANS = {
    "of known length": ["--work", "3600", "--cost", "2", "--mtbf", "7200"],
    "of unknown length": ["--cost", "2", "--mtbf", "7200"],
    "without faults": ["--work", "3600", "--cost", "2", "--mtbf", "inf"],
    "without an end": ["--work", "1e9", "--cost", "1000", "--mtbf", "1"],
}


@pytest.mark.parametrize("which", PLANS)
def test_a_plan_is_what_its_schema_says(which: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--json", *PLANS[which]]) == 0
    hold_against_schema("plan", capsys.readouterr().out.encode())
