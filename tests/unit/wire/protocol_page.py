"""docs/protocol.md taken apart: sections, tables, code blocks, and the fields a cell names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")

_NAME = re.compile(r"`([a-z_0-9]+)`")
_PART = re.compile(r"`([a-z_]+)` \{([^}]*)\}")

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The document's text."""

    text: str

    def section(self, title: str) -> str:
        """Return what stands under a heading, up to the next of its level or above."""
        found = re.search(rf"^(#+) {re.escape(title)}$", self.text, re.MULTILINE)
        assert found is not None, f"no section {title!r}"
        rest = self.text[found.end() :]
        end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
        return rest[: end.start()] if end else rest

    def table(self, title: str, head: str) -> list[Row]:
        """Return the rows of the table in a section whose first heading cell is *head*."""
        lines = self.section(title).splitlines()
        starts = [i for i, line in enumerate(lines) if cells(line)[:1] == (head,)]
        assert len(starts) == 1, f"{len(starts)} tables {head!r} in {title!r}"
        rows = []
        for line in lines[starts[0] + 2 :]:
            if not line.startswith("|"):
                break
            rows.append(cells(line))
        assert rows
        return rows

    def blocks(self, title: str, language: str = "") -> list[str]:
        """Return the code blocks of a section."""
        return re.findall(rf"```{language}\n(.*?)\n```", self.section(title), re.DOTALL)


def cells(line: str) -> Row:
    """Return the cells of a table's line."""
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def names(text: str) -> list[str]:
    """Return the names in code quotes, those within braces left out."""
    return _NAME.findall(re.sub(r"\{[^}]*\}", "", text))


def parts(text: str) -> dict[str, list[str]]:
    """Return the names within braces, by the field that they are parts of."""
    return {field: _NAME.findall(inner) for field, inner in _PART.findall(text)}
