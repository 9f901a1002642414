"""Which lines a list shows, in which order: filter and sort, without a screen."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

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
PIECE: Final = 1000
"""Rows between two looks for a key."""


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
    rows: Sequence[R], columns: Sequence[Column[R]], order: Order, fields: Fields[R], look: Look
) -> list[R]:
    """Return the rows that are wanted, sorted."""
    pieces = arranging(rows, columns, order, fields, look)
    while True:
        try:
            next(pieces)
        except StopIteration as done:
            found: list[R] = done.value
            return found


def arranging(
    rows: Sequence[R], columns: Sequence[Column[R]], order: Order, fields: Fields[R], look: Look
) -> Generator[None, None, list[R]]:
    """Do the same in pieces of 1 to 2 ms; what is left to sort 10,000 rows takes 3."""
    query = order.query
    column = next((each for each in columns if each.key == order.sort), None)
    sort = column.sort if column is not None else None
    found: list[R] = []
    keys: list[Any] = []
    for start in range(0, len(rows), PIECE):
        part = rows[start : start + PIECE]
        if query:
            part = [row for row in part if query.matches(fields(row, look))]
        found += part
        if sort is not None:
            keys += [sort(row, look) for row in part]
        yield
    if sort is not None:
        places = sorted(range(len(found)), key=keys.__getitem__, reverse=order.reverse)
        return [found[place] for place in places]
    return found[::-1] if order.reverse else found


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
