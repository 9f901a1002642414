"""The main screen: five views of the same model, one of them shown."""

from collections.abc import Sequence
from typing import ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer, Input

from tui import columns, graph, headline, listing, node_columns
from tui.cell import Look
from tui.listing import Order
from tui.model.agent import Agent
from tui.model.event import Event
from tui.model.job import Job
from tui.model.node import Node
from tui.model.query import parse
from tui.widgets.lines import Lines
from tui.widgets.sheet import Sheet

_BY_STATE = Order(sort="state")


def jobs_list(name: str) -> Lines[Job]:
    """Return a list of jobs."""
    return Lines(
        columns.JOBS,
        key=lambda job: job.view.job,
        fields=listing.job_fields,
        order=_BY_STATE,
        empty="no jobs",
        id=name,
    )


def agents_list(name: str) -> Lines[Agent]:
    """Return a list of agents."""
    return Lines(
        columns.AGENTS,
        key=lambda agent: agent.name,
        fields=listing.agent_fields,
        order=_BY_STATE,
        empty="no agents",
        id=name,
    )


def events_list(name: str) -> Lines[Event]:
    """Return a list of events, the newest first."""
    return Lines(
        columns.EVENTS,
        key=lambda event: f"{event.at}{event.subject}{event.kind}",
        fields=listing.event_fields,
        order=Order(),
        empty="nothing has happened since this was opened",
        id=name,
    )


def nodes_list(name: str) -> Lines[Node]:
    """Return the list of nodes."""
    return Lines(
        node_columns.NODES,
        key=lambda node: node.name,
        fields=lambda node: {"node": node.name},
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


class MainScreen(Screen[None]):
    """All of the cluster."""

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

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._look = look

    def compose(self) -> ComposeResult:
        """Lay the views out."""
        yield Tabs(id="tabs")
        yield Sheet(id="summary")
        yield Sheet(id="banner")
        with ContentSwitcher(initial="overview"):
            with Vertical(id="overview"):
                with Container(id="top"):
                    with Vertical(id="left"):
                        yield nodes_list("nodes")
                        yield agents_list("overview-agents")
                    with Vertical(id="right"):
                        yield Sheet(id="trend")
                        yield events_list("overview-events")
                yield jobs_list("overview-jobs")
            yield jobs_list("jobs")
            yield agents_list("agents")
            yield events_list("events")
            with Vertical(id="graphs"):
                yield Sheet(id="curves")
        yield Input(id="filter", placeholder="words, state:running, agent:a1, -word", compact=True)
        yield Sheet(id="caption")
        yield Footer(show_command_palette=True, compact=True)

    def on_mount(self) -> None:
        """Begin with the jobs."""
        self.query_one("#overview-jobs").focus()
        self.show(self._look)

    @property
    def view(self) -> str:
        """Return the name of the view that is shown."""
        return self.query_one(ContentSwitcher).current or headline.VIEWS[0]

    @property
    def lists(self) -> list[Lines[object]]:
        """Return the lists that are in view."""
        place = self.query_one(f"#{self.view}")
        found = [place] if isinstance(place, Lines) else list(place.query(Lines))
        return [cast("Lines[object]", each) for each in found if each.display]

    def show(self, look: Look) -> None:
        """Draw what the model says now, where somebody can see it."""
        self._look = look
        if len(self.query("#tabs, #summary, #banner, #trend, #curves")) < 5:
            return  # not laid out yet, or on the way out
        self.query_one("#tabs", Sheet).show([headline.tabs(self.view, look, self.size.width)])
        self.query_one("#summary", Sheet).show([headline.summary(look)])
        wrong = headline.banner(look)
        banner = self.query_one("#banner", Sheet)
        banner.set_class(bool(wrong), "-shown")
        banner.show([wrong])
        for each in self.lists:
            each.show(self._rows(each.id or "", look), look)
        if self.view == "overview":
            sheet = self.query_one("#trend", Sheet)
            sheet.show(graph.trend(look, sheet.size.width, sheet.size.height))
        elif self.view == "graphs":
            sheet = self.query_one("#curves", Sheet)
            sheet.show(graph.curves(look, sheet.size.width, sheet.size.height))

    def _rows(self, name: str, look: Look) -> Sequence[object]:
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
    def current(self) -> Lines[object] | None:
        """Return the list that keys go to: the one in focus, else the last in view."""
        lists = self.lists
        return next((each for each in lists if each.has_focus), lists[-1] if lists else None)

    def action_view(self, name: str) -> None:
        """Show another view."""
        self.query_one(ContentSwitcher).current = name
        lists = self.lists
        if lists:
            lists[-1].focus()
        self.call_after_refresh(lambda: self.show(self._look))

    def on_resize(self) -> None:
        """Draw anew for the new size."""
        self.call_after_refresh(lambda: self.show(self._look))

    @on(Lines.Rearranged)
    def _rearranged(self, message: Lines.Rearranged) -> None:
        lines = cast("Lines[object]", message.lines)
        lines.show(self._rows(lines.id or "", self._look), self._look)

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

    _filtered: Lines[object] | None = None

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
