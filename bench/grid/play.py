"""Plays the runs: a job each, with the faults of its seed, a dozen side by side.

A run's time goes from the first start of its program to the word of its outcome at the device,
whatever agents were killed meanwhile; or to the cut-off, where the job is cancelled. One thread
does all of it, TURN_S apart: start what there is room for, read logs, kill what is due.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.grid import job
from bench.grid.cell import Cell, fault_times
from bench.grid.raw import Recovery, RunFacts
from device_client import Report, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.grid.field import Field
    from bench.grid.raw import Plan
    from workrs.faults.diary import Entry

TURN_S = 0.02
READ_S = 0.1
"""How often the logs are read, which takes a few milliseconds."""
START_MAX_S = 120.0
STUCK_S = 120.0
"""A run that is not started in that time, or not ended so long after its cut-off, has failed."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One run while it goes on."""

    cell: Cell
    seed: int
    job: str
    sent_s: float
    faults: list[float]
    """Seconds after its start, those to come."""
    started_s: float | None = None
    cut_s: float | None = None
    killed: dict[int, float] = field(default_factory=dict)
    """Epochs whose agent was killed, and when."""
    won: dict[int, float] = field(default_factory=dict)
    ran: dict[int, Entry] = field(default_factory=dict)
    """Epochs at which the program ran: the log's line of its start."""
    facts: RunFacts = field(default_factory=RunFacts)

    def note(self, entry: Entry) -> None:
        """Take a line of a log about this job."""
        match entry.key:
            case "lease_won":
                self.won[entry.number("epoch")] = entry.at_s
            case "job_started" | "restored":
                self.ran[entry.number("epoch")] = entry
                if self.started_s is None:
                    self.started_s = entry.at_s
            case "checkpoint_taken":
                self.facts.frozen_s.append(float(entry.facts["frozen_s"]))
                self.facts.upload_s.append(float(entry.facts["upload_s"]))
            case "checkpoint_kept":
                self.facts.kept += 1
            case "checkpoint_failed" | "start_failed":
                self.facts.trouble.append(entry.line[:300])
            case "job_exited":
                self.facts.exited_s = entry.at_s

    def recoveries(self) -> Iterator[Recovery]:
        """Yield what followed each kill, as far as the logs show it."""
        for epoch, killed_s in self.killed.items():
            later = [e for e in self.won if e > epoch]
            if not later:
                continue
            # A bid that failed is part of finding the next agent.
            ran = [e for e in self.ran if e > epoch]
            until = min([e for e in self.killed if e > epoch], default=max(later))
            last = min(ran, default=until)
            if last > until or last not in self.won:
                last = until
            won_s = self.won.get(last)
            if won_s is None:
                continue
            began = self.ran.get(last)
            yield Recovery(
                detect_s=round(won_s - killed_s, 3),
                restore_s=round(began.at_s - won_s, 3) if began else None,
                restored=began.key == "restored" if began else None,
            )


class Player:
    """Plays runs on a field."""

    def __init__(self, field: Field, plan: Plan, on_end: Callable[[Run], None]) -> None:
        self._field = field
        self._plan = plan
        self._on_end = on_end
        self._runs: dict[str, Run] = {}
        self._read_s = 0.0

    def play(self, queue: Sequence[tuple[Cell, int]], on_turn: Callable[[], None]) -> None:
        """Play all of *queue* in its order."""
        waiting = list(reversed(queue))
        while waiting or self._runs:
            while waiting and len(self._runs) < self._plan.side_by_side:
                self._begin(*waiting.pop())
            self._read()
            for run in list(self._runs.values()):
                self._strike(run)
                self._look(run)
            on_turn()
            time.sleep(TURN_S)  # noqa: TID251 (the pace of an observer)

    @property
    def running(self) -> dict[tuple[Cell, int], float]:
        """Return the runs that go on, and for how long."""
        now_s = self._field.now_s
        return {(run.cell, run.seed): now_s - run.sent_s for run in self._runs.values()}

    def _begin(self, cell: Cell, seed: int) -> None:
        plan, name = self._plan, f"{cell.name}-s{seed}"
        spec = job.spec(
            image=self._field.image,
            work_s=plan.work_s,
            checkpoints=cell.checkpoints,
            memory_mib=plan.memory_mib,
            until_s=plan.cut_s,
        )
        faults = fault_times(seed, rate=cell.rate * plan.scale, until_s=plan.cut_s)
        run = Run(cell=cell, seed=seed, job=name, sent_s=self._field.now_s, faults=faults)
        self._field.device.submit(spec, job=name)
        self._runs[name] = run

    def _read(self) -> None:
        if self._field.now_s < self._read_s:
            return
        for entry in self._field.tend():
            run = self._runs.get(entry.facts.get("job", "").partition("_")[2])
            if run is not None:
                run.note(entry)
        self._read_s = self._field.now_s + READ_S

    def _strike(self, run: Run) -> None:
        """Kill the run's agent if a fault is due and somebody has the job."""
        if run.started_s is None or run.cut_s is not None:
            return
        while run.faults and run.started_s + run.faults[0] <= self._field.now_s:
            run.faults.pop(0)
            lease = self._field.holder(run.job)
            if lease is None or lease.epoch in run.killed or not self._field.is_up(lease.agent):
                run.facts.idle_faults += 1
                continue
            run.facts.hit_checkpoints += self._field.saves(lease.agent)
            run.killed[lease.epoch] = self._field.kill(lease.agent)
            run.facts.hit_restores += lease.epoch not in run.ran

    def _look(self, run: Run) -> None:
        now_s = self._field.now_s
        report = self._field.device.state(run.job)
        began_s = run.started_s
        if report.state.is_final:
            self._end(run, report)
        elif began_s is None:
            if now_s > run.sent_s + START_MAX_S:
                self._give_up(run, "it was not started")
        elif run.cut_s is None and now_s >= began_s + self._plan.cut_s:
            run.cut_s = now_s
            self._field.device.cancel(run.job)
        elif now_s > began_s + self._plan.cut_s + STUCK_S:
            self._give_up(run, "it did not end")

    def _give_up(self, run: Run, reason: str) -> None:
        self._field.device.cancel(run.job)
        run.facts.state, run.facts.reason = "stuck", reason
        self._leave(run)

    def _end(self, run: Run, report: Report) -> None:
        now_s = self._field.now_s
        self._read_s = 0.0  # what the logs say of its end is there by now
        self._read()
        facts = run.facts
        began_s = run.started_s if run.started_s is not None else now_s
        facts.took_s = round(min(now_s - began_s, self._plan.cut_s), 3)
        facts.kills = len(run.killed)
        facts.recoveries = list(run.recoveries())
        if report.state is State.SUCCEEDED:
            told = job.read(report.value or b"", work_s=self._plan.work_s)
            facts.state = "ended" if told.complete else "wrong"
            facts.stood_s = told.stood_s
            facts.end_s = round(now_s - facts.exited_s, 3) if facts.exited_s else 0.0
        elif run.cut_s is not None:
            facts.state, facts.took_s = "cut", self._plan.cut_s
        else:
            facts.state, facts.reason = str(report.state), report.reason[:300]
        self._leave(run)

    def _leave(self, run: Run) -> None:
        del self._runs[run.job]
        self._field.forget(run.job)
        self._on_end(run)
