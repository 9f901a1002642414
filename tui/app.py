"""The dashboard: keeps the model fed; draws it twice a second, and at once when a node is lost."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from textual import events, on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui import agent_page, guide, headline, job_page, node_page
from tui.acting import AGENT_ACTIONS, JOB_ACTIONS, Acting
from tui.cell import Look, Piece, narrow
from tui.feed import Feed, Fetch
from tui.finder import Finder
from tui.garbage import Garbage
from tui.model.agent import Agent
from tui.model.event import Event
from tui.model.job import Job
from tui.model.node import Node
from tui.screens.dialog import Confirm, Dialog, Shown
from tui.screens.main import MainScreen
from tui.screens.page import AgentScreen, JobScreen, NodeScreen, PageScreen
from tui.theme import NIGHT, THEMES
from tui.widgets.lines import Lines
from tui.widgets.sheet import Sheet
from workrs.domain.ids import ClientId, Instant, JobId

PERIOD_S: Final = 0.5
MANY: Final = 1000
"""Jobs beyond which it is drawn half as often: every line in view changes each time."""
SETTLE_MAX: Final = 25
"""Things that are worked out between two looks for a key: jobs take longest, some 1 ms."""


@runtime_checkable
class Shows(Protocol):
    """A screen that shows the model."""

    def show(self, look: Look) -> None:
        """Draw what it says now."""


def places() -> list[list[Binding]]:
    """Return what keys do on a list, on a page and in a dialog; an `id` is an action's name."""
    parts = ((MainScreen, Lines, Dashboard), (PageScreen, Dashboard), (Dialog, Confirm))
    return [
        [each for part in place for each in part.BINDINGS if isinstance(each, Binding) and each.id]
        for place in parts
    ]


def bindings() -> list[Binding]:
    """Return what keys do anywhere, each action once."""
    return list({each.id: each for place in places() for each in place}.values())


def _chosen_on(screen: Screen[Any]) -> object:
    """Return the row under the cursor."""
    lines = screen.current if isinstance(screen, MainScreen) else None
    return lines.chosen if lines is not None else None


def _job_of(screen: Screen[Any]) -> JobId | None:
    if isinstance(screen, JobScreen):
        return JobId(screen.subject.replace("/", "_", 1))
    chosen = _chosen_on(screen)
    return chosen.view.job if isinstance(chosen, Job) else None


def _agent_of(screen: Screen[Any]) -> ClientId | None:
    if isinstance(screen, AgentScreen):
        return ClientId(screen.subject)
    chosen = _chosen_on(screen)
    return chosen.name if isinstance(chosen, Agent) else None


