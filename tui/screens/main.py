"""The main screen: five views of the same model, one of them shown."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input

from tui import graph, headline, listing
from tui.agent_columns import AGENTS
from tui.cell import Look
from tui.event_columns import EVENTS
from tui.job_columns import JOBS
from tui.listing import Order
from tui.model.agent import Agent
from tui.model.event import Event
from tui.model.job import Job
from tui.model.node import Node
from tui.model.query import parse
from tui.node_columns import NODES
from tui.widgets.ground import Box, Column, Ground, Views
from tui.widgets.keys import Keys
from tui.widgets.lines import Lines
from tui.widgets.sheet import Banner, Drawing, Sheet
from workrs.domain.ids import JobId

_BY_STATE = Order(sort="state")


def jobs_list(name: str) -> Lines[Job]:
    """Return a list of jobs."""
    return Lines(
        JOBS,
        key=lambda job: job.view.job,
        fields=listing.job_fields,
        order=_BY_STATE,
        empty="no jobs yet: n submits one from a file",
        id=name,
    )


def agents_list(name: str) -> Lines[Agent]:
    """Return a list of agents."""
    return Lines(
        AGENTS,
        key=lambda agent: agent.name,
        fields=listing.agent_fields,
        order=_BY_STATE,
        empty="no agents yet: workrs agent starts one",
        id=name,
    )


def events_list(name: str) -> Lines[Event]:
    """Return a list of events, the newest first."""
    return Lines(
        EVENTS,
        key=lambda event: f"{event.at}{event.subject}{event.kind}",
        fields=listing.event_fields,
        order=Order(),
        empty="nothing has happened since this was opened",
        id=name,
    )


def nodes_list(name: str) -> Lines[Node]:
    """Return the list of nodes."""
    return Lines(
        NODES,
        key=lambda node: node.name,
        fields=lambda node, look: {"node": node.name, "health": node.health(look.now)},
        order=Order(),
        empty="no node was heard yet",
        id=name,
    )


class Tabs(Sheet):
    """The first line: a click on a view's name shows it."""

    def on_click(self, event: events.Click) -> None:
        """Show the view whose name was clicked."""
        name = headline.tab_at(event.x)
        if name is not None:
            cast("MainScreen", self.screen).action_view(name)


