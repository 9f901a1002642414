"""Brings large inputs into the blob stores, in a thread that only exists if one is needed.

An input is uploaded before its job is sent, so that no node accepts a job it cannot run.
It stays in the outbox until the job is accepted, and an upload that fails is tried again
for as long as the device is open.
"""

import heapq
import threading
from collections.abc import Callable
from random import Random
from typing import NamedTuple, Protocol

from device_client import blob
from device_client.outbox import Outbox
from device_client.route import Timing
from device_client.store_directory import StoreDirectory
from workrs.domain.errors import WorkrsError

_FIND_S = 5.0
_SOCKET_S = 10.0
_STOP_S = 1.0


class Listener(Protocol):
    """Who is told what became of an upload. Called in the uploader's thread."""

    def on_uploaded(self, job: str) -> None:
        """As many stores as need be have the input."""

    def on_too_big(self, job: str, reason: str) -> None:
        """No store will ever take it."""

    def on_trouble(self, text: str) -> None:
        """It will be tried again."""


class _Due(NamedTuple):
    at: float
    job: str
    failures: int


class Uploader:
    """See the module. `add` and `stop` may be called from any thread."""

    def __init__(
        self,
        device: str,
        *,
        outbox: Outbox,
        stores: StoreDirectory,
        access: blob.Access,
        timing: Timing,
        clock: Callable[[], float],
        listener: Listener,
    ) -> None:
        self._device = device
        self._outbox = outbox
        self._stores = stores
        self._access = access
        self._timing = timing
        self._clock = clock
        self._listener = listener
        self._changed = threading.Condition()
        self._due: list[_Due] = []
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._rng = Random()  # noqa: S311 (jitter)

    def add(self, job: str) -> None:
        """Upload the job's input as soon as possible."""
        with self._changed:
            heapq.heappush(self._due, _Due(self._clock(), job, 0))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name=f"device[{self._device}].upload", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        """Start no more uploads. One that is under way is given a second, then left to end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(_STOP_S)

    def _work(self) -> None:
        while (due := self._next()) is not None:
            try:
                self._upload(due)
            except WorkrsError as error:
                if self._stopping:
                    return
                self._listener.on_trouble(f"upload for job {due.job}: {error}")
                self._stores.forget()
                self._again(due)

    def _next(self) -> _Due | None:
        """Wait for the next upload that is due; None when there is to be none."""
        with self._changed:
            while not self._stopping:
                left_s = self._due[0].at - self._clock() if self._due else None
                if left_s is not None and left_s <= 0:
                    return heapq.heappop(self._due)
                self._changed.wait(left_s)
            return None

    def _upload(self, due: _Due) -> None:
        data = self._outbox.blob(due.job)
        if data is None:
            # Accepted before a restart noticed, or ended: nothing is left to be done.
            self._listener.on_uploaded(due.job)
            return
        stores = self._stores.find(_FIND_S)
        try:
            blob.put_input(
                stores.bases,
                self._device,
                data,
                copies=stores.copies,
                access=self._access,
                timeout_s=_SOCKET_S,
            )
        except blob.InputRefusedError as error:
            self._listener.on_too_big(due.job, str(error))
            return
        self._listener.on_uploaded(due.job)

    def _again(self, due: _Due) -> None:
        pause_s = self._timing.backoff_min_s * 2.0 ** min(due.failures, 16)
        pause_s = min(pause_s, self._timing.backoff_max_s) * self._rng.uniform(0.5, 1.0)
        with self._changed:
            heapq.heappush(self._due, _Due(self._clock() + pause_s, due.job, due.failures + 1))
