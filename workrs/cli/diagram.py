"""The diagrams of the documents, made from the tables that the programs run by.

Run: python -m workrs.cli.diagram   (writes them into docs/; a test fails when one is stale)
"""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

from edge_agent.work import LEASES, STAGES
from workrs.domain.job_state import FINAL, TRANSITIONS

DOCS: Final = Path(__file__).parents[2] / "docs"
_COMMAND: Final = "python -m workrs.cli.diagram"

E = TypeVar("E", bound=Enum)


def job_states() -> str:
    """Return what a node may say of a job, one after the other, with the cause of each move."""
    lines = ["    state undecided {"]
    for (before, cause), after in TRANSITIONS.items():
        if after not in FINAL:
            start = "[*]" if before is None else before.value
            lines.append(f"        {start} --> {after.value}: {cause.value}")
    lines.append("    }")
    openly = {before for before, _ in TRANSITIONS}
    for end in sorted(FINAL):
        sources = {before for (before, _), after in TRANSITIONS.items() if after is end}
        # The one arrow from the frame says: from each of the states in it, and from its start.
        assert sources == openly, f"{end} does not follow from every open state: draw it so"
        lines += [f"    undecided --> {end.value}", f"    {end.value} --> [*]"]
    return _mermaid(lines)


def moves(table: Mapping[E, Iterable[E]]) -> str:
    """Return the diagram of a table that names the moves and no causes."""
    words = sorted((a.value, b.value) for a, found in table.items() for b in found)
    return _mermaid(f"    {a.replace(' ', '_')} --> {b.replace(' ', '_')}" for a, b in words)


def _mermaid(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


DIAGRAMS: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "job states": ("protocol.md", job_states),
    "leases": ("agent.md", lambda: moves(LEASES)),
    "stages": ("agent.md", lambda: moves(STAGES)),
}
"""By name: the document, and what draws it."""


def drawn(page: str, name: str, diagram: str) -> str:
    """Return *page* with the diagram between the marks that have its name."""
    begin, end = f"<!-- {name}: made by {_COMMAND} -->", f"<!-- end of {name} -->"
    block = f"{begin}\n{diagram}\n{end}"
    found, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", block, page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the marks of {name!r} stand {count} times in its page")
    return found


def main() -> None:
    """Write all diagrams into their documents."""
    for name, (file, draw) in DIAGRAMS.items():
        path = DOCS / file
        path.write_text(drawn(path.read_text(encoding="utf-8"), name, draw()), encoding="utf-8")


if __name__ == "__main__":
    main()
