"""Which lines a list shows, in which order: filter and sort, without a screen."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tui.agent_columns import agent_state
from tui.cell import Look
from tui.column import Column
from tui.job_columns import job_state
from tui.model.agent import Agent
from tui.model.event import Event
from tui.model.job import Job
from tui.model.query import EVERYTHING, Query

R = TypeVar("R")
Fields = Callable[[R, Look], Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How a list is arranged."""

    sort: str | None = None
    """Key of a column; None: as the rows come."""
    reverse: bool = False
    query: Query = EVERYTHING

    def by_next(self, columns: Sequence[Column[R]]) -> "Order":
        """Return the order by the next column that can be sorted by."""
        keys = [column.key for column in columns if column.sort is not None]
        if not keys:
            return self
        place = keys.index(self.sort) + 1 if self.sort in keys else 0
        return replace(self, sort=keys[place % len(keys)], reverse=False)

    def by(self, key: str) -> "Order":
        """Return the order by the column *key*; reversed if it was by that already."""
        return replace(self, sort=key, reverse=self.sort == key and not self.reverse)


def arrange(
    rows: Iterable[R], columns: Sequence[Column[R]], order: Order, fields: Fields[R], look: Look
) -> list[R]:
    """Return the rows that are wanted, sorted."""
    query = order.query
    found = [row for row in rows if query.matches(fields(row, look))] if query else list(rows)
    column = next((each for each in columns if each.key == order.sort), None)
    if column is not None and column.sort is not None:
        sort = column.sort
        found.sort(key=lambda row: sort(row, look), reverse=order.reverse)
    elif order.reverse:
        found.reverse()
    return found


def job_fields(job: Job, look: Look) -> Mapping[str, str]:
    """Return what a job is filtered by: the words that are shown."""
    view = job.view
    return {
        "job": job.name,
        "device": view.device,
        "state": job_state(job, look),
        "agent": (view.agent or "") if view.is_open else "",
        "note": job.note or view.reason,
    }


def agent_fields(agent: Agent, look: Look) -> Mapping[str, str]:
    """Return what an agent is filtered by: the words that are shown."""
    profile = agent.profile
    return {
        "agent": agent.name,
        "state": agent_state(agent, look),
        "rung": profile.rung if profile else "",
        "arch": profile.arch if profile else "",
        "label": " ".join(profile.labels) if profile else "",
    }


def event_fields(event: Event, _look: Look) -> Mapping[str, str]:
    """Return what an event is filtered by."""
    return {"event": event.kind.value, "of": event.subject, "text": event.text}
