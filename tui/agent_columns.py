"""The columns of the list of agents: how each stands, how full it is, and what it is."""

from collections.abc import Sequence
from typing import Final

from tui import sign
from tui.cell import Cell, Look, Piece
from tui.column import Column, number, words
from tui.model import amount
from tui.model.agent import Agent

_EMPTY: Final = 0.2
"""Share of a battery's charge below which it is told as low."""
_ORDER: Final = ("just gone", "late", "draining", "live", "gone")
_SLOTS: Final = 5


def agent_state(agent: Agent, look: Look) -> str:
    """Return the agent's state; one that should have been heard is late."""
    return "late" if agent.is_late(look.now, look.model.timing.ttl_s) else agent.state


def _rank(agent: Agent, look: Look) -> tuple[int, str]:
    word = "just gone" if agent.is_just_gone(look.now) else agent_state(agent, look)
    return (_ORDER.index(word), agent.name)


def _slots(agent: Agent, _look: Look) -> Cell:
    text = f"{agent.held}/{agent.slots}"
    return [*sign.slots(agent.held, agent.slots, _SLOTS), Piece(f" {text}")]


def _load(agent: Agent, _look: Look) -> Cell:
    profile = agent.profile
    if profile is None or agent.state == "gone":
        return []
    over = profile.load > max(profile.cpus, 1.0)
    return [Piece(f"{'!' if over else ''}{profile.load:.1f}", "warn" if over else "")]


def _beat(agent: Agent, look: Look) -> Cell:
    late = agent.beat.age_s(look.now) > 2 * look.model.timing.heartbeat_period_s
    tone = "dim" if agent.state == "gone" else "warn" if late else ""
    return [Piece(agent.beat.text(look.now), tone)]


def _battery(agent: Agent, _look: Look) -> Cell:
    charge = agent.charge
    if charge is None:
        return []
    low = charge < _EMPTY
    return [Piece(f"{'!' if low else ''}{charge:.0%}", "warn" if low else "")]


AGENTS: Final[Sequence[Column[Agent]]] = (
    words("agent", lambda agent: agent.name, width=12, grows=2, rank=9),
    Column(
        key="state",
        title="state",
        width=10,
        rank=8,
        cell=lambda agent, look: sign.state(agent_state(agent, look)),
        sort=_rank,
    ),
    Column(
        key="slots",
        title="slots",
        width=10,
        rank=7,
        cell=_slots,
        sort=lambda agent, _: (-agent.held / max(agent.slots, 1), agent.name),
    ),
    Column(
        key="load",
        title="load",
        width=5,
        rank=6,
        right=True,
        cell=_load,
        sort=lambda agent, _: -(agent.profile.load if agent.profile else 0.0),
    ),
    words("rung", lambda agent: agent.profile.rung if agent.profile else "", width=6, rank=5),
    Column(
        key="beat",
        title="beat",
        width=5,
        right=True,
        rank=7,
        cell=_beat,
        sort=lambda agent, look: -agent.beat.age_s(look.now),
    ),
    Column(
        key="battery",
        title="battery",
        width=7,
        right=True,
        rank=4,
        cell=_battery,
        sort=lambda agent, _: 2.0 if agent.charge is None else agent.charge,
    ),
    number(
        "memory",
        lambda agent: agent.profile.memory_mb << 20 if agent.profile else None,
        form=amount.size,
        width=6,
        rank=2,
    ),
    words("arch", lambda agent: agent.profile.arch if agent.profile else "", width=6, rank=1),
    words("runtime", lambda agent: agent.profile.runtime if agent.profile else "", width=8, rank=1),
    words("labels", lambda agent: " ".join(agent.labels), width=8, grows=3, rank=3, tone="dim"),
)
