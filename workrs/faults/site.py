"""A running cluster to break, with the hands that break it and the eyes that see it.

One site serves many injections, of all rows with the same plan. `open_site` makes it.
"""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from device_client import Device, Report
from workrs.cli.cluster import LocalCluster
from workrs.cli.stage import Stage
from workrs.domain.errors import WorkrsError
from workrs.domain.lease import LeaseTiming
from workrs.faults.diary import Diary
from workrs.faults.evidence import ContainerEyes, read_testimony
from workrs.faults.health import ailments
from workrs.faults.load import Load, Sent, beads, beads_value, echo
from workrs.faults.net import Network
from workrs.faults.plan import SitePlan
from workrs.faults.row import Injection, Mark, RowError
from workrs.faults.trace import Lease, Recorder

T = TypeVar("T")
_POLL_S = 0.02


@dataclass(slots=True)
class Notes:
    """An injection while it goes on: marks, figures and notes are put here."""

    name: str
    trace: Recorder
    began_s: float
    ended_s: float = 0.0
    figures: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def mark(self, lane: str, kind: str, text: str = "", *, at_s: float | None = None) -> float:
        """Note something on the timeline, now or when it was; return when that is."""
        now_s = self.trace.mark(lane, kind, text)
        when_s = now_s if at_s is None else at_s
        self.marks.append(Mark(when_s, lane, kind, text))
        return when_s

    def figure(self, name: str, *values: float) -> None:
        """Add measured values, in seconds unless the name says otherwise."""
        self.figures.setdefault(name, []).extend(values)

    def note(self, text: str) -> None:
        """Add a sentence for the report."""
        self.notes.append(text)

    def done(self) -> Injection:
        """Return the injection as a value."""
        return Injection(
            name=self.name,
            began_s=self.began_s,
            ended_s=self.ended_s or self.trace.now_s,
            figures={name: tuple(values) for name, values in self.figures.items()},
            notes=tuple(self.notes),
            marks=tuple(self.marks),
        )


