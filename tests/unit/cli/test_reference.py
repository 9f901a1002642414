"""docs/cli.md is what the parsers say."""

from pathlib import Path

from workrs.cli.main import COMMANDS
from workrs.cli.reference import reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_document_is_fresh() -> None:
    assert DOCUMENT.read_text() == reference(), "run: python -m workrs.cli.reference > docs/cli.md"


def test_every_subcommand_is_in_it() -> None:
    text = reference()
    assert all(f"\n## workrs {name}\n" in text for name in COMMANDS)
