"""Events are chosen by a filter and told once, as a line that fits or as JSON with stable keys."""

import json
from collections import deque

import pytest

from tui.model.cluster import Model
from tui.model.event import Event, Kind
from tui.model.query import parse
from workrs.cli import events
from workrs.cli.table import cells
from workrs.domain.ids import Instant

TAKEOVER = Event(Instant(1.0), Kind.TAKEN_OVER, "pump-7/sum", "from a1 by a2\nat epoch 2")
GONE = Event(Instant(2.0), Kind.AGENT_GONE, "a1", "")


def model() -> Model:
    return Model(events=deque([TAKEOVER, GONE]))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [TAKEOVER, GONE]),
        ("event:takeover", [TAKEOVER]),
        ("event:taken_over", [TAKEOVER]),
        ("event:agent_gone", [GONE]),
        ("of:pump-7", [TAKEOVER]),
        ("-of:pump-7", [GONE]),
        ("text:a2", [TAKEOVER]),
        ("a1", [TAKEOVER, GONE]),
    ],
)
def test_a_filter_looks_at_event_subject_and_text(query: str, found: list[Event]) -> None:
    assert list(events.taken(model(), parse(query))) == found


def test_an_event_is_told_once() -> None:
    it = model()
    assert len(list(events.taken(it, None))) == 2
    assert list(events.taken(it, None)) == []


def test_the_keys_of_json_stay(capsys: pytest.CaptureFixture[str]) -> None:
    events._print(TAKEOVER, is_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found.pop("wall") > 1.7e9
    assert found == {
        "event": "taken_over",
        "of": "pump-7/sum",
        "text": "from a1 by a2\nat epoch 2",
    }
    assert [kind.name.lower() for kind in (Kind.CHECKPOINTED, Kind.NODE_LOST, Kind.SUCCEEDED)] == [
        "checkpointed",
        "node_lost",
        "succeeded",
    ]


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_a_line_fits_the_width(
    width: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    events._print(TAKEOVER, is_json=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert cells(line) <= int(width)
    assert "takeover" in line
