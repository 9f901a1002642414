"""The diagrams in docs/ are what the tables say, and a diagram without its place is noticed."""

import pytest

from workrs.cli.diagram import DIAGRAMS, DOCS, drawn


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_is_fresh(name: str) -> None:
    file, draw = DIAGRAMS[name]
    page = (DOCS / file).read_text(encoding="utf-8")
    assert drawn(page, name, draw()) == page, "run: python -m workrs.cli.diagram"


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="stand 0 times"):
        drawn("# a page\n", "stages", "x")