@dataclass(slots=True, kw_only=True)
class Site:
    """A running cluster for rows. Made by `open_site`; its methods raise RowError."""

    plan: SitePlan
    root: Path
    cluster: LocalCluster
    stage: Stage
    trace: Recorder
    rng: random.Random
    load: Load
    diary: Diary
    eyes: ContainerEyes
    net: Network | None = None
    patience: float = 1.0
    """Factor on every time limit of rows and waits; what must never happen is judged without."""
    _devices: dict[str, Device] = field(default_factory=dict)

    @property
    def timing(self) -> LeaseTiming:
        """The timings of nodes and agents."""
        return self.plan.timing

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes: n1, n2, …."""
        return self.cluster.node_names

    @property
    def agents(self) -> list[str]:
        """Names of the agents: a1, a2, …."""
        return [name for name in self.cluster.members if name not in self.cluster.addresses]

    @property
    def members(self) -> list[str]:
        """Names of all nodes and agents."""
        return list(self.cluster.members)

    @property
    def evidence(self) -> Path:
        """Where `beads` jobs of the process runtime write that they run, a file a job."""
        return self.root / "evidence"

    @contextmanager
    def injecting(self, name: str) -> Iterator[Notes]:
        """Collect one injection; `notes.done()` after the block is what a row returns."""
        notes = Notes(name, self.trace, self.trace.now_s)
        try:
            yield notes
        except RowError as error:
            error.injection = notes.done()
            raise
        notes.ended_s = self.trace.now_s

    def device(self, name: str, nodes: Sequence[str] | None = None) -> Device:
        """Return the device of this name, made at its first use; it lives with the site.

        Where members have hosts of their own, so has it.

        Args:
            name: Of the device.
            nodes: Names of nodes in the order to try them; None: all.
        """
        if name not in self._devices:
            hosts = [str(self.cluster.addresses[n]) for n in nodes or self.nodes]
            outbox = self.root / "outboxes" / f"{name}.db"
            outbox.parent.mkdir(exist_ok=True)
            with self.at(name):
                self._devices[name] = Device(name, hosts, outbox=outbox, insecure=True)
        return self._devices[name]

    def at(self, member: str) -> AbstractContextManager[None]:
        """Have the calling thread make its sockets on a member's machine, for a block."""
        return self.net.inside(member) if self.net is not None else nullcontext()

    def close_devices(self) -> None:
        """Disconnect all devices."""
        for device in self._devices.values():
            device.close()

    def start(self, member: str) -> float:
        """Start a member again; return when."""
        self.cluster.start(member)
        return self.trace.process(member, "start", self.cluster.members[member].pid)

    def kill(self, member: str) -> float:
        """SIGKILL a member, wait for its end; return when that was begun.

        The broker of a killed node dies with its daemon.
        """
        pid = self.cluster.members[member].pid
        begun_s = self.trace.now_s
        self.cluster.kill(member)
        # Noted when it is so: what outlives an agent is held against this time, and on a busy
        # machine the signal may come long after it was decided on. Figures count from before.
        self.trace.process(member, "kill", pid)
        return begun_s

    def stop(self, member: str) -> float:
        """SIGSTOP a member (a node's daemon, not its broker); return when."""
        self.cluster.kill(member, signal.SIGSTOP)
        return self.trace.process(member, "stop", self.cluster.members[member].pid)

    def resume(self, member: str) -> float:
        """SIGCONT a member; return when."""
        self.cluster.kill(member, signal.SIGCONT)
        return self.trace.process(member, "resume", self.cluster.members[member].pid)

    def stop_broker(self, node: str) -> float:
        """SIGSTOP a node's Mosquitto; return when."""
        pid = self.broker_pid(node)
        os.kill(pid, signal.SIGSTOP)
        return self.trace.process(f"broker {node}", "stop", pid)

    def resume_broker(self, node: str) -> float:
        """SIGCONT a node's Mosquitto; return when."""
        pid = self.broker_pid(node)
        os.kill(pid, signal.SIGCONT)
        return self.trace.process(f"broker {node}", "resume", pid)

    def kill_broker(self, node: str) -> float:
        """SIGKILL a node's Mosquitto; return when. Its daemon starts it again at once."""
        pid = self.broker_pid(node)
        at_s = self.trace.process(f"broker {node}", "kill", pid)
        os.kill(pid, signal.SIGKILL)
        return at_s

    def broker_pid(self, node: str) -> int:
        """Return the process id of a node's Mosquitto."""
        return self.until(f"a broker of {node}", lambda: _broker_pid(self.cluster, node), 10.0)

    def until(self, what: str, look: Callable[[], T | None], timeout_s: float = 30.0) -> T:
        """Return the first true value of *look*, polled; raise RowError with *what*."""
        timeout_s = self.allowed_s(timeout_s)
        deadline_s = self.trace.now_s + timeout_s
        never = threading.Event()
        while not (found := look()):
            if self.trace.now_s > deadline_s:
                raise RowError(f"waited {timeout_s:g} s in vain for {what}")
            never.wait(_POLL_S)
        return found

    def allowed_s(self, limit_s: float) -> float:
        """Return what a time limit is at this site."""
        return limit_s * self.patience

    def pause(self, seconds: float) -> None:
        """Let a fault last."""
        threading.Event().wait(seconds)

    def until_lease(self, job: str, *, above: int = 0, timeout_s: float = 30.0) -> Lease:
        """Wait until a majority shows a lease of the job (bus id) at an epoch above *above*."""

        def look() -> Lease | None:
            lease = self.trace.holder(job)
            return lease if lease is not None and lease.epoch > above else None

        return self.until(f"a lease of {job} above epoch {above}", look, timeout_s)

    def until_state(
        self, device: str, job: str, wanted: Callable[[Report], object], timeout_s: float = 30.0
    ) -> Report:
        """Wait until what a device hears of its job (local id) is as wanted."""
        it = self.device(device)

        def look() -> Report | None:
            report = it.state(job)
            return report if wanted(report) else None

        return self.until(f"a state of {device}'s job {job}", look, timeout_s)

    def until_healthy(self, timeout_s: float = 30.0) -> float:
        """Wait until all members run and every node sees every node and agent; return when."""
        ill = ""

        def look() -> bool:
            nonlocal ill
            ill = ailments(self.cluster, self.trace, self.timing)
            return not ill

        try:
            self.until("health", look, timeout_s)
        except RowError as error:
            raise RowError(f"{error.why}: {ill}") from None
        return self.trace.now_s

    def send_beads(
        self, device: str, *, run_s: float, interval_s: float = 1.0, strict: bool = False
    ) -> Sent:
        """Submit a job of `run_s` that is watched to its end, as those of the load are."""
        steps, seed = int(run_s * 10), f"{device} {self.trace.now_s}"
        spec = beads(steps=steps, seed=seed, interval_s=interval_s, strict=strict)
        value = beads_value(steps=steps, seed=seed)
        return self.load.send(device, self.device(device), spec, value, run_s)

    def send_echo(self, device: str) -> Sent:
        """Submit a job that ends at once, watched as those of the load are."""
        text = f"{device} {self.trace.now_s}"
        return self.load.send(device, self.device(device), echo(text), text.encode(), 0.0)

    def until_ended(self, jobs: Sequence[Sent], timeout_s: float) -> None:
        """Wait until the jobs' device heard of their ends."""
        for sent in jobs:
            self.until(f"the end of {sent.bus_id}", lambda it=sent: it.ended_s, timeout_s)  # type: ignore[misc]

    def until_running(self, jobs: Sequence[Sent], timeout_s: float = 20.0) -> None:
        """Wait until the jobs' programs say that they make progress."""
        for sent in jobs:
            device = self.device(sent.device)
            self.until(
                f"progress of {sent.bus_id}",
                lambda it=sent, at=device: at.state(it.job).progress,  # type: ignore[misc]
                timeout_s,
            )

    def until_seen(self, job: str, *, above: int, timeout_s: float = 30.0) -> float:
        """Wait until a program of the job (bus id) above an epoch runs; return since when."""

        def look() -> float | None:
            runs = [*read_testimony(self.evidence, self.trace.zero_s, job), *self.eyes.runs()]
            seen = [r.first_s for r in runs if r.key.job == job and r.key.epoch > above]
            return min(seen, default=None)

        return self.until(f"a program of {job} above epoch {above}", look, timeout_s)

    def until_checkpointed(
        self, jobs: Sequence[Sent], *, count: int = 1, timeout_s: float = 30.0
    ) -> None:
        """Wait until a majority's records name the *count*-th checkpoint of each job's epoch."""

        def kept(job: str) -> bool:
            ref = self.trace.kept_checkpoint(job)
            return ref is not None and ref.seq >= count

        for sent in jobs:
            job = sent.bus_id
            self.until(f"checkpoint {count} of {job}", lambda it=job: kept(it), timeout_s)  # type: ignore[misc]


def _broker_pid(cluster: LocalCluster, node: str) -> int:
    try:
        return cluster.broker_pid(node)
    except (OSError, WorkrsError):
        return 0
