"""The acts of the demo: send, kill an agent, kill a broker, collect."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from device_client import Device, Report, Result
from workrs.cli.cluster import LocalCluster, wait_ready
from workrs.cli.demo_audit import Audit
from workrs.cli.demo_jobs import LONG, TWIN, DemoJob
from workrs.cli.demo_screen import DemoScreen
from workrs.cli.stage import Stage
from workrs.domain.errors import WorkrsError

DEVICE = "pump-7"
WAIT_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the demo found. The JSON has these keys."""

    jobs: int
    lost: int
    doubled: int
    takeover_s: float
    """From the kill to the job's container running on another agent."""
    repeated_work_s: float
    """Work done after the last checkpoint before the kill, done again."""
    identical: bool
    """Whether the interrupted job's result is the undisturbed one's, byte for byte."""
    rung: str
    setup_s: float
    total_s: float

    @property
    def kept_promises(self) -> bool:
        """Return whether nothing was lost, doubled or different."""
        return self.lost == 0 and self.doubled == 0 and self.identical

    def line(self) -> str:
        """Return the last line of the demo."""
        same = "results identical" if self.identical else "RESULTS DIFFER"
        return (
            f"{self.jobs} jobs, {self.lost} lost, {self.doubled} doubled, takeover "
            f"{self.takeover_s:.2f} s, work repeated {self.repeated_work_s:.2f} s, {same} "
            f"(rung {self.rung}, {self.total_s:.1f} s in all)"
        )


