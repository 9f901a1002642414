"""A real broker, and a node of a test's making behind it: what every device client is tried on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.device_peer import Broker, ScriptedNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Start brokers; all are killed in the end."""
    made: list[Broker] = []

    def make(**options: Any) -> Broker:
        made.append(Broker(tmp_path, **options))
        return made[-1]

    yield make
    for broker in made:
        broker.kill()


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    return make_broker()


@pytest.fixture
def node(broker: Broker) -> Iterator[ScriptedNode]:
    with ScriptedNode(broker) as scripted:
        yield scripted
