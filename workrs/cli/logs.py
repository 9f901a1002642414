"""`workrs logs JOB`: what a job prints, while it runs.

1. An order shows a log for LOG_S; it is repeated, fast until the first lines have come.
2. What comes is the end of the log each time, so a reader that follows prints what the end
   before did not have. Equal lines are told apart by their order only.
3. A job that was taken over from a checkpoint goes on where that was; its lines after it
   come again. Who follows is told that somebody else has it, beside the log.
4. A node that is lost is replaced by the next. When none answers any more, who follows waits for
   one, as `workrs watch` does.

Not promised: every line. What is printed faster than 8 KiB or 1,000 lines a second, or in the
last second before the end, may be missing. A log is a look at a job, its result is the record.
"""

import asyncio
import secrets
import sys
from argparse import Namespace
from difflib import SequenceMatcher
from typing import Final

from workrs.cli import job_name
from workrs.cli.connection import add_node_options, caller, connected, fill
from workrs.cli.error import FAILED, OK, NoNodeError
from workrs.cli.harmless import harmless
from workrs.cli.job_feed import await_shown
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.table import print_json_line
from workrs.domain.errors import BusError, TimedOutError, WireError
from workrs.domain.ids import ClientId
from workrs.ports.bus import Bus, Message, Subscription
from workrs.wire import codec, topics
from workrs.wire.message import Order, OrderKind, OrderReply
from workrs.wire.view import ClusterView, JobView

