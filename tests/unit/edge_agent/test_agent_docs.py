"""docs/agent.md explains every event that an agent logs."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")


def test_every_event_of_the_brain_is_explained() -> None:
    calls = re.compile(r"agent\.log\(\s*\"([a-z_]+)\"")
    keys = {
        key
        for path in (ROOT / "edge_agent").glob("*.py")
        for key in calls.findall(path.read_text(encoding="utf-8"))
    }
    assert len(keys) > 20
    assert {key for key in keys if f"`{key}`" not in PAGE} == set()
