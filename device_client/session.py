"""A device's whole work, without a way of waiting: both front ends stand on this.

`Device` waits with a condition, `AsyncDevice` with its loop; what they wait for, and
everything else, is here once. Every method may be called from any thread; those that say
so block on a disk or on HTTP.
"""

import os
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

from device_client import submission as submissions
from device_client.board import Board, Feed
from device_client.effect import UnwatchNodes, WatchNodes
from device_client.error import (
    CredentialRefusedError,
    DeviceClosedError,
    JobCancelledError,
    JobExpiredError,
    JobFailedError,
    JobRejectedError,
    NoNodeError,
    ResultGoneError,
    ResultTimeoutError,
    ResultUnavailableError,
)
from device_client.identity import identify, require_here
from device_client.link import Login
from device_client.network import Network
from device_client.outbox import FileOutbox, MemoryOutbox, Outbox
from device_client.report import Report, Result, State
from device_client.route import Route, Timing
from device_client.store_directory import StoreDirectory
from workrs.domain.errors import ConfigError, StoreError
from workrs.domain.ids import local_job_id

if TYPE_CHECKING:
    from device_client.blob import Access
    from device_client.uploader import Uploader
    from workrs.trust.credential import Credential

_SOCKET_S = 10.0
_NO_RESULT = "the node sent no result that can be read"
_FIND_S = 5.0
"""How long a fetch waits for a node to say where its blob store is."""


