"""docs/events.md is what the code logs, and what reads keys reads keys that are there."""

import re
from pathlib import Path

from workrs.cli.event_reference import found, reference

ROOT = Path(__file__).parents[3]


def test_the_document_is_fresh() -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    assert text == reference(), "run: python -m workrs.cli.event_reference > docs/events.md"


def test_alerts_and_views_name_events_that_are_logged() -> None:
    keys = {key for key, *_ in found()}
    rules = (ROOT / "deploy" / "prometheus" / "workrs.rules.yml").read_text()
    views = (ROOT / "broker" / "ledger_view.py").read_text()
    named = set(re.findall(r'event="(\w+)"', rules))
    named |= set(re.findall(r"event = '(\w+)'", views)) - {"holds"}
    assert {"taken_over", "protocol_violation", "agent_lost"} <= named
    assert named <= keys