_REPEAT_FIRST_S: Final = 1.0
_REPEAT_S: Final = 10.0
_TIMEOUT_S: Final = 10.0
_LINES_MAX: Final = 1000
"""Lines of one end that are compared. 8,192 empty ones took 6 s, which a job could inflict."""


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "logs",
        "what a running job prints",
        examples=(
            "workrs logs pump-7/sum",
            "workrs logs sum --follow",
            "workrs logs sum --follow --timeout 60",
        ),
    )
    it.argument("job", help=job_name.HELP, complete=job_name.COMPLETE)
    it.flag("--follow", short="-f", help="go on until the job has ended; also wait for its start")
    it.flag("--json", help="print a line of JSON for each that comes")
    it.value(
        "--timeout",
        convert=seconds,
        metavar="SECONDS",
        help="how long to wait for the log (10 unless told otherwise), or to follow it (no limit)",
    )
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Order, print. 1 when there is no log to be had: the job waits, or has ended."""
    return asyncio.run(_show(asked))


async def _show(asked: Namespace) -> int:
    who = caller(asked)
    limit_s = asked.timeout if asked.follow or asked.timeout is not None else _TIMEOUT_S
    screen = Screen(is_json=asked.json)
    reached = False
    try:
        async with asyncio.timeout(limit_s):
            while True:
                try:
                    async with connected(who) as bus:
                        reached = True
                        return await _Reader(bus, who.user, screen).read(asked)
                except BusError:
                    # The node was lost meanwhile: the others show the same.
                    who = await who.next_first()
                except NoNodeError:
                    if not (reached and asked.follow):
                        raise
                    # As for `workrs watch`: a job that runs for hours outlives its nodes' restart.
                    screen.tell("no node answers; trying again")
                    await asyncio.sleep(_REPEAT_FIRST_S)
    except TimeoutError:
        what = "has not ended" if asked.follow else "was not shown"
        raise TimedOutError(f"the log of {asked.job} {what} within {limit_s:g} s") from None
    finally:
        screen.end()


class Screen:
    """What was printed already."""

    def __init__(self, *, is_json: bool = False) -> None:
        """Begin with nothing; *is_json*: each line becomes a document."""
        self.job: JobView | None = None
        """Whose log it is, once a node has shown that."""
        self._is_json = is_json
        self._last = b""
        self._unfinished = b""
        """The beginning of a line that is to become a document."""
        self._told = ""
        self._epoch = 0
        """Of the lease under which the job was seen to run last."""

    def show(self, tail: bytes) -> None:
        """Print what of *tail* is new."""
        new, self._last = new_part(self._last, tail), tail
        if self._is_json:
            self._show_documents(new)
            return
        if sys.stdout.isatty():
            new = harmless(new.decode(errors="replace")).encode()
        sys.stdout.buffer.write(new)
        sys.stdout.buffer.flush()

    def _show_documents(self, new: bytes) -> None:
        lines = (self._unfinished + new).splitlines(keepends=True)
        is_whole = not lines or lines[-1].endswith((b"\n", b"\r"))
        self._unfinished = b"" if is_whole else lines.pop()
        for line in lines:
            print_json_line({"line": line.decode(errors="replace").rstrip("\r\n")})

    def end(self) -> None:
        """Print what no end of a line came for."""
        if self._unfinished:
            self._show_documents(b"\n")

    def tell_holder(self, job: JobView) -> None:
        """Say that the job was given to somebody anew, after the first time."""
        if job.agent is None or job.epoch == self._epoch:
            return
        if self._epoch:
            name = f"{job.device}/{job.id}"
            self.tell(f"{name} goes on at {job.agent}, epoch {job.epoch}; it may repeat lines")
        self._epoch = job.epoch

    def tell(self, text: str) -> None:
        """Print a remark beside the log, unless it was the last one."""
        if text != self._told:
            print(f"workrs: {harmless(text)}", file=sys.stderr, flush=True)
            self._told = text


def new_part(before: bytes, after: bytes) -> bytes:
    """Return the lines of *after* that *before* did not have; of one that grew, the rest.

    Both are ends of one log, the standard output before the standard error, so lines may be
    new in the middle as well.
    """
    old = before.splitlines(keepends=True)[-_LINES_MAX:]
    new = after.splitlines(keepends=True)[-_LINES_MAX:]
    found = []
    for kind, old_from, old_to, new_from, new_to in SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if kind in ("insert", "replace"):
            part = b"".join(new[new_from:new_to])
            # Only the last line can be unfinished; what it had is on the screen already.
            grown = old[old_to - 1] if old_from < old_to == len(old) else b""
            begins = grown and not grown.endswith(b"\n") and part.startswith(grown)
            found.append(part.removeprefix(grown) if begins else part)
    return b"".join(found)


class _Reader:
    """Reads one job's log over one connection."""

    def __init__(self, bus: Bus, user: ClientId, screen: Screen) -> None:
        self._bus = bus
        self._screen = screen
        self._view = ClusterView()
        name = secrets.token_hex(8)
        self._order = topics.up(user, "order", name)
        self._answer = topics.down(user, name)
        self._shown = False
        """Whether the agent that has the job now was heard."""
        self._refusal = ""

    async def read(self, asked: Namespace) -> int:
        """Print the log; return the exit code."""
        clock = asyncio.get_running_loop().time
        await fill(self._view, self._bus)
        name = asked.job
        if (known := self._screen.job) is not None:
            name = f"{known.device}/{known.id}"
            await await_shown(known.job, self._view, self._bus)
        job = self._screen.job = job_name.find_job(self._view, name)
        await self._bus.subscribe(
            Subscription(pattern=topics.node("+", "log", job.job), qos=0),
            Subscription(pattern=self._answer),
        )
        order_at = clock()
        while job.is_open or not asked.follow:
            if asked.follow:
                self._screen.tell_holder(job)
            if clock() >= order_at:
                wish = Order(order=OrderKind.LOG, job=f"{job.device}/{job.id}")
                self._bus.publish(Message(self._order, codec.encode(wish)))
                order_at = clock() + (_REPEAT_S if self._shown else _REPEAT_FIRST_S)
            await self._receive(order_at)
            if self._shown and not asked.follow:
                return OK
            now = self._view.job(job.job) or job
            if now.agent != job.agent:
                self._shown, order_at = False, clock()
            job = now
            if self._refusal and (job.is_open or not asked.follow):
                self._screen.tell(self._refusal)
                if not asked.follow:
                    return FAILED
        reason = f": {job.reason}" if job.reason else ""
        self._screen.tell(f"{job.device}/{job.id} {job.state}{reason}")
        return OK

    async def _receive(self, until: float) -> None:
        """Take what comes next, unless nothing does."""
        self._refusal = ""
        try:
            async with asyncio.timeout_at(until):
                messages = await self._bus.receive()
        except TimeoutError:
            return
        for message in messages:
            found = topics.parse_node(message.topic)
            if found is not None and found.kind == "log":
                self._shown = True
                self._screen.show(message.payload)
            elif message.topic == self._answer:
                self._refusal = _refusal(message.payload)
            else:
                self._view.apply(message.topic, message.payload)


def _refusal(payload: bytes) -> str:
    try:
        reply = codec.decode(OrderReply, payload)
    except WireError:
        return ""
    return "" if reply.ok else reply.text