class MainScreen(Screen[None], Ground):
    """All of the cluster."""

    # Textual would give the focus to the first list, though it is of a view that is not shown.
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(place), f"view('{name}')", name, show=False, id=f"view.{name}")
            for place, name in enumerate(headline.VIEWS, start=1)
        ),
        Binding("slash", "filter", "filter", id="list.filter"),
        Binding("s", "sort", "sort", id="list.sort"),
        Binding("S", "reverse", "reverse", show=False, id="list.reverse"),
        Binding("escape", "everything", "show all", show=False, id="list.everything"),
    ]

    class Turned(Message):
        """Another view is shown, as it was arranged when it was shown last."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._look = look
        # Kept, because each look for a widget by its name goes through the whole tree.
        self._tabs, self._summary, self._banner = Tabs(id="tabs"), Sheet(id="summary"), Banner()
        self._trend, self._curves = Drawing(id="trend"), Drawing(id="curves")
        self._views = Views(initial="overview")
        nodes, agents = nodes_list("nodes"), agents_list("overview-agents")
        events, jobs = events_list("overview-events"), jobs_list("overview-jobs")
        self._lists: dict[str, list[Lines[Any]]] = {
            "overview": [nodes, agents, events, jobs],
            "jobs": [jobs_list("jobs")],
            "agents": [agents_list("agents")],
            "events": [events_list("events")],
            "graphs": [],
        }

    def compose(self) -> ComposeResult:
        """Lay the views out."""
        nodes, agents, events, jobs = self._lists["overview"]
        yield self._tabs
        yield self._summary
        yield self._banner
        with self._views:
            with Column(id="overview"):
                with Box(id="top"):
                    with Column(id="left"):
                        yield nodes
                        yield agents
                    with Column(id="right"):
                        yield self._trend
                        yield events
                yield jobs
            for name in ("jobs", "agents", "events"):
                yield from self._lists[name]
            with Column(id="graphs"):
                yield self._curves
        yield Input(id="filter", placeholder="words, state:running, agent:a1, -word", compact=True)
        yield Sheet(id="caption")
        yield Keys()

    def on_mount(self) -> None:
        """Begin with the jobs."""
        self._lists["overview"][-1].focus()
        self.show(self._look)

    @property
    def view(self) -> str:
        """Return the name of the view that is shown."""
        return self._views.current or headline.VIEWS[0]

    @property
    def lists(self) -> list[Lines[Any]]:
        """Return the lists that are in view."""
        return [each for each in self._lists[self.view] if each.display]

    @property
    def jobs_in_view(self) -> list[JobId]:
        """Return the jobs whose lines are drawn."""
        rows = [row for each in self.lists if each.columns is JOBS for row in each.in_view]
        return [job.view.job for job in rows]

    def show(self, look: Look) -> None:
        """Draw what the model says now, where somebody can see it."""
        self._look = look
        if not self.is_mounted:
            return
        width = self.size.width
        self._tabs.show([headline.tabs(self.view, look, width)])
        self._summary.show([headline.summary(look, width)])
        self._banner.say(headline.banner(look))
        for each in self.lists:
            each.show(self._rows(each.id or "", look), look)
        if self.view == "overview":
            self._trend.draw(partial(graph.trend, look))
        elif self.view == "graphs":
            self._curves.draw(partial(graph.curves, look))

    def arranging(self, look: Look) -> Iterator[None]:
        """Arrange the lists in view in pieces, where it is time.

        Others once, as soon as all has been read: the first look at them need not wait.
        """
        every = [each for lists in self._lists.values() for each in lists]
        new = [each for each in every if look.model.is_complete and not each.is_arranged]
        for each in (*self.lists, *new):
            yield from each.arranging(self._rows(each.id or "", look), look)

    def _rows(self, name: str, look: Look) -> Sequence[Any]:
        model = look.model
        match name.removeprefix("overview-"):
            case "jobs":
                return list(model.jobs.values())
            case "agents":
                return list(model.agents.values())
            case "nodes":
                return [model.nodes[each] for each in sorted(model.nodes)]
            case _:
                return list(reversed(model.events))

    @property
    def current(self) -> Lines[Any] | None:
        """Return the list that keys go to: the one in focus, else the last in view."""
        lists = self.lists
        return next((each for each in lists if each.has_focus), lists[-1] if lists else None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer to arrange what can be arranged (called by Textual)."""
        del parameters
        # While a filter is typed, these keys are letters of it.
        can = bool(self._lists[self.view]) and self._filtered is None
        return action not in ("filter", "sort", "reverse") or can

    def action_view(self, name: str) -> None:
        """Show another view."""
        self._views.current = name
        lists = self.lists
        if lists:
            lists[-1].focus()
        self.refresh_bindings()
        self.show(self._look)
        self.post_message(self.Turned())

    def on_resize(self) -> None:
        """Draw anew for the new size."""
        self.call_after_refresh(lambda: self.show(self._look))

    @on(Lines.Rearranged)
    def _rearranged(self, message: Lines.Rearranged) -> None:
        message.lines.show(self._rows(message.lines.id or "", self._look), self._look)

    def action_sort(self) -> None:
        """Sort by the next column."""
        if (found := self.current) is not None:
            found.arrange_by(found.order.by_next(found.columns))

    def action_reverse(self) -> None:
        """Turn the order round."""
        if (found := self.current) is not None and found.order.sort is not None:
            found.arrange_by(found.order.by(found.order.sort))

    def action_filter(self) -> None:
        """Ask for a filter."""
        if (found := self.current) is not None:
            box = self.query_one("#filter", Input)
            box.value = found.order.query.text
            box.add_class("-shown")
            self._filtered = found
            box.focus()

    _filtered: Lines[Any] | None = None

    @on(Input.Changed, "#filter")
    def _filter(self, event: Input.Changed) -> None:
        if (found := self._filtered) is not None:
            found.arrange_by(
                Order(sort=found.order.sort, reverse=found.order.reverse, query=parse(event.value))
            )

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        found, self._filtered = self._filtered, None
        self.query_one("#filter").remove_class("-shown")
        if found is not None:
            found.focus()

    def action_everything(self) -> None:
        """Leave the filter, or take it away."""
        found = self._filtered or self.current
        if found is not None and found.order.query:
            found.arrange_by(Order(sort=found.order.sort, reverse=found.order.reverse))
        if self._filtered is not None:
            self._filter_done()
