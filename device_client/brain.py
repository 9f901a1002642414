"""What to say to the node, when to repeat it, and what an answer means. No I/O, no clock.

1. A job is sent again on every new connection, and every `answer_timeout_s`, until a node
   was heard to accept or refuse it.
2. The first final state of a job is told; whatever comes after changes nothing.
3. Before a node has answered *this* submission, retained messages about its id are not
   believed: they may be of an older job of the same id.
4. At most WINDOW submissions are unanswered at a time, so a long outbox neither floods a
   node nor looks like its silence.
5. A node that answers nothing for `answer_timeout_s` while something is asked is left.
6. A node that says that it reaches no majority is left as `Patience` has it. What waits there
   is not accepted, and sent to the next node as if nobody had it.

7. Who waits for a job is told when the nodes do not know it: they keep nothing under the id, or,
   though it was accepted, they refuse it each time that they are asked.

Not promised: that every passing state is heard. A device that was away hears the latest.
"""

from collections import deque
from collections.abc import Iterator

from device_client.agenda import Agenda
from device_client.effect import (
    AskRetained,
    Effect,
    ForgetJob,
    LeaveNode,
    MarkAccepted,
    SendCancel,
    SendJob,
    Tell,
    TellUnknown,
    UploadInput,
)
from device_client.open_job import OpenJob
from device_client.patience import Patience
from device_client.report import Report, State, parse_json, parse_plain
from device_client.route import Timing
from workrs.wire import topics

WINDOW = 64
CANCELS_MAX = 10
"""Repeats of a cancel for a job that is not in the outbox: it may not exist at all."""
CANCEL_PERIOD_MAX_S = 30.0
REFUSALS_MAX = 3
"""So many refusals in a row of a job that was accepted are no node that is behind the others."""