class Dashboard(Acting):
    """The terminal's side of the dashboard."""

    TITLE = "workrs"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 (Textual's own form)
    COMMANDS = App.COMMANDS | {Finder}
    BINDINGS: ClassVar[list[BindingType]] = [
        *Acting.BINDINGS,
        # Over Textual's own, whose word is longer than what 80 columns have room for.
        Binding("ctrl+p", "command_palette", "find", key_display="^p", id="app.find"),
        Binding("question_mark", "guide", "help", id="app.help"),
        Binding("q", "quit", "quit", id="app.quit"),
    ]
    period_s = PERIOD_S
    """How often it is drawn when nothing is urgent."""

    def __init__(
        self,
        feed: Feed,
        *,
        fetch: Fetch | None = None,
        theme: str = NIGHT.name,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.feed = feed
        self.fetch = fetch
        self.keys = dict(keys or {})
        self.caption: Callable[[], str] = str
        """What to say in a line of its own below everything; nothing: no line."""
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme
        self.set_keymap(self.keys)
        # A picture that moves where nothing happened is the opposite of calm, and costs CPU.
        self.animation_level = "none"

    def now(self) -> Instant:
        """Return the present on the loop's clock."""
        return Instant(asyncio.get_running_loop().time())

    def look(self) -> Look:
        """Return the model as it is now."""
        return Look(self.feed.model, self.now())

    async def on_mount(self) -> None:
        """Show the first picture, then begin to read."""
        await self.push_screen(MainScreen(self.look()))
        self.run_worker(self.feed.run(), name="tui.feed", exit_on_error=True)
        self.run_worker(self._draw(), name="tui.draw", exit_on_error=True)

    async def on_event(self, event: events.Event) -> None:
        """Let keys and the mouse go first (called by Textual)."""
        if isinstance(event, events.InputEvent):
            self.feed.key_pressed()
        await super().on_event(event)

    async def _draw(self) -> None:
        model, watched, garbage = self.feed.model, "", Garbage()
        while True:
            self.feed.urgent.clear()
            was_read = model.is_complete
            for _ in iter(lambda: model.settle(self.now(), limit=SETTLE_MAX), False):
                await self.feed.give_way()
            await self.feed.give_way()
            if isinstance(self.screen, MainScreen):
                for _ in self.screen.arranging(self.look()):
                    await self.feed.give_way()
            model.tick(self.now())
            if was_read and garbage.collected_at is None:
                garbage.begin(self.now())
            garbage.consider(self.now(), self.feed.quiet_s())
            self.draw()
            if watched not in ("", model.via):
                self.notify(f"{watched} was lost; watching {model.via} now", severity="warning")
            watched = model.via
            try:
                many = len(model.jobs) > MANY
                async with asyncio.timeout(self.period_s * (2 if many else 1)):
                    await self.feed.urgent.wait()
            except TimeoutError:
                continue

    def _watched(self) -> Collection[JobId]:
        """Return the jobs whose progress is in view."""
        match self.screen:
            case MainScreen() as main:
                return main.jobs_in_view
            case AgentScreen() as page:
                return self.feed.model.held.get(ClientId(page.subject), ())
            case JobScreen():
                return [job] if (job := self.subject_job()) else ()
            case _:
                return ()

    def draw(self) -> None:
        """Have the screen on top show the model."""
        self.feed.model.watched = self._watched()
        if isinstance(self.screen, Shows):
            self.screen.show(self.look())
            text = self.caption()
            if not text:
                return
            for sheet in self.screen.query("#caption").results(Sheet):
                sheet.add_class("-shown")
                sheet.show([[Piece(f" {narrow(text)} ", "title")]])

    def subject_job(self) -> JobId | None:
        """Return the job of the page, or under the cursor."""
        return _job_of(self.screen)

    def subject_agent(self) -> ClientId | None:
        """Return the agent of the page, or under the cursor."""
        return _agent_of(self.screen)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what goes with what is looked at (called by Textual)."""
        del parameters
        if action in JOB_ACTIONS:
            return self._is_about(JobScreen, "jobs")
        if action in AGENT_ACTIONS:
            return self._is_about(AgentScreen, "agents")
        return True

    def _is_about(self, page: type[Screen[None]], kind: str) -> bool:
        if isinstance(self.screen, page):
            return True
        lines = self.screen.current if isinstance(self.screen, MainScreen) else None
        return lines is not None and (lines.id or "").endswith(kind)

    @on(MainScreen.Turned)
    def _turned(self) -> None:
        self.feed.urgent.set()

    @on(Lines.Chosen)
    def _open_chosen(self, message: Lines.Chosen) -> None:
        match message.lines.chosen:
            case Job() as job:
                self.open_job(job.view.job)
            case Agent() as agent:
                self.open_agent(agent.name)
            case Node() as node:
                self.open_node(node.name)
            case Event() as event:
                self._open_subject(event.subject)
            case _:
                pass

    def _open_subject(self, subject: str) -> None:
        job = JobId(subject.replace("/", "_", 1))
        if job in self.feed.model.jobs:
            self.open_job(job)
        elif ClientId(subject) in self.feed.model.agents:
            self.open_agent(ClientId(subject))
        elif ClientId(subject) in self.feed.model.nodes:
            self.open_node(ClientId(subject))

    def open_job(self, job: JobId) -> None:
        """Show the page of a job."""
        self.run_worker(self._open_job(job), name="tui.open", exclusive=True, group="job")

    async def _open_job(self, job: JobId) -> None:
        await self.feed.look_closely(job)
        name = job.replace("_", "/", 1)
        page = JobScreen(name, partial(job_page.sections, job_id=job), self.look())
        await self.push_screen(page)
        await self.follow_log(job)

    def open_agent(self, name: ClientId) -> None:
        """Show the page of an agent."""
        page = AgentScreen(name, partial(agent_page.sections, name=name), self.look())
        self.push_screen(page)

    def open_node(self, name: ClientId) -> None:
        """Show the page of a node."""
        page = NodeScreen(name, partial(node_page.sections, name=name), self.look())
        self.push_screen(page)

    async def action_back(self) -> None:
        """Leave the page; the page of a job that comes to light is read again."""
        self.pop_screen()
        job = _job_of(self.screen) if isinstance(self.screen, JobScreen) else None
        opened = self.feed.model.opened
        if job != (opened.job if opened is not None else None):
            # Not awaited: a node that hangs would hold the key up.
            self.run_worker(self._look_at(job), name="tui.open", exclusive=True, group="job")
        self.draw()

    async def _look_at(self, job: JobId | None) -> None:
        await self.feed.look_closely(job)
        if job is not None:
            await self.follow_log(job)

    def action_guide(self) -> None:
        """Show the help screen."""
        found = guide.sections(bindings(), self.keys)
        lines = [line for section in found for line in section.drawn()]
        self.push_screen(Shown("Keys, filters and signs", lines))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Offer views and actions in the palette (called by Textual)."""
        # Textual's own help and its maximizing are made for other screens than these.
        unfit = ("Keys", "Maximize", "Minimize")
        yield from (each for each in super().get_system_commands(screen) if each.title not in unfit)
        yield SystemCommand("Help", "keys, filters and signs", self.action_guide)
        if isinstance(screen, MainScreen):
            for name in headline.VIEWS:
                yield SystemCommand(f"View: {name}", "", partial(screen.action_view, name))
        yield SystemCommand("Submit", "a job from a file", self.action_submit)
        # The palette is the screen on top by now: what is chosen stands on the one below it.
        if _job_of(screen) is not None:
            yield SystemCommand("Cancel", "the chosen job", self.action_cancel)
            yield SystemCommand("Retry", "send the job's spec again", self.action_retry)
            yield SystemCommand("Result", "open the job's result", self.action_result)
        if _agent_of(screen) is not None:
            yield SystemCommand("Drain", "the chosen agent", self.action_drain)
            yield SystemCommand("Undrain", "the chosen agent", self.action_undrain)
