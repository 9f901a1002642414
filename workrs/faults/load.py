"""The steady stream of jobs beside every fault: each has a value that is known beforehand.

1. A job that was accepted must get exactly one outcome, with that value, in time. What does
   not is a violation, and its text says which job.
2. Jobs that were not accepted yet are repeated by their device, so they must end too.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from device_client import Device, Report, State
from workrs.faults.plan import LoadPlan

_TURN_S = 0.03
ATTEMPTS_MAX = 100
"""Faults cost attempts, and none of them is the program's fault."""
RETENTION_S = 60.0
"""So that jobs are retired all the time, and a broker that comes back is not told thousands."""


def echo(text: str) -> dict[str, object]:
    """Return the spec of a job that prints *text* and ends."""
    return {
        "function": "echo",
        "input": text,
        "attempts_max": ATTEMPTS_MAX,
        "retention_s": RETENTION_S,
    }


def beads(
    *,
    steps: int,
    pace_s: float = 0.1,
    seed: str = "",
    interval_s: float | None = 1.0,
    strict: bool = False,
) -> dict[str, object]:
    """Return the spec of a job that takes steps x pace_s and can go on from any step.

    It appends a line to the site's evidence at each step, saves its state, and prints
    what `beads_value` says.
    """
    given = {"steps": steps, "pace_s": pace_s, "seed": seed}
    return {
        "function": "beads",
        "input": json.dumps(given),
        "checkpoint": {"interval_s": interval_s},
        "attempts_max": ATTEMPTS_MAX,
        "retention_s": RETENTION_S,
        "takeover": "strict" if strict else "fast",
    }


def beads_value(*, steps: int, seed: str = "") -> bytes:
    """Return what an undisturbed run of `beads` prints."""
    value = seed.encode()
    for step in range(steps):
        value = hashlib.sha256(value + str(step).encode()).digest()
    return value.hex().encode() + b"\n"


@dataclass(slots=True, kw_only=True)
class Sent:
    """A job that must end well."""

    device: str
    job: str
    """Local id."""
    expected: bytes
    sent_s: float
    run_s: float
    """How long its program takes when nobody disturbs it."""
    accepted_s: float | None = None
    ended_s: float | None = None

    @property
    def bus_id(self) -> str:
        """Its id on the bus."""
        return f"{self.device}_{self.job}"


@dataclass(slots=True, kw_only=True)
class Load:
    """Sends jobs and watches them, in a thread of its own while `running` lasts."""

    plan: LoadPlan
    clock: Callable[[], float]
    devices: list[tuple[str, Device]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    """All jobs so far, oldest first."""
    violations: list[str] = field(default_factory=list)
    _open: list[tuple[Device, Sent]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _resumed: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _count: int = 0

    def send(
        self, name: str, device: Device, spec: Mapping[str, object], expected: bytes, run_s: float
    ) -> Sent:
        """Submit a job and watch it to its end; it is checked like those of the stream."""
        with self._lock:
            self._count += 1
            job = f"j{self._count}"
        sent = Sent(device=name, job=job, expected=expected, sent_s=self.clock(), run_s=run_s)
        device.submit(spec, job=job)
        with self._lock:
            self.sent.append(sent)
            self._open.append((device, sent))
        return sent

    def open_jobs(self) -> list[Sent]:
        """Return the jobs that have not ended, oldest first."""
        with self._lock:
            return [sent for _, sent in self._open]

    def recent(self) -> list[Sent]:
        """Return the jobs that were not forgotten."""
        with self._lock:
            return list(self.sent)

    def forget(self, jobs: frozenset[str]) -> None:
        """Drop what is kept of jobs that ended; by their ids on the bus."""
        with self._lock:
            self.sent = [s for s in self.sent if s.ended_s is None or s.bus_id not in jobs]

    def accepted_between(self, since_s: float, until_s: float) -> list[float]:
        """Return how long each job sent in that time waited for *accepted*, up to now."""
        with self._lock:
            jobs = [sent for sent in self.sent if since_s <= sent.sent_s < until_s]
        return [(s.accepted_s or s.ended_s or self.clock()) - s.sent_s for s in jobs]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Send nothing new for a while; what was sent is still watched."""
        self._resumed.clear()
        try:
            yield
        finally:
            self._resumed.set()

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Send and watch while the context lasts."""
        self._thread = threading.Thread(target=self._run, name="load")
        self._resumed.set()
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._thread.join()

    def broke_off(self) -> bool:
        """Return whether its thread ended by an error, which that thread has printed."""
        return self._thread is not None and not self._thread.is_alive()

    def _run(self) -> None:
        next_echo_s = self.clock()
        while not self._ended.wait(_TURN_S):
            if self._resumed.is_set():
                next_echo_s = self._send_due(next_echo_s)
            with self._lock:
                watched = list(self._open)
            done = {sent.bus_id for device, sent in watched if self._look(device, sent)}
            with self._lock:
                self._open = [pair for pair in self._open if pair[1].bus_id not in done]

    def _send_due(self, next_echo_s: float) -> float:
        plan, now_s = self.plan, self.clock()
        name, device = self.devices[self._count % len(self.devices)]
        if plan.echo_period_s and now_s >= next_echo_s:
            value = f"echo {self._count}".encode()
            self.send(name, device, echo(value.decode()), value, 0.0)
            next_echo_s = max(next_echo_s + plan.echo_period_s, now_s)
        with self._lock:
            long = sum(1 for _, sent in self._open if sent.run_s)
        if long < plan.long_jobs:
            steps = int(plan.long_job_s * 10)
            seed = f"load {self._count}"
            # Every other one is strict, so both ways of a takeover go on all the time.
            spec = beads(steps=steps, seed=seed, strict=self._count % 2 == 0)
            self.send(name, device, spec, beads_value(steps=steps, seed=seed), plan.long_job_s)
        return next_echo_s

    def _look(self, device: Device, sent: Sent) -> bool:
        """Note what is known of a job; return whether it has ended."""
        report = device.state(sent.job)
        if not report.state.is_pending and sent.accepted_s is None:
            sent.accepted_s = self.clock()
        if not report.state.is_final:
            return False
        sent.ended_s = self.clock()
        self._judge(sent, report)
        return True

    def _judge(self, sent: Sent, report: Report) -> None:
        if report.state is not State.SUCCEEDED:
            text = f"{sent.bus_id} ended as {report.state}: {report.reason[:300]}"
        elif report.value != sent.expected:
            text = f"{sent.bus_id} has the value {report.value!r:.80}, not {sent.expected!r:.80}"
        else:
            return
        with self._lock:
            self.violations.append(text)
