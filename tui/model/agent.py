"""One agent over time: what it is, what it holds, and when its heart was last heard to beat."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tui.model.age import Since
from tui.model.event import Event, Kind
from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import ClientId, Instant
from workrs.wire.message import AgentView
from workrs.wire.view import AgentSummary

_BATTERY = "battery="
BeatOrder = tuple[int, str, int, int]
NEVER: Final[BeatOrder] = (0, "", 0, 0)
"""Before any heartbeat."""


def beat_order(view: AgentView) -> BeatOrder:
    """Return what makes one heartbeat later than another."""
    return (*view.incarnation, view.connection, view.counter)


@dataclass(slots=True)
class Agent:
    """An agent as it is shown."""

    name: ClientId
    state: str
    """live, draining or gone."""
    profile: AgentProfile | None
    held: int
    """Jobs it holds by the records of a majority."""
    since: Since
    """Of its state."""
    beat: Since
    """Its last heartbeat that reached this reader."""
    order: BeatOrder
    incarnation: int

    @property
    def slots(self) -> int:
        """Return how many jobs it can run at once; 0 when it did not say."""
        return self.profile.slots if self.profile else 0

    @property
    def charge(self) -> float | None:
        """Return how full its battery is, 0 to 1; None when no label `battery=81%` says so."""
        for label in self.profile.labels if self.profile else ():
            text = label.removeprefix(_BATTERY).removesuffix("%")
            if label.startswith(_BATTERY) and text.isdecimal() and len(text) <= 3:
                return min(1.0, int(text) / 100)
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        """Return its labels but for the battery's, where that can be read."""
        found = self.profile.labels if self.profile else ()
        if self.charge is None:
            return tuple(found)
        return tuple(label for label in found if not label.startswith(_BATTERY))

    def is_late(self, now: Instant, ttl_s: float) -> bool:
        """Return whether it should have been heard for longer than a lease lasts."""
        return self.state != "gone" and self.beat.age_s(now) > ttl_s

    def is_just_gone(self, now: Instant) -> bool:
        """Return whether it was seen to go, and a moment ago."""
        return self.state == "gone" and self.since.is_fresh(now)


def new_agent(summary: AgentSummary, order: BeatOrder, now: Instant, *, before: bool) -> Agent:
    """Return the agent as first seen."""
    return Agent(
        name=summary.agent,
        state=summary.state,
        profile=summary.profile,
        held=len(summary.jobs),
        since=Since(now, before),
        beat=Since(now, before),
        order=order,
        incarnation=summary.incarnation,
    )


def advance(agent: Agent, summary: AgentSummary, now: Instant) -> list[Event]:
    """Take in what nodes say of the agent now; return what happened."""
    events = [Event(now, kind, agent.name, text) for kind, text in _facts(agent, summary)]
    if agent.state != summary.state:
        agent.since = Since(now)
    agent.state = summary.state
    agent.profile = summary.profile or agent.profile
    agent.incarnation = summary.incarnation
    return events


def _facts(agent: Agent, summary: AgentSummary) -> Iterator[tuple[Kind, str]]:
    if agent.state == "gone" != summary.state:
        yield Kind.AGENT_CAME, f"incarnation {summary.incarnation}"
    elif summary.incarnation > agent.incarnation:
        yield Kind.AGENT_CAME, f"started anew, incarnation {summary.incarnation}"
    if agent.state == summary.state:
        return
    match summary.state:
        case "gone":
            yield Kind.AGENT_GONE, f"while it held {agent.held}" if agent.held else ""
        case "draining":
            yield Kind.AGENT_DRAINS, ""
        case _ if agent.state == "draining":
            yield Kind.AGENT_BACK, ""
        case _:
            pass
