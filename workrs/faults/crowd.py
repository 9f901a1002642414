"""Many agents in one process: the real brain, supervisor and bus client, and nothing to run.

    python -m workrs.faults.crowd --node HOST:PORT … [--agents 1000] [--slots 1]

Each agent has a connection of its own and says and hears what `workrs agent --runtime instant`
would; they share an event loop, because a process each would need 50 GB. Every line on standard
input is answered by one line of JSON on standard output: what was done since the last.

1. A claim's time is counted from its first sending to the batch that showed a majority's grant,
   on this process's clock: the delay of a busy loop is in it.
2. What is counted as sent is what the brains published; a bus client sends each once.

Not promised: state folders. A name is used once in a cluster, so incarnation 1 is above all.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import uvloop

from edge_agent.brain import Brain, Settings
from edge_agent.effect import Effect, Log, Publish
from edge_agent.event import Event
from edge_agent.runtimes.instant import InstantHands
from edge_agent.supervisor import AgentSupervisor
from workrs.adapters import log
from workrs.adapters.mqtt import connect
from workrs.cli.connection import address
from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import ClientId, Instant, JobId, client_id
from workrs.domain.record import Holder, Incarnation
from workrs.ports.bus import Address

JOIN_AT_ONCE = 50
"""Connections made at a time: a broker's backlog of connections is bounded."""


@dataclass(slots=True)
class Tally:
    """What all agents of the crowd did since it was last asked."""

    sent: Counter[str] = field(default_factory=Counter)
    """PUBLISH packets by verb."""
    logged: Counter[str] = field(default_factory=Counter)
    """Events by key."""
    claims_s: list[float] = field(default_factory=list)

    def report(self) -> dict[str, object]:
        """Return all as JSON can carry it, and forget it."""
        found = {"sent": dict(self.sent), "logged": dict(self.logged), "claims_s": self.claims_s}
        self.sent, self.logged, self.claims_s = Counter(), Counter(), []
        return {**found, "cpu_s": time.process_time()}


class WatchedBrain(Brain):
    """An agent's brain whose effects are counted on their way out."""

    def __init__(self, settings: Settings, rng: random.Random, tally: Tally) -> None:
        """Count into *tally*."""
        super().__init__(settings, rng)
        self._tally = tally
        self._claimed: dict[JobId, Instant] = {}

    def start(self, now: Instant) -> list[Effect]:
        """See `Brain.start`."""
        return self._count(super().start(now), now)

    def handle_all(self, events: Iterable[Event], now: Instant) -> list[Effect]:
        """See `Brain.handle_all`."""
        return self._count(super().handle_all(events, now), now)

    def _count(self, effects: list[Effect], now: Instant) -> list[Effect]:
        for effect in effects:
            match effect:
                case Publish(topic=topic):
                    verb = topic.split("/")[4]
                    self._tally.sent[verb] += 1
                    if verb == "claim":
                        self._claimed.setdefault(JobId(topic.rsplit("/", 1)[1]), now)
                case Log(key=key, fields=fields):
                    self._tally.logged[key] += 1
                    if key == "lease_won":
                        self._tally.claims_s.append(now - self._claimed.pop(fields["job"]))
                    elif key in ("claim_lost", "claim_split"):
                        self._tally.logged[f"{key}_after"] += 1
                case _:
                    pass
        return effects


def profile(slots: int, labels: Sequence[str]) -> AgentProfile:
    """Return what every agent of the crowd says of itself."""
    return AgentProfile(
        slots=slots, arch="amd64", memory_mb=1 << 20, cpus=1.0, labels=tuple(labels)
    )


async def live(name: ClientId, nodes: Sequence[Address], about: AgentProfile, tally: Tally) -> None:
    """Be one agent until cancelled."""
    holder = Holder(client=name, incarnation=Incarnation(1, secrets.token_hex(8)))
    settings = Settings(holder=holder, profile=about, nodes=len(nodes))
    brain = WatchedBrain(settings, random.Random(), tally)  # noqa: S311 (jitter, no secret)
    supervisor = AgentSupervisor(brain, nodes=nodes, connect=connect, clock=_boottime)
    async with asyncio.TaskGroup() as tasks:
        await supervisor.run(tasks, InstantHands(supervisor.post))


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _crowd(asked: argparse.Namespace) -> None:
    """Let all agents join, then answer questions until the input ends."""
    tally = Tally()
    about = profile(asked.slots, asked.label)
    async with asyncio.TaskGroup() as group:
        for number in range(asked.agents):
            turn = number % len(asked.node)
            name = client_id(f"{asked.prefix}-{number:04d}")
            nodes = [*asked.node[turn:], *asked.node[:turn]]
            group.create_task(live(name, nodes, about, tally), name=str(name))
            while number - tally.logged["connected"] > JOIN_AT_ONCE:  # noqa: ASYNC110 (a counter)
                await asyncio.sleep(0.01)
        while await asyncio.to_thread(sys.stdin.readline):
            sys.stdout.write(json.dumps(tally.report()) + "\n")
            sys.stdout.flush()
        os._exit(0)  # a crowd's wills are no part of what is measured


def main() -> int:
    """Run the crowd."""
    parser = argparse.ArgumentParser(description="many agents that run nothing")
    parser.add_argument("--node", type=address, action="append", required=True)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--prefix", default="crowd")
    asked = parser.parse_args()
    log.configure(level=logging.WARNING)
    uvloop.run(_crowd(asked))
    return 0


if __name__ == "__main__":
    sys.exit(main())
