"""docs/agent.md says what the code says: the stages, and every event that is logged."""

import re
from pathlib import Path

from edge_agent.work import STAGES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")


def test_the_diagram_of_stages_is_the_table() -> None:
    moves = sorted(f"{a.value} --> {b.value}" for a, found in STAGES.items() for b in found)
    wanted = "\n".join(["stateDiagram-v2", *(f"    {move}" for move in moves)])
    shown = re.search(r"```mermaid\n(.*?)\n```", PAGE, re.DOTALL)
    assert shown is not None
    assert shown.group(1) == wanted


def test_every_event_of_the_brain_is_explained() -> None:
    calls = re.compile(r"agent\.log\(\s*\"([a-z_]+)\"")
    keys = {
        key
        for path in (ROOT / "edge_agent").glob("*.py")
        for key in calls.findall(path.read_text(encoding="utf-8"))
    }
    assert len(keys) > 20
    assert {key for key in keys if f"`{key}`" not in PAGE} == set()