class Session:
    """See the module. Ends with `close`, once and for all."""

    def __init__(
        self,
        name: str | None,
        nodes: Sequence[str],
        *,
        credential: "str | os.PathLike[str] | Credential | None" = None,
        outbox: str | os.PathLike[str] | None,
        username: str | None,
        password: str | None,
        tls: ssl.SSLContext | None,
        insecure: bool = False,
        blob_urls: Sequence[str],
        result_max_bytes: int,
        timing: Timing | None,
    ) -> None:
        self._identity = identity = identify(
            name, nodes, credential=credential, username=username, password=password, tls=tls
        )
        require_here(identity, insecure=insecure)
        self.device = identity.name
        self.timing = timing or Timing()
        self.timing.check()
        self._process = os.getpid()
        self._board = Board()
        self.clock = time.monotonic
        self._result_max_bytes = result_max_bytes
        self._uploader: Uploader | None = None
        self._closed = False
        rng = Random()  # noqa: S311 (jitter)
        route = Route(identity.nodes, timing=self.timing, rng=rng)
        self._stores = StoreDirectory(
            blob_urls,
            clock=self.clock,
            watch=lambda: self._network.post(lambda _brain, _now: (WatchNodes(),)),
            unwatch=lambda: self._network.post(lambda _brain, _now: (UnwatchNodes(),)),
        )
        # The id is the object's, not the device's: two programs of one device would else
        # throw each other off the broker for ever.
        login = Login(
            client_id=f"{self.device}-{os.urandom(4).hex()}",
            username=identity.username,
            password=identity.password,
            tls=identity.tls,
        )
        self._outbox: Outbox = (
            MemoryOutbox() if outbox is None else FileOutbox(outbox, device=self.device)
        )
        self._network = Network(
            self.device,
            route=route,
            login=login,
            timing=self.timing,
            outbox=self._outbox,
            board=self._board,
            clock=self.clock,
            upload=self._upload,
            heard_node=self._stores.heard,
        )
        self._restore()
        self._network.start()

    @property
    def is_forked(self) -> bool:
        """Return whether this process is a child of the one that made the session.

        A fork copies neither the threads nor who holds a lock, and two processes must not speak
        on one connection nor use one connection to a SQLite file, not even to close it.
        """
        return os.getpid() != self._process

    @property
    def board(self) -> Board:
        """What is known of the jobs; DeviceClosedError in a forked process."""
        if self.is_forked:
            raise DeviceClosedError(f"device {self.device} is of the process that was forked")
        return self._board

    @property
    def durable(self) -> bool:
        """Return whether jobs outlive the process."""
        return self._outbox.durable

    @property
    def node(self) -> str | None:
        """Return the node it is connected to, as `host:port`, or None."""
        return self._network.node

    @property
    def lookup_s(self) -> float:
        """Return how long a strange job may take to be found, or known not to be there."""
        return self.timing.connect_timeout_s + self.timing.answer_timeout_s + 1.0

    def _restore(self) -> None:
        for kept in self._outbox.load():
            self.board.restore(kept.job, State.ACCEPTED if kept.accepted else State.KEPT)
            self._keep(
                kept.job,
                accepted=kept.accepted,
                ready=kept.accepted or not kept.has_blob,
                cancel=kept.cancel,
            )

    def _keep(self, job: str, *, accepted: bool, ready: bool, cancel: bool) -> None:
        self._network.post(
            lambda brain, now: brain.keep(job, now, accepted=accepted, ready=ready, cancel=cancel)
        )

    def submit(
        self, spec: Mapping[str, object] | None, job: str | None, fields: Mapping[str, object]
    ) -> str:
        """Keep a job given by its spec and return its id. Blocks until it is on disk."""
        both = (spec or {}).keys() & fields.keys()
        if both:
            raise ConfigError(f"given twice: {', '.join(sorted(both))}")
        return self._submit(submissions.from_spec(self.device, job, {**(spec or {}), **fields}))

    def run(self, function: str, data: bytes, job: str | None) -> str:
        """Keep a call of a registered function and return its id. Blocks as `submit`."""
        return self._submit(submissions.from_run(self.device, job, function, data))

    def _submit(self, submission: submissions.Submission) -> str:
        self.check_open()
        if self.board.admit(submission) and self._outbox.keep(submission):
            self.board.begin(submission)
            self._keep(submission.job, accepted=False, ready=submission.blob is None, cancel=False)
        return submission.job

    def cancel(self, job: str) -> None:
        """Wish the job cancelled, durably if the outbox has it. Blocks on the disk."""
        name = local_job_id(job)
        self.check_open()
        known = self.board.look(name)
        if known is None or not known.state.is_final:
            self._outbox.mark_cancel(name)
            self._network.post(lambda brain, now: brain.cancel(name, now))

    def attach(self, job: str, wake: Callable[[], None]) -> Feed:
        """Return a feed of the job's reports; while it is attached, silence is asked about."""
        feed = Feed(local_job_id(job), wake)
        self.board.attach(feed)
        known = self.board.look(feed.job)
        if known is None or not known.state.is_final:
            self._network.post(lambda brain, now: brain.await_job(feed.job, now))
        return feed

    def detach(self, feed: Feed) -> None:
        """End what `attach` began."""
        self.board.detach(feed)
        self._network.post(lambda brain, _now: brain.leave_job(feed.job))

    def check_open(self) -> None:
        """Raise DeviceClosedError when nothing will be sent or heard any more."""
        if self.board.failure is not None:
            raise self.board.failure

    def check(self, feed: Feed) -> None:
        """Raise what there is to raise when a feed is empty and was waited for."""
        self.check_open()
        if feed.failure is not None:
            raise feed.failure

    def timeout_error(self, job: str, waited_s: float) -> ResultTimeoutError:
        """Return the error of a wait that was too short, with all that is known."""
        known = self.board.look(job)
        last = "unknown" if known is None else str(known.state)
        network = self._network
        trouble = network.trouble or (known.note if known else "")
        kind = ResultTimeoutError
        if network.node is None:
            kind = CredentialRefusedError if network.is_refused else NoNodeError
        return kind(job, waited_s, last, trouble)

    def needs_fetch(self, report: Report) -> bool:
        """Return whether `finish` will block on HTTP."""
        return report.state is State.SUCCEEDED and report.value is None and bool(report.result_url)

    def finish(self, report: Report, deadline: float | None) -> Result:
        """Return the result of a final report, or raise the JobError that it stands for.

        Raises:
            JobError: The job did not succeed.
            ResultUnavailableError: It did, but its result cannot be fetched.
            ResultGoneError: It did, and its retention has passed.
        """
        match report.state:
            case State.SUCCEEDED:
                value = self._fetch(report, deadline) if self.needs_fetch(report) else report.value
                # An empty result travels as one: none is none.
                if value is None and report.reason:
                    raise ResultGoneError(f"job {report.job} succeeded, but {report.reason}")
                if value is None:
                    raise ResultUnavailableError(f"job {report.job}: {_NO_RESULT}")
            case State.FAILED:
                raise JobFailedError(report)
            case State.CANCELLED:
                raise JobCancelledError(report)
            case State.REJECTED:
                raise JobRejectedError(report)
            case _:
                raise JobExpiredError(report)
        return Result(
            job=report.job,
            value=value,
            exit_code=report.exit_code,
            reason=report.reason,
            attempt=report.attempt,
            agent=report.agent,
        )

    def _fetch(self, report: Report, deadline: float | None) -> bytes:
        from device_client import blob  # noqa: PLC0415 (few results are that big)

        left_s = _SOCKET_S if deadline is None else deadline - self.clock()
        url = report.result_url or ""
        bases: tuple[str, ...] = ()
        if url.startswith(blob.BLOB_URL_PREFIX):
            try:
                bases = self._stores.find(max(1.0, min(_FIND_S, left_s))).bases
            except StoreError as error:
                raise ResultUnavailableError(f"job {report.job}: {error}") from error
        try:
            return blob.get_result(
                url,
                f"{self.device}_{report.job}",
                bases,
                limit_bytes=self._result_max_bytes,
                access=self._access(),
                timeout_s=max(1.0, min(_SOCKET_S, left_s)),
            )
        except ResultUnavailableError:
            self._stores.forget()
            raise

    def _upload(self, job: str) -> None:
        """Called in the network thread."""
        if self._uploader is None:
            from device_client.uploader import Uploader  # noqa: PLC0415 (as above)

            self._uploader = Uploader(
                self.device,
                outbox=self._outbox,
                stores=self._stores,
                access=self._access(),
                timing=self.timing,
                clock=self.clock,
                listener=self,
            )
        self._uploader.add(job)

    def on_uploaded(self, job: str) -> None:
        """Called in the uploader's thread."""
        self._network.post(lambda brain, now: brain.uploaded(job, now))

    def on_too_big(self, job: str, reason: str) -> None:
        """Called in the uploader's thread."""
        self._network.post(lambda brain, _now: brain.refused(job, reason))

    def on_trouble(self, text: str) -> None:
        """Called in the uploader's thread."""
        self._network.trouble = text

    def _access(self) -> "Access":
        from device_client import blob  # noqa: PLC0415 (as above)

        who = self._identity
        return blob.Access(username=who.username, password=who.password, tls=who.tls)

    def list_waiting(self) -> list[str]:
        """Return the jobs that no node is known to have accepted."""
        return [r.job for r in self.board.list_open() if r.state.is_pending]

    def close(self) -> None:
        """Send what was posted, end the threads, release the file. Blocks. Idempotent.

        In a forked process it does nothing: all of that is the parent's.
        """
        if self._closed or self.is_forked:
            return
        self._closed = True
        self._stores.close()
        self._network.stop()
        if self._uploader is not None:
            self._uploader.stop()
        self._outbox.close()
