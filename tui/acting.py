"""What an operator can do, each after a question: submit, cancel, retry, drain, undrain, open.

Everything is an order or a submit over the bus; the answer is shown, and stands in the event log.
"""

import asyncio
from collections.abc import Callable
from typing import ClassVar, Final

from textual.app import App
from textual.binding import Binding, BindingType

from tui.cell import Cell, Look, Piece, narrow
from tui.feed import Feed, Fetch
from tui.model.event import Kind
from tui.model.opened import Opened, printable_lines
from tui.screens.dialog import Confirm, Shown, Submission, Submit
from workrs.domain.errors import WorkrsError
from workrs.domain.ids import ClientId, JobId, split_job_id
from workrs.domain.job import Verdict
from workrs.wire import codec
from workrs.wire.message import Order, OrderKind, OrderReply

_READ_S: Final = 3.0
_LOOK_S: Final = 0.05
_SHOWN_MAX: Final = 32 * 1024
"""Bytes of a result that are shown; all of it can be written to a file."""
JOB_ACTIONS: Final = frozenset({"cancel", "retry", "result"})
AGENT_ACTIONS: Final = frozenset({"drain", "undrain"})


class Acting(App[None]):
    """The actions; what they are about is said by `subject_job` and `subject_agent`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "submit", "submit", id="job.submit"),
        Binding("c", "cancel", "cancel", id="job.cancel"),
        Binding("r", "retry", "retry", id="job.retry"),
        Binding("o", "result", "result", id="job.result"),
        Binding("d", "drain", "drain", id="agent.drain"),
        Binding("u", "undrain", "undrain", id="agent.undrain"),
    ]
    feed: Feed
    fetch: Fetch | None = None

    def look(self) -> Look:
        """Return the model as it is now."""
        raise NotImplementedError

    def subject_job(self) -> JobId | None:
        """Return the job that a key is about."""
        raise NotImplementedError

    def subject_agent(self) -> ClientId | None:
        """Return the agent that a key is about."""
        raise NotImplementedError

    def action_cancel(self) -> None:
        """Cancel the job."""
        job = self.subject_job()
        known = self.feed.model.jobs.get(job) if job else None
        if known is None or job is None:
            return
        if not known.view.is_open:
            self.notify(f"{known.name} has ended already: {known.state}", severity="warning")
            return
        name = known.name
        self.ask(
            f"Cancel {name}?",
            follows="It ends without a result. What it has computed is lost.",
            yes="Cancel it",
            no="Let it run",
            order=Order(order=OrderKind.CANCEL, job=name),
            subject=name,
        )

    def action_drain(self) -> None:
        """Drain the agent."""
        name = self.subject_agent()
        known = self.feed.model.agents.get(name) if name else None
        if known is None or name is None:
            return
        held = {
            0: "",
            1: "Its job is saved and moves to another. ",
        }.get(known.held, f"Its {known.held} jobs are saved and move to others. ")
        self.ask(
            f"Drain {name}?",
            follows=f"{held}It gets no new ones until it is undrained.",
            yes="Drain it",
            order=Order(order=OrderKind.DRAIN, agent=name),
            subject=name,
        )

    def action_undrain(self) -> None:
        """Let the agent take jobs again."""
        name = self.subject_agent()
        if name is not None:
            self.ask(
                f"Undrain {name}?",
                follows="It takes jobs again.",
                yes="Undrain it",
                order=Order(order=OrderKind.UNDRAIN, agent=name),
                subject=name,
            )

    def ask(
        self, question: str, *, follows: str, yes: str, order: Order, subject: str, no: str = "No"
    ) -> None:
        """Ask; on yes, give the order."""

        def answered(answer: bool | None) -> None:  # noqa: FBT001 (Textual calls it)
            if answer:
                self._start(self._give(order, subject), "tui.order")

        self.push_screen(Confirm(question, follows=follows, yes=yes, no=no), answered)

    async def _give(self, order: Order, subject: str) -> None:
        self._report(order.order.value, subject, await self.feed.order(order))

    def _report(self, what: str, subject: str, reply: OrderReply) -> None:
        text = f"{what}: {reply.text}"
        self.feed.model.say(Kind.ORDERED, subject, text, self.look().now)
        self.notify(text, severity="information" if reply.ok else "error", markup=False)

    def _start(self, work: object, name: str) -> None:
        self.run_worker(work, name=name, exit_on_error=True)  # type: ignore[arg-type]

    def action_submit(self) -> None:
        """Submit a job from a file."""

        def answered(given: Submission | None) -> None:
            if given is not None:
                self._start(self._submit(given.spec, given.job), "tui.submit")

        self.push_screen(Submit(self.feed.user), answered)

    async def _submit(self, spec: bytes, job: str) -> None:
        self._report("submit", f"{self.feed.user}/{job}", await self.feed.submit(spec, job))

    def action_retry(self) -> None:
        """Send an ended job's spec again, as a new job."""
        job = self.subject_job()
        known = self.feed.model.jobs.get(job) if job else None
        if job is None or known is None:
            return
        if known.view.is_open:
            text = f"{known.name} has not ended; it is tried again by itself"
            self.notify(text, severity="warning")
            return
        again = self._free_name(job)

        def answered(answer: bool | None) -> None:  # noqa: FBT001 (Textual calls it)
            if answer:
                self._start(self._retry(job, again), "tui.retry")

        question = Confirm(
            f"Submit {known.name} again?",
            follows=f"An outcome is for good, so this is a new job, {self.feed.user}/{again}, "
            "with the same spec.",
            yes="Submit it",
        )
        self.push_screen(question, answered)

    def _free_name(self, job: JobId) -> str:
        stem = split_job_id(job)[1][:56]
        taken = {each.name for each in self.feed.model.jobs.values()}
        return next(
            name
            for number in range(2, len(taken) + 3)
            if f"{self.feed.user}/{(name := f'{stem}-{number}')}" not in taken
        )

    async def _retry(self, job: JobId, again: str) -> None:
        opened = await self._read(job, lambda found: found.spec is not None)
        if opened is None or opened.spec is None:
            self.notify("no node shows its spec any more", severity="error")
            return
        await self._submit(codec.encode(opened.spec.spec), again)

    def action_result(self) -> None:
        """Open the job's result."""
        job = self.subject_job()
        known = self.feed.model.jobs.get(job) if job else None
        if job is None or known is None:
            return
        if known.state != Verdict.SUCCEEDED.value:
            self.notify(f"{known.name} has no result: {known.state}", severity="warning")
            return
        self._start(self._show_result(job, known.name), "tui.result")

    async def _show_result(self, job: JobId, name: str) -> None:
        opened = await self._read(job, lambda found: found.outcome is not None)
        outcome = opened.outcome if opened else None
        data = outcome.inline_result() if outcome else None
        if outcome is not None and data is None and outcome.result_url and self.fetch is not None:
            states = [node.state for node in self.feed.model.nodes.values()]
            bases = [each.blobs_url for each in states if each and each.live and each.blobs_url]
            try:
                data = await self.fetch(outcome.result_url, job, bases)
            except WorkrsError as error:
                self.notify(str(error), severity="error", markup=False)
                return
        if data is None:
            self.notify(f"the result of {name} is no longer kept", severity="warning")
            return
        self.push_screen(Shown(f"Result of {name}, {len(data):,} bytes", _as_text(data), data))

    async def _read(self, job: JobId, done: Callable[[Opened], bool]) -> Opened | None:
        """Look closely at a job until what is wanted has come, for 3 s at most."""
        model = self.feed.model
        if model.opened is None or model.opened.job != job:
            await self.feed.look_closely(job)
        opened = model.opened
        for _ in range(round(_READ_S / _LOOK_S)):
            if opened is None or done(opened):
                break
            await asyncio.sleep(_LOOK_S)
        return opened

    async def follow_log(self, job: JobId) -> None:
        """Have the job's log shown for as long as somebody looks at it."""
        while (opened := self.feed.model.opened) is not None and opened.job == job:
            known = self.feed.model.jobs.get(job)
            if known is not None and known.view.is_open:
                reply = await self.feed.order(Order(order=OrderKind.LOG, job=opened.name))
                opened.refusal = "" if reply.ok else reply.text
            await asyncio.sleep(2.0 if opened.refusal else 10.0)


def _as_text(data: bytes) -> list[Cell]:
    """Return a result as lines: text as it is, other bytes in hex."""
    shown = data[:_SHOWN_MAX]
    try:
        shown.decode()
    except UnicodeDecodeError:
        rows = (shown[at : at + 16] for at in range(0, min(len(shown), 4096), 16))
        return [
            [Piece(f"{place * 16:08x}  ", "dim"), Piece(row.hex(" "))]
            for place, row in enumerate(rows)
        ]
    return [[Piece(narrow(line))] for line in printable_lines(shown)] or [[Piece("empty", "dim")]]
