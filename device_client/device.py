"""`Device`: publish jobs and get their results, from ordinary blocking code."""

import os
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from device_client.board import Feed
from device_client.report import Report, Result
from device_client.route import Timing
from device_client.session import Session

if TYPE_CHECKING:
    from workrs.trust.credential import Credential

RESULT_MAX_BYTES = 256 << 20
MEMORY_DRAIN_S = 5.0
"""How long the end of a `with` block waits for jobs that nothing else remembers."""


class Device:
    """A device on the bus. Safe to call from several threads.

    Making one starts a thread that connects, stays connected and sends what the outbox
    holds; no method but the waiting ones needs a node to be there.
    """

    def __init__(
        self,
        name: str | None = None,
        nodes: Sequence[str] = (),
        *,
        credential: "str | os.PathLike[str] | Credential | None" = None,
        outbox: str | os.PathLike[str] | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        blob_urls: Sequence[str] = (),
        result_max_bytes: int = RESULT_MAX_BYTES,
        timing: Timing | None = None,
    ) -> None:
        """Open the outbox and begin to connect.

        Args:
            name: The device's name, which is its user name on the bus. None: the credential's.
            nodes: `host:port` of each node, in the order to try them. Empty: the credential's.
            credential: The file that `workrs enrol device` wrote, instead of user name,
                password and TLS.
            outbox: File that keeps jobs until they end. None: they end with the process.
            username: What to log in with, if it is not the name.
            password: With it. None: the broker asks for none, or for a certificate.
            tls: Context with the cluster's authority and, if wanted, the device's
                certificate. None: plain TCP, to nodes of this machine alone.
            insecure: Plain TCP to nodes on other machines, too: everybody on the way can read
                and change what is said.
            blob_urls: Base URLs of the nodes' blob stores. Empty: the nodes are asked.
            result_max_bytes: Larger results are refused, not fetched.
            timing: How long to wait for what. None: the defaults.

        Raises:
            IdError: The name is not allowed.
            ConfigError: Anything else is wrong; OutboxError if it is the file.
        """
        self._session = Session(
            name,
            nodes,
            credential=credential,
            outbox=outbox,
            username=username,
            password=password,
            tls=tls,
            insecure=insecure,
            blob_urls=blob_urls,
            result_max_bytes=result_max_bytes,
            timing=timing,
        )

    def submit(
        self,
        spec: Mapping[str, object] | None = None,
        /,
        *,
        job: str | None = None,
        **fields: object,
    ) -> str:
        """Keep a job for sending and return its id.

        Args:
            spec: The job spec, or part of it.
            job: An id of the caller's own; the same id and spec again is the same job.
            fields: The rest of the spec, as keywords.

        Raises:
            SpecError: It cannot be written as JSON or is too big; JobIdReusedError if the
                id belongs to another job.
            OutboxFullError: Too many jobs wait already.
        """
        return self._session.submit(spec, job, fields)

    def run(self, function: str, data: bytes, job: str | None = None) -> str:
        """Keep a call of a registered function with *data* as its input; return the job's id."""
        return self._session.run(function, data, job)

    def result(self, job: str, timeout: float | None = None) -> Result:
        """Wait for the job's end and return its result.

        Args:
            job: Its id, of this process or an earlier one.
            timeout: Seconds; None waits for ever.

        Raises:
            JobFailedError, JobCancelledError, JobRejectedError, JobExpiredError: It ended so.
            ResultTimeoutError: It has not ended in time. It goes on; ask again. NoNodeError and
                CredentialRefusedError if there was nobody to hear it from.
            ResultUnavailableError: Its result is big and cannot be fetched now; ask again.
                ResultTooLargeError if it is bigger than `result_max_bytes`.
            ResultGoneError: It succeeded so long ago that its result is no longer kept.
            UnknownJobError: Neither the outbox nor the node knows the id; JobLostError if it
                was accepted before.
        """
        deadline = None if timeout is None else self._session.clock() + timeout
        with self._feed(job) as (feed, changed):
            while True:
                report = self._next(feed, changed, deadline, timeout)
                if report.state.is_final:
                    break
        return self._session.finish(report, deadline)

    def state(self, job: str) -> Report:
        """Return what is known of the job now.

        Raises:
            UnknownJobError: It is not in the outbox, and the node says nothing of it.
            ResultTimeoutError: Nor was there a node to ask.
        """
        known = self._session.board.look(job)
        if known is not None:
            return known
        wait_s = self._session.lookup_s
        with self._feed(job) as (feed, changed):
            return self._next(feed, changed, self._session.clock() + wait_s, wait_s)

    def watch(self, job: str, timeout: float | None = None) -> Iterator[Report]:
        """Yield the job's states, those heard so far and then as they are heard, to the final.

        Args:
            job: Its id.
            timeout: Longest silence in seconds, then ResultTimeoutError; None: any.
        """
        with self._feed(job) as (feed, changed):
            while True:
                deadline = None if timeout is None else self._session.clock() + timeout
                report = self._next(feed, changed, deadline, timeout)
                yield report
                if report.state.is_final:
                    return

    def as_completed(self, jobs: Iterable[str], timeout: float | None = None) -> Iterator[Report]:
        """Yield the final report of each job as it ends; `result` then returns at once.

        Args:
            jobs: Their ids. One that the nodes do not know raises as in `result`.
            timeout: Seconds for all of them, then ResultTimeoutError; None waits for ever.
        """
        deadline = None if timeout is None else self._session.clock() + timeout
        changed = threading.Condition(self._session.board.lock)
        with ExitStack() as feeds:
            pending = [
                feeds.enter_context(self._feed(job, changed))[0] for job in dict.fromkeys(jobs)
            ]
            while pending:
                feed = self._any(pending, changed, deadline, timeout)
                report = feed.reports.popleft()
                if report.state.is_final:
                    pending.remove(feed)
                    yield report

    @property
    def node(self) -> str | None:
        """The node it is connected to, as `host:port`; None between two nodes."""
        return self._session.node

    def cancel(self, job: str) -> None:
        """Ask for the job's end. It may still succeed, if that came first: `result` tells."""
        self._session.cancel(job)

    def jobs(self) -> list[Report]:
        """Return what is known of every job in the outbox, oldest first."""
        return self._session.board.list_open()

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until every job submitted so far was accepted or has ended; False if not in time."""
        deadline = None if timeout is None else self._session.clock() + timeout
        for job in self._session.list_waiting():
            with self._feed(job) as (feed, changed):
                try:
                    while self._next(feed, changed, deadline, timeout).state.is_pending:
                        pass
                except TimeoutError:
                    return False
        return True

    def close(self) -> None:
        """Disconnect and end the thread. What was not accepted stays in the outbox's file."""
        self._session.close()

    def __enter__(self) -> Self:
        """Return the device itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close. Without an outbox file, first see jobs accepted that would else be lost."""
        if kind is None and not (self._session.durable or self._session.is_forked):
            self.drain(MEMORY_DRAIN_S)
        self.close()

    @contextmanager
    def _feed(
        self, job: str, changed: threading.Condition | None = None
    ) -> Iterator[tuple[Feed, threading.Condition]]:
        changed = changed or threading.Condition(self._session.board.lock)
        feed = self._session.attach(job, changed.notify)
        try:
            yield feed, changed
        finally:
            self._session.detach(feed)

    def _next(
        self,
        feed: Feed,
        changed: threading.Condition,
        deadline: float | None,
        timeout: float | None,
    ) -> Report:
        """Return the next report, or raise what there is to raise."""
        return self._any([feed], changed, deadline, timeout).reports.popleft()

    def _any(
        self,
        feeds: Sequence[Feed],
        changed: threading.Condition,
        deadline: float | None,
        timeout: float | None,
    ) -> Feed:
        """Return the first feed that has a report; raise ResultTimeoutError, or what ended it."""
        session = self._session
        with changed:
            while True:
                for feed in feeds:
                    if feed.reports:
                        return feed
                for feed in feeds:
                    session.check(feed)
                left_s = None if deadline is None else deadline - session.clock()
                if left_s is not None and left_s <= 0:
                    raise session.timeout_error(feeds[0].job, timeout or 0.0)
                changed.wait(left_s)