class Brain:
    """All jobs of one device that have not ended, and one connection or none."""

    def __init__(self, device: str, *, timing: Timing, nodes: int = 1) -> None:
        self._patience = Patience(nodes, timing.reask_period_s)
        self._device = device
        self._timing = timing
        self._jobs: dict[str, OpenJob] = {}
        self._asked: dict[str, float] = {}
        """Submissions without an answer on this connection, and when each was first sent."""
        self._queued: deque[str] = deque()
        self._agenda = Agenda()
        self._connected = False
        self._connection = 0
        """Counts the connections."""
        self._silent_since: float | None = None
        self._served = False

    # What the device's user wants.

    def keep(
        self, job: str, now: float, *, accepted: bool, ready: bool, cancel: bool
    ) -> Iterator[Effect]:
        """Take responsibility for a job whose bytes lie in the outbox."""
        known = self._jobs.get(job)
        if known is not None and known.kept:
            return
        entry = self._jobs[job] = OpenJob(job, kept=True, ready=ready, accepted=accepted)
        entry.cancel = cancel
        if known is not None:
            entry.cancel, entry.waiters = cancel or known.cancel, known.waiters
        if not ready:
            yield UploadInput(job)
        yield from self._say(entry, now)

    def uploaded(self, job: str, now: float) -> Iterator[Effect]:
        """Note that the job's input can be read by the nodes."""
        entry = self._jobs.get(job)
        if entry is not None:
            entry.ready = True
            yield from self._say(entry, now)

    def cancel(self, job: str, now: float) -> Iterator[Effect]:
        """Ask for the job's end until a final state is heard."""
        entry = self._entry(job)
        entry.cancel, entry.cancels_sent = True, 0
        if entry.accepted or not entry.kept:
            yield from self._say(entry, now)

    def await_job(self, job: str, now: float) -> Iterator[Effect]:
        """Note that somebody waits for the job, so silence about it is worth a question."""
        entry = self._entry(job)
        entry.waiters += 1
        if not entry.kept and self._connected:
            yield from self._look_up(entry, now)
        if entry.accepted:
            timing = self._timing
            heard = entry.heard_on == self._connection
            due_at = now + (timing.reask_period_s if heard else timing.snapshot_grace_s)
            if entry.due_at is None or due_at < entry.due_at:
                self._agenda.plan(entry, due_at)

    def leave_job(self, job: str) -> tuple[()]:
        """Note that one waits no longer. Nothing is to be done for that."""
        entry = self._jobs.get(job)
        if entry is not None and entry.waiters:
            entry.waiters -= 1
            self._drop_if_idle(entry)
        return ()

    def refused(self, job: str, reason: str) -> Iterator[Effect]:
        """Note that the job cannot be sent at all: its message is too big for the node."""
        entry = self._jobs.get(job)
        if entry is not None and not entry.accepted:
            yield from self._end(entry, Report(job=job, state=State.REJECTED, reason=reason))

    def lost(self, job: str) -> None:
        """Note that the outbox has the job no more: another process saw its end."""
        self._jobs.pop(job, None)
        self._asked.pop(job, None)
        if not self._asked:
            self._silent_since = None

    # What the connection does.

    def connected(self, now: float) -> Iterator[Effect]:
        """Say everything that is unsaid: the subscription stands."""
        self._connected = True
        self._connection += 1
        self._patience.connected(now)
        for entry in list(self._jobs.values()):
            if entry.ended is not None:
                self._agenda.plan(entry, now + self._timing.out_grace_s)
            elif entry.accepted:
                if entry.waiters or entry.cancel:
                    self._agenda.plan(entry, now + self._timing.snapshot_grace_s)
            elif entry.kept or entry.cancel:
                yield from self._say(entry, now)
            if not entry.kept and entry.waiters:
                yield from self._look_up(entry, now)

    def disconnected(self) -> None:
        """Forget what was said: nobody may have heard it."""
        self._connected = False
        self._forget_questions()

    def take_served(self) -> bool:
        """Return whether the node answered something since this was last asked."""
        served, self._served = self._served, False
        return served

    def heard(self, topic: str, payload: bytes, now: float, *, retained: bool) -> Iterator[Effect]:
        """Take in a message from `down/…`. Anything else, and strange jobs, are ignored."""
        parsed = topics.parse_down(topic)
        if parsed is None or parsed[0] != self._device:
            return
        entry = self._jobs.get(parsed[1])
        if entry is None or (retained and not entry.answered and entry.kept):
            return
        match parsed[2]:
            case "out":
                yield from self._heard_out(entry, payload)
                return
            case "state":
                report = parse_plain(entry.name, payload)
            case _:
                report = parse_json(entry.name, payload)
        if report is not None:
            yield from self._heard_report(
                entry, report, now, retained=retained, plain=parsed[2] == "state"
            )

    def tick(self, now: float) -> Iterator[Effect]:
        """Repeat what is due; leave a node that is silent."""
        silent_since = self._silent_since
        if silent_since is not None and now - silent_since >= self._timing.answer_timeout_s:
            self._silent_since = None
            yield LeaveNode(f"no answer to a submit in {self._timing.answer_timeout_s:g} s")
            return
        for entry in self._agenda.pop_due(now):
            if self._jobs.get(entry.name) is not entry:
                continue
            # While the connection is down nothing is due: `connected` plans anew.
            if self._connected and entry.ended is not None:
                yield from self._end(entry, entry.ended._replace(value=b""))
            elif self._connected:
                yield from self._say(entry, now)

    def wake_at(self) -> float | None:
        """Return when `tick` has something to do, at the latest; None: never by itself."""
        times = [self._agenda.wake_at()]
        if self._silent_since is not None:
            times.append(self._silent_since + self._timing.answer_timeout_s)
        return min((at for at in times if at is not None), default=None)

    # Saying.

    def _say(self, entry: OpenJob, now: float) -> Iterator[Effect]:
        """Say what this job needs said now, and plan when to say it again."""
        if not self._connected or entry.ended is not None:
            return
        if entry.kept and not entry.accepted:
            yield from self._submit(entry, now)
        elif entry.cancel:
            # Only after acceptance: a cancel that overtakes its job names an unknown one.
            yield from self._cancel(entry, now)
        elif entry.waiters and entry.kept:
            yield from self._submit(entry, now)
        elif entry.waiters and entry.report is None:
            yield TellUnknown(entry.name, "")

    def _look_up(self, entry: OpenJob, now: float) -> Iterator[Effect]:
        """Ask for what the broker retains of a job that is not in the outbox."""
        self._agenda.plan(entry, now + self._timing.answer_timeout_s)
        yield AskRetained(entry.name)

    def _submit(self, entry: OpenJob, now: float) -> Iterator[Effect]:
        if not entry.ready or entry.queued:
            return
        if entry.name not in self._asked and len(self._asked) >= WINDOW:
            entry.queued = True
            self._queued.append(entry.name)
            return
        self._asked.setdefault(entry.name, now)
        if self._silent_since is None:
            self._silent_since = now
        self._agenda.plan(entry, now + self._timing.answer_timeout_s)
        yield SendJob(entry.name)

    def _cancel(self, entry: OpenJob, now: float) -> Iterator[Effect]:
        if not entry.kept and entry.cancels_sent >= CANCELS_MAX:
            entry.cancel = False
            self._drop_if_idle(entry)
            return
        if entry.kept and entry.cancels_sent:
            # A cancel alone has no answer until the end; with the job repeated beside it, a
            # node that does not work is found.
            yield from self._submit(entry, now)
        entry.cancels_sent += 1
        pause_s = self._timing.answer_timeout_s * 2.0 ** min(entry.cancels_sent - 1, 8)
        self._agenda.plan(entry, now + min(pause_s, CANCEL_PERIOD_MAX_S))
        yield SendCancel(entry.name)

    def _answered(self, entry: OpenJob, now: float) -> Iterator[Effect]:
        """Note a live answer: the node works, and the window has room again."""
        self._served = True
        # News of another job is no answer: a node that hears nothing may go on telling.
        if self._asked.pop(entry.name, None) is not None:
            self._silent_since = now if self._asked else None
        while self._queued and len(self._asked) < WINDOW:
            waiting = self._jobs.get(self._queued.popleft())
            if waiting is not None:
                waiting.queued = False
                yield from self._say(waiting, now)

    def _forget_questions(self) -> None:
        for name in self._queued:
            if name in self._jobs:
                self._jobs[name].queued = False
        self._asked.clear()
        self._queued.clear()
        self._silent_since = None

    # Hearing.

    def _heard_out(self, entry: OpenJob, payload: bytes) -> Iterator[Effect]:
        entry.out = payload
        if entry.ended is not None:
            yield from self._end(entry, entry.ended._replace(value=payload))

    def _heard_report(
        self, entry: OpenJob, report: Report, now: float, *, retained: bool, plain: bool
    ) -> Iterator[Effect]:
        entry.heard_on = self._connection
        if not retained:
            yield from self._answered(entry, now)
        if report.state is State.WAITING:
            if not retained:
                yield from self._heard_waiting(entry, report, now)
            return
        entry.answered |= not retained
        if report.state is State.REJECTED and entry.kept:
            refused = self._heard_refusal(entry, report, now, retained=retained)
            if refused is not None:
                yield from refused
                return
        entry.refusals = 0
        if entry.kept and not entry.accepted and report.state is not State.REJECTED:
            entry.accepted = True
            yield MarkAccepted(entry.name)
        if report.state.is_final:
            yield from self._heard_final(entry, report, now, plain=plain)
        else:
            yield from self._heard_open(entry, report, now, retained=retained)

    def _heard_refusal(
        self, entry: OpenJob, report: Report, now: float, *, retained: bool
    ) -> list[Effect] | None:
        """Take a refusal that is not the job's end; None when it is."""
        if retained:
            return []
        told: list[Effect] = []
        if entry.accepted:
            # A refusal answers a question; it is no state of a job that was accepted. The
            # node may not know the job yet, or its function no more.
            known = entry.report or Report(job=entry.name, state=State.ACCEPTED)
            entry.report = known._replace(note=f"a node answers: {report.reason}")
            entry.refusals += not report.retry_after_s
            if entry.refusals >= REFUSALS_MAX:
                entry.refusals = 0
                told = [TellUnknown(entry.name, report.reason)]
            if not entry.cancel:
                self._agenda.plan(entry, now + self._timing.reask_period_s)
        elif report.retry_after_s:
            entry.report = report._replace(state=State.KEPT, note=report.reason, reason="")
            self._agenda.plan(entry, now + report.retry_after_s)
        else:
            return None
        return [Tell(entry.report), *told]

    def _heard_open(
        self, entry: OpenJob, report: Report, now: float, *, retained: bool
    ) -> Iterator[Effect]:
        known = entry.report is not None and not entry.report.state.is_pending
        if retained and known:
            return  # A node met before may still retain what it last knew.
        # A job is accepted once; a node that says it again, after a change of nodes, does not
        # mean that it fell back from running.
        again = report.state is State.ACCEPTED and known
        if report != entry.report and not again:
            entry.report = report
            yield Tell(report)
        if entry.cancel and not entry.cancels_sent:
            yield from self._say(entry, now)
        elif entry.waiters and not entry.cancel:
            self._agenda.plan(entry, now + self._timing.reask_period_s)
        if not retained:
            yield from self._weigh(now, quorum=report.quorum is not False)

    def _heard_waiting(self, entry: OpenJob, report: Report, now: float) -> Iterator[Effect]:
        """The node keeps the job and can promise nothing: it will say so when it can."""
        if not entry.accepted and report != entry.report:
            entry.report = report
            yield Tell(report)
        self._agenda.plan(entry, now + self._timing.reask_period_s)
        yield from self._weigh(now, quorum=False)

    def _weigh(self, now: float, *, quorum: bool) -> Iterator[Effect]:
        if quorum:
            self._patience.has_majority()
        elif self._patience.is_over(now):
            yield LeaveNode("it reaches no majority of nodes")

    def _heard_final(
        self, entry: OpenJob, report: Report, now: float, *, plain: bool
    ) -> Iterator[Effect]:
        if entry.ended is not None:
            return
        wants_out = plain and report.state is State.SUCCEEDED and not report.reason
        if wants_out and report.result_url is None:
            if entry.out is None:
                entry.ended = report
                self._agenda.plan(entry, now + self._timing.out_grace_s)
                yield AskRetained(entry.name)
                return
            report = report._replace(value=entry.out)
        yield from self._end(entry, report)

    def _end(self, entry: OpenJob, report: Report) -> Iterator[Effect]:
        del self._jobs[entry.name]
        self._asked.pop(entry.name, None)
        if not self._asked:
            self._silent_since = None
        if entry.kept:
            yield ForgetJob(entry.name)
        yield Tell(report)

    def _entry(self, job: str) -> OpenJob:
        entry = self._jobs.get(job)
        if entry is None:
            entry = self._jobs[job] = OpenJob(job, kept=False, ready=True, accepted=False)
        return entry

    def _drop_if_idle(self, entry: OpenJob) -> None:
        if not (entry.kept or entry.cancel or entry.waiters):
            self._jobs.pop(entry.name, None)