class Play:
    """One device, its jobs, and what happens to them."""

    def __init__(
        self, screen: DemoScreen, cluster: LocalCluster, found: Stage, outbox: Path
    ) -> None:
        self._screen = screen
        self._cluster = cluster
        self._stage = found
        self._outbox = outbox
        self._stack = ExitStack()
        self._jobs: list[str] = []
        self._sent_at = 0.0
        self._killed = ""
        self._takeover_s = 0.0
        self._repeated = 0.0
        self._long_s = 0.0

    def __enter__(self) -> Self:
        """Connect the device."""
        from workrs.cli.container_watch import ContainerWatch  # noqa: PLC0415 (Docker's SDK)

        self._device = self._stack.enter_context(
            Device(DEVICE, nodes=self._cluster.hosts, outbox=self._outbox)
        )
        self._watch = self._stack.enter_context(ContainerWatch(self._stage.engines))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect the device."""
        self._stack.close()

    def send(self, jobs: Sequence[DemoJob]) -> None:
        """Publish all jobs and wait until each is on a majority's disks."""
        self._screen.act(f"2  The device {DEVICE} publishes {len(jobs)} jobs")
        self._sent_at = time.monotonic()
        for job in jobs:
            if job.data is not None:
                self._device.run(job.function, job.data, job=job.name)
            else:
                self._device.submit({**job.spec, "function": job.function}, job=job.name)
            self._jobs.append(job.name)
            self._screen.say(f"{job.name:<18}{job.about}")
        self._until("all jobs accepted", lambda: all(self._accepted(j) for j in self._jobs))
        took_s = time.monotonic() - self._sent_at
        self._screen.good(f"all accepted: on the disks of a majority of nodes, {took_s:.2f} s")

    def kill_agent(self) -> None:
        """SIGKILL the agent that runs the long job; wait for its container elsewhere."""
        self._screen.act("3  An agent dies in the middle of a job")
        self._until("a checkpoint of the long job", self._half_done)
        report = self._report(LONG)
        assert report.agent is not None
        checkpoint = report.checkpoint or {}
        self._screen.say(
            f"{report.agent} runs {LONG}, {_percent(report.progress)} done; newest checkpoint at "
            f"{_percent(checkpoint.get('progress'))}, {_size(checkpoint.get('bytes'))}"
        )
        killed_at = time.monotonic()
        self._killed = report.agent
        self._cluster.kill(report.agent, signal.SIGKILL)
        self._screen.bad(f"SIGKILL to {report.agent}")
        back = self._wait_elsewhere(report)
        self._takeover_s = back[0] - killed_at
        # The newest of the old epoch is what was restored; it may be newer than the one told.
        now = self._report(LONG).checkpoint or {}
        used = now if now.get("epoch") == report.epoch else checkpoint
        done = report.progress or 0.0
        self._repeated = max(0.0, done - float(used.get("progress") or 0.0))
        what = "memory and files" if self._stage.rung.value == "memory" else "files"
        self._screen.good(
            f"{back[1]} runs it again, {what} restored, {self._takeover_s:.2f} s after the kill"
        )

    def _wait_elsewhere(self, before: Report) -> tuple[float, str]:
        """Return when and by which agent the job runs again."""
        if self._stage.engines:
            found = self._watch.wait_above(f"{DEVICE}_{LONG}", before.epoch or 0, WAIT_S)
            if found is None:
                raise WorkrsError(f"no other agent ran {LONG} within {WAIT_S:g} s")
            return found.at, found.agent

        def moved() -> bool:
            now = self._report(LONG)
            restored_from = (now.checkpoint or {}).get("progress")
            return now.agent != before.agent and now.progress not in (None, restored_from)

        self._until("another agent's progress", moved)
        return time.monotonic(), self._report(LONG).agent or ""

    def kill_broker(self) -> None:
        """SIGKILL the broker that the device is connected to."""
        self._screen.act("4  A broker dies")
        host = self._device.node or self._cluster.hosts[0]
        node = self._cluster.node_names[self._cluster.hosts.index(host)]
        os.kill(self._cluster.broker_pid(node), signal.SIGKILL)
        killed_at = time.monotonic()
        self._screen.bad(f"SIGKILL to the broker of {node}, where the device was connected")
        self._until("the device at another node", lambda: self._device.node not in (None, host))
        took_s = time.monotonic() - killed_at
        self._screen.good(f"the device is at {self._device.node} {took_s:.2f} s later")

    def revive_agent(self) -> None:
        """Start the killed agent again: a new incarnation, which removes what is left."""
        self._screen.act("5  The dead agent comes back")
        self._cluster.start(self._killed)
        asyncio.run(wait_ready(self._cluster))
        self._screen.good(
            f"{self._killed} is a new incarnation: it adopts nothing and has removed what its "
            "former self left"
        )

    def collect(self, jobs: Sequence[DemoJob]) -> dict[str, Result]:
        """Wait for every job's one result."""
        self._until("all results", lambda: all(self._is_final(j) for j in self._jobs))
        self._screen.clear()
        results = {}
        for job in jobs:
            results[job.name] = result = self._device.result(job.name, timeout=WAIT_S)
            tail = f", attempt {result.attempt}" if (result.attempt or 1) > 1 else ""
            self._screen.good(f"{job.name:<18}{result.text.strip()[:70]}{tail}")
        same = results[LONG].value == results[TWIN].value
        tell = self._screen.good if same else self._screen.bad
        tell("the interrupted job's result is the undisturbed one's, byte for byte: " + str(same))
        return results

    def summary(self, results: dict[str, Result], books: Audit, *, setup_s: float) -> Summary:
        """Return what was found."""
        return Summary(
            jobs=len(self._jobs),
            lost=books.lost + len(self._jobs) - len(results),
            doubled=books.doubled,
            takeover_s=round(self._takeover_s, 3),
            repeated_work_s=round(self._repeated * self._long_s, 3),
            identical=results[LONG].value == results[TWIN].value,
            rung=self._stage.rung.value,
            setup_s=round(setup_s, 3),
            total_s=round(self._screen.elapsed_s, 3),
        )

    def _report(self, job: str) -> Report:
        return self._device.state(job)

    def _accepted(self, job: str) -> bool:
        return self._report(job).state.value != "kept"

    def _is_final(self, job: str) -> bool:
        is_final = self._report(job).state.is_final
        if is_final and job == TWIN and not self._long_s:
            self._long_s = time.monotonic() - self._sent_at
        return is_final

    def _half_done(self) -> bool:
        report = self._report(LONG)
        checkpoint = report.checkpoint or {}
        return (report.progress or 0.0) > 0.4 and (checkpoint.get("progress") or 0.0) > 0.1

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for *condition*, showing the jobs' progress meanwhile."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > deadline:
                raise WorkrsError(f"waited {WAIT_S:g} s in vain for: {what}")
            for job in self._jobs:
                report = self._report(job)
                done = 1.0 if report.state.is_final else report.progress or 0.0
                where = f" on {report.agent}" if report.agent else ""
                self._screen.progress(job, done, f"{report.state.value}{where}")
            time.sleep(POLL_S)  # noqa: TID251 (a person watches)


def _percent(fraction: object) -> str:
    return f"{fraction:.0%}" if isinstance(fraction, float | int) else "an unknown part"


def _size(count: object) -> str:
    return f"{count / 2**20:.1f} MiB" if isinstance(count, int) else "of unknown size"
