"""Goal: a revoked operator's connections are found, whatever ids it chose and however others ended.

Method: lines as Mosquitto 2.0 writes them.
"""

import pytest

from broker.connected import IDS_MAX, LINE_MAX_BYTES, Connected


def came(client: str, user: str = "ann") -> str:
    return f"New client connected from 10.0.0.9:4711 as {client} (p5, c1, k60, u'{user}')."


ENDS = (
    "Client {} disconnected.",
    "Client {} disconnected: Keepalive timed out.",
    "Client {} disconnected, not authorised.",
    "Client {} disconnected due to protocol error.",
    "Client {} disconnected due to malformed packet.",
    "Client {} disconnected due to oversize packet.",
    "Client {} disconnected due to out of memory.",
    "Client {} closed its connection.",
    "Client {} has exceeded timeout, disconnecting.",
    "Client {} been disconnected by administrative action.",
    "Bad socket read/write on client {}: The connection was lost.",
)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "client",
    ["tui-1", "x disconnected.", "x: y", "", "x closed its connection", "x disconnected: y"],
)
def test_a_connection_that_ended_is_forgotten_and_no_other(end: str, client: str) -> None:
    known = Connected()
    for each in ("x", client):
        known.read(came(each))
    assert known.ids("ann") == sorted({"x", client})
    known.read(end.format(client))
    assert known.ids("ann") == ["x"]


@pytest.mark.parametrize("end", ENDS)
def test_those_that_ended_leave_room_for_the_next(end: str) -> None:
    known = Connected()
    for number in range(IDS_MAX + 1):
        known.read(came(f"c{number}"))
        known.read(end.format(f"c{number}"))
    known.read(came("stays"))
    assert known.ids("ann") == ["stays"]


def test_an_id_cannot_pass_for_another_user() -> None:
    known = Connected()
    known.read(came("x (p5, c1, k60, u'bob').", "ann"))
    assert known.ids("bob") == []
    assert known.ids("ann") == ["x (p5, c1, k60, u'bob')."]


def test_an_id_so_long_that_the_broker_cuts_its_line_is_not_taken_for_another() -> None:
    """What is left of it may end as a whole line does."""
    for client in ("x" * LINE_MAX_BYTES, "\u00e9" * 600, f"{'x' * 921} (p5, c1, k60, u'bob')."):
        known = Connected()
        line = came(client + "y" * 60).encode()[:LINE_MAX_BYTES].decode(errors="replace")
        known.read(line)
        assert known.is_incomplete, client
        assert known.ids("bob") == known.ids("ann") == []
        known.forget()
        assert not known.is_incomplete


def test_more_ids_than_are_kept_are_told() -> None:
    known = Connected()
    for number in range(IDS_MAX):
        known.read(came(f"c{number}"))
    assert not known.is_incomplete
    known.read(came("one-more"))
    assert known.is_incomplete
