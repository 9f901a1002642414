"""Goal: two programs under one device's name say so and give way, instead of a fight for ever.

Method: a real Mosquitto where the name is the client id, as at a secure node, and two devices of
one name; the log tells when one of them gives way.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from device_client import Device
from tests.integration.device_peer import WAIT_S, Broker, ScriptedNode
from tests.mosquitto_fixture import HOST, free_port

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Seen(logging.Handler):
    """Notes that somebody gave way."""

    def __init__(self) -> None:
        super().__init__()
        self.gave_way = threading.Event()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage()
        self.gave_way.set()


def test_one_of_two_programs_of_one_name_gives_way_and_both_get_their_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, seen = free_port(), Seen()
    rule = f"listener {port} {HOST}\nuse_username_as_clientid true"
    broker = Broker(tmp_path, more=rule)
    monkeypatch.setattr("device_client.network._LOG.handlers", [seen])
    try:
        with (
            ScriptedNode(broker) as node,
            Device("pump-7", [f"{HOST}:{port}"]) as one,
            Device("pump-7", [f"{HOST}:{port}"]) as two,
        ):
            assert seen.gave_way.wait(WAIT_S), "they would end each other's connections for ever"
            for device in (one, two):
                job = device.submit({"image": "img", "command": ["x"], "input": "abc"})
                assert device.result(job, timeout=WAIT_S).value == b"cba"
            assert len(node.heard) >= 2
    finally:
        broker.kill()
    assert "another program seems to be connected as pump-7" in seen.text
    assert "give each a name and a credential of its own" in seen.text
