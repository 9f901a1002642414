"""Messages that arrive twice, as QoS 1 allows, and in the order that MQTT keeps.

1. What is repeated is always the end of what was delivered: 1 2 3, then 2 3, then 4.
2. A program whose connection broke may begin the next one, to whichever broker, with what it
   had sent last: minutes later, if it took so long. After its own end it never does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workrs.testing.simulator.parcel import Parcel

if TYPE_CHECKING:
    from random import Random

    from workrs.testing.simulator.connection import Connection, Endpoint

TAIL_MAX = 5
LATE = 0.5
"""Chance of a repetition on the next connection, where messages are repeated at all."""


class Repetition:
    """What is delivered once more."""

    def __init__(self, rng: Random, chance: float) -> None:
        """Repeat at the end of each delivery with this chance."""
        self._rng = rng
        self._chance = chance
        self._former: dict[Endpoint, tuple[int, Connection]] = {}
        """By client: its last connection, and in which life it was made."""
        self.count = 0

    def stop(self) -> None:
        """Repeat nothing any more."""
        self._chance = 0.0

    def soon(self, batch: list[Any]) -> list[Any]:
        """Return what of a delivery arrives once more."""
        if not self._chance or self._rng.random() >= self._chance:
            return []
        return self._tail(batch)

    def late(self, endpoint: Endpoint, connection: Connection) -> list[Any]:
        """Return what a client sends once more on a new connection."""
        life, former = self._former.get(endpoint, (-1, None))
        self._former[endpoint] = (endpoint.process.life, connection)
        if not self._chance or former is None or life != endpoint.process.life:
            return []
        return self._tail(former.up.last) if self._rng.random() < LATE else []

    def _tail(self, batch: list[Any]) -> list[Any]:
        found = [i for i in batch if isinstance(i[0] if isinstance(i, tuple) else i, Parcel)]
        found = found[-self._rng.randint(1, TAIL_MAX) :]
        self.count += len(found)
        return found
