"""What is known of each job, shared between the network thread and whoever asks.

1. A job has one final report here; a second one changes nothing, and no reader gets two.
2. A reader gets reports in the order they were heard, those from before it came without
   the progress in between, and never misses the final one; of one that lags behind by
   FEED_MAX reports, the oldest are dropped.
3. The last FINALS_MAX final reports are remembered, with FINALS_MAX_BYTES of results. An
   older result is with the nodes still. What is small stays longer, because a refusal is
   said once and kept by nobody else.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from device_client.error import JobIdReusedError, JobLostError, UnknownJobError
from device_client.report import Report, State
from device_client.submission import Submission
from workrs.domain.errors import WorkrsError

FEED_MAX = 256
FINALS_MAX = 4096
FINALS_MAX_BYTES = 8 << 20
HISTORY_MAX = 16
"""States of a job that a reader who comes late is still told, the newest report of each."""


class Feed:
    """One reader's view of one job. Read by its owner alone, written by the board."""

    def __init__(self, job: str, wake: Callable[[], None]) -> None:
        self.job = job
        self.wake = wake
        """Called in any thread, with the board locked: must not block or call back."""
        self.reports: deque[Report] = deque(maxlen=FEED_MAX)
        self.failure: WorkrsError | None = None
        """Why no report will come, as far as the nodes can tell."""


class Board:
    """See the module. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Readers may build a Condition on it."""
        self.failure: WorkrsError | None = None
        """Why nothing will be heard any more."""
        self._open: dict[str, Report] = {}
        self._digests: dict[str, bytes] = {}
        """What was asked under an id, so that another question under it is noticed."""
        self._finals: OrderedDict[str, Report] = OrderedDict()
        self._kept: set[str] = set()
        """Open jobs of the outbox; the others are only looked at."""
        self._sizes: OrderedDict[str, int] = OrderedDict()
        """Of the final reports that carry a result, oldest first."""
        self._size = 0
        self._heard: dict[str, list[Report]] = {}
        """Of open and ended jobs, as long as those are remembered."""
        self._feeds: dict[str, list[Feed]] = {}

    def admit(self, submission: Submission) -> bool:
        """Return whether the submission needs to be sent; False when its job has ended.

        Raises:
            JobIdReusedError: The id was another job's of late.
        """
        job = submission.job
        with self.lock:
            final = self._finals.get(job)
            if final is not None and final.state is State.REJECTED:
                # The nodes hold nothing of it: the id is free, and a second try is allowed.
                self._forget(job)
                return True
            if self._digests.get(job, submission.digest()) != submission.digest():
                raise JobIdReusedError(f"job id {job!r} already belongs to another job")
            return final is None

    def begin(self, submission: Submission) -> None:
        """Note that the outbox has the job."""
        with self.lock:
            if submission.job not in self._finals:
                self._digests[submission.job] = submission.digest()
                self.restore(submission.job, State.KEPT)

    def restore(self, job: str, state: State) -> None:
        """Note a job that the outbox has, in the state it is known to have reached."""
        with self.lock:
            self._kept.add(job)
            self._open.setdefault(job, Report(job=job, state=state))

    def tell(self, report: Report) -> None:
        """Pass on what was heard, unless the job has ended before."""
        job = report.job
        with self.lock:
            if job in self._finals:
                return
            heard = self._heard.setdefault(job, [])
            if heard and heard[-1].state is report.state:
                heard.pop()
            heard.append(report)
            del heard[:-HISTORY_MAX]
            if report.state.is_final:
                self._open.pop(job, None)
                self._kept.discard(job)
                self._remember(report)
            else:
                self._open[job] = report
            for feed in self._feeds.get(job, ()):
                feed.reports.append(report)
                feed.wake()

    def tell_unknown(self, job: str, reason: str) -> None:
        """Tell who waits for the job that the nodes do not know it, and what one of them said."""
        with self.lock:
            for feed in self._feeds.get(job, ()):
                if job in self._kept:
                    said = f"job {job} was accepted, and the nodes do not know it now: {reason}"
                    feed.failure = JobLostError(said)
                else:
                    said = f"job {job} is not in the outbox of this device, nor known to its node"
                    feed.failure = UnknownJobError(said)
                feed.wake()

    def fail(self, error: WorkrsError) -> None:
        """Wake everybody: the network thread has ended."""
        with self.lock:
            self.failure = self.failure or error
            for feeds in self._feeds.values():
                for feed in feeds:
                    feed.wake()

    def look(self, job: str) -> Report | None:
        """Return the newest report, or None when nothing is known here."""
        with self.lock:
            return self._finals.get(job) or self._open.get(job)

    def list_open(self) -> list[Report]:
        """Return the newest report of every job of the outbox that has not ended."""
        with self.lock:
            return [report for job, report in self._open.items() if job in self._kept]

    def attach(self, feed: Feed) -> None:
        """Begin to fill *feed*, first with what was heard so far."""
        with self.lock:
            known = self.look(feed.job)
            heard = self._heard.get(feed.job)
            if heard:
                feed.reports.extend(heard)
            elif known is not None and known.state is not State.KEPT:
                feed.reports.append(known)
            self._feeds.setdefault(feed.job, []).append(feed)

    def detach(self, feed: Feed) -> None:
        """Fill *feed* no more; forget an open job that is nobody's."""
        with self.lock:
            feeds = self._feeds[feed.job]
            feeds.remove(feed)
            if not feeds:
                del self._feeds[feed.job]
                if feed.job not in self._kept:
                    self._open.pop(feed.job, None)
                    if feed.job not in self._finals:
                        self._forget(feed.job)

    def _remember(self, final: Report) -> None:
        self._finals[final.job] = final
        if final.value:
            self._sizes[final.job] = len(final.value)
            self._size += len(final.value)
        while self._size > FINALS_MAX_BYTES:
            self._forget(next(iter(self._sizes)))
        if len(self._finals) > FINALS_MAX:
            self._forget(next(iter(self._finals)))

    def _forget(self, job: str) -> None:
        self._finals.pop(job, None)
        self._size -= self._sizes.pop(job, 0)
        self._digests.pop(job, None)
        self._heard.pop(job, None)
