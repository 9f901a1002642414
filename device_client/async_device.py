"""`AsyncDevice`: the same for asyncio. One method more or less is a test's failure."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from device_client.board import Feed
from device_client.device import MEMORY_DRAIN_S, RESULT_MAX_BYTES
from device_client.report import Report, Result
from device_client.route import Timing
from device_client.session import Session

if TYPE_CHECKING:
    from workrs.trust.credential import Credential


class AsyncDevice:
    """A device on the bus, as `Device`; methods that wait or write are awaited.

    It may be used from one event loop at a time. Cancelling a `submit` leaves open whether
    the job was kept: submit it again with the same id, which is the same job.
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
        """Open the outbox, which takes some milliseconds, and begin to connect. See Device."""
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

    async def submit(
        self,
        spec: Mapping[str, object] | None = None,
        /,
        *,
        job: str | None = None,
        **fields: object,
    ) -> str:
        """Keep a job for sending and return its id. See Device.submit."""
        return await asyncio.to_thread(self._session.submit, spec, job, fields)

    async def run(self, function: str, data: bytes, job: str | None = None) -> str:
        """Keep a call of a registered function. See Device.run."""
        return await asyncio.to_thread(self._session.run, function, data, job)

    async def result(self, job: str, timeout: float | None = None) -> Result:  # noqa: ASYNC109 (the twin of Device.result, whose errors it raises)
        """Wait for the job's end and return its result. See Device.result."""
        deadline = None if timeout is None else self._session.clock() + timeout
        async with self._feed(job) as (feed, changed):
            while True:
                report = await self._next(feed, changed, deadline, timeout)
                if report.state.is_final:
                    break
        finish = partial(self._session.finish, report, deadline)
        return await asyncio.to_thread(finish) if self._session.needs_fetch(report) else finish()

    async def state(self, job: str) -> Report:
        """Return what is known of the job now. See Device.state."""
        known = self._session.board.look(job)
        if known is not None:
            return known
        wait_s = self._session.lookup_s
        async with self._feed(job) as (feed, changed):
            return await self._next(feed, changed, self._session.clock() + wait_s, wait_s)

    async def watch(self, job: str, timeout: float | None = None) -> AsyncIterator[Report]:  # noqa: ASYNC109 (as above)
        """Yield the job's states as they are heard. See Device.watch."""
        async with self._feed(job) as (feed, changed):
            while True:
                deadline = None if timeout is None else self._session.clock() + timeout
                report = await self._next(feed, changed, deadline, timeout)
                yield report
                if report.state.is_final:
                    return

    async def as_completed(
        self,
        jobs: Iterable[str],
        timeout: float | None = None,  # noqa: ASYNC109 (as above)
    ) -> AsyncIterator[Report]:
        """Yield the final report of each job as it ends. See Device.as_completed."""
        deadline = None if timeout is None else self._session.clock() + timeout
        changed = asyncio.Event()
        async with AsyncExitStack() as feeds:
            pending = [
                (await feeds.enter_async_context(self._feed(job, changed)))[0]
                for job in dict.fromkeys(jobs)
            ]
            while pending:
                feed = await self._any(pending, changed, deadline, timeout)
                report = feed.reports.popleft()
                if report.state.is_final:
                    pending.remove(feed)
                    yield report

    @property
    def node(self) -> str | None:
        """The node it is connected to. See Device.node."""
        return self._session.node

    async def cancel(self, job: str) -> None:
        """Ask for the job's end. See Device.cancel."""
        await asyncio.to_thread(self._session.cancel, job)

    def jobs(self) -> list[Report]:
        """Return what is known of every job in the outbox, oldest first."""
        return self._session.board.list_open()

    async def drain(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 (as above)
        """Wait until every job submitted so far was accepted or has ended; False if not in time."""
        deadline = None if timeout is None else self._session.clock() + timeout
        for job in self._session.list_waiting():
            async with self._feed(job) as (feed, changed):
                try:
                    while (await self._next(feed, changed, deadline, timeout)).state.is_pending:
                        pass
                except TimeoutError:
                    return False
        return True

    async def close(self) -> None:
        """Disconnect and end the thread. See Device.close."""
        await asyncio.to_thread(self._session.close)

    async def __aenter__(self) -> Self:
        """Return the device itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close. Without an outbox file, first see jobs accepted that would else be lost."""
        if kind is None and not (self._session.durable or self._session.is_forked):
            await self.drain(MEMORY_DRAIN_S)
        await self.close()

    @asynccontextmanager
    async def _feed(
        self, job: str, changed: asyncio.Event | None = None
    ) -> AsyncIterator[tuple[Feed, asyncio.Event]]:
        loop = asyncio.get_running_loop()
        changed = changed or asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # The loop was closed: nobody waits.
                loop.call_soon_threadsafe(changed.set)

        feed = self._session.attach(job, wake)
        try:
            yield feed, changed
        finally:
            self._session.detach(feed)

    async def _next(
        self,
        feed: Feed,
        changed: asyncio.Event,
        deadline: float | None,
        timeout: float | None,  # noqa: ASYNC109 (only told)
    ) -> Report:
        """Return the next report, or raise what there is to raise."""
        return (await self._any([feed], changed, deadline, timeout)).reports.popleft()

    async def _any(
        self,
        feeds: Sequence[Feed],
        changed: asyncio.Event,
        deadline: float | None,
        timeout: float | None,  # noqa: ASYNC109 (only told)
    ) -> Feed:
        """Return the first feed that has a report; raise ResultTimeoutError, or what ended it."""
        session = self._session
        while True:
            changed.clear()
            for feed in feeds:
                if feed.reports:
                    return feed
            for feed in feeds:
                session.check(feed)
            left_s = None if deadline is None else deadline - session.clock()
            try:
                async with asyncio.timeout(left_s):
                    await changed.wait()
            except TimeoutError:
                raise session.timeout_error(feeds[0].job, timeout or 0.0) from None
