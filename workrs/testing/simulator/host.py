"""Machines, the network between them, and the processes on them.

1. A cut holds messages back, as TCP does; they are lost only with their connection.
2. A stopped process keeps its sockets, a killed one closes them, a lost machine does neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from workrs.testing.simulator.timeline import Clock
    from workrs.testing.simulator.world import World

LATENCY_MIN_S, LATENCY_MAX_S = 0.0003, 0.004
LOCAL_S = 0.0002


class Host:
    """A machine: a clock, power, and a name that cuts are made by."""

    def __init__(self, name: str, clock: Clock) -> None:
        """Start switched on."""
        self.name = name
        self.clock = clock
        self.on = True
        self.paused = 0
        """How many faults hold the whole machine at present."""
        self.paused_until_s = -1e9
        """When it last went on after a pause, in the world's time."""

    @property
    def runs(self) -> bool:
        """Return whether processes on it make progress."""
        return self.on and not self.paused


class Process:
    """Something that can be killed, stopped and resumed."""

    def __init__(self, world: World, host: Host) -> None:
        """Belong to *host*; not alive yet."""
        self.world = world
        self.host = host
        self.alive = False
        self.stopped = 0
        """How many faults hold it at present."""
        self.life = 0
        """Counts starts and ends: what was planned for a former life is dropped."""

    @property
    def runs(self) -> bool:
        """Return whether it makes progress."""
        return self.alive and not self.stopped and self.host.runs

    def stop(self) -> Callable[[], None]:
        """Stop it, as SIGSTOP does; return what lets it go on."""
        self.stopped += 1
        life = self.life

        def go_on() -> None:
            if life == self.life and self.alive:
                self.stopped -= 1
                if self.runs:
                    self.resume()

        return go_on

    def resume(self) -> None:
        """Do what had to wait for the end of a stop."""


class Network:
    """Which machines hear which, and how fast."""

    def __init__(self, rng: random.Random) -> None:
        """Begin with everything connected."""
        self._rng = rng
        self._cuts: dict[tuple[str, str], int] = {}
        self._slow: dict[str, list[float]] = {}

    def cut(self, sender: str, receiver: str, change: int) -> None:
        """Cut one direction between two machines once more, or once less."""
        left = self._cuts.get((sender, receiver), 0) + change
        if left:
            self._cuts[sender, receiver] = left
        else:
            del self._cuts[sender, receiver]

    def slow(self, host: str, jitter_s: float) -> None:
        """Delay what enters or leaves a machine by up to *jitter_s*."""
        self._slow.setdefault(host, []).append(jitter_s)

    def unslow(self, host: str, jitter_s: float) -> None:
        """End what `slow` began."""
        self._slow[host].remove(jitter_s)

    def passes(self, sender: Host, receiver: Host) -> bool:
        """Return whether what is sent now arrives."""
        if sender is receiver:
            return True
        return sender.on and receiver.on and (sender.name, receiver.name) not in self._cuts

    def delay_s(self, sender: Host, receiver: Host) -> float:
        """Return how long what is sent now is under way."""
        if sender is receiver:
            return LOCAL_S
        delay_s = self._rng.uniform(LATENCY_MIN_S, LATENCY_MAX_S)
        for host in (sender.name, receiver.name):
            for jitter_s in self._slow.get(host, ()):
                delay_s += self._rng.uniform(0.0, jitter_s)
        return delay_s
