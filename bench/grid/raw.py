"""The raw results: a file of JSON lines, the plan first, then a run each, in order of their ends.

A line is on disk before the next run counts, so a bench that was cut off goes on behind the
last whole line.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bench.grid.cell import WORK_S, Cell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all runs of a file have in common."""

    scale: float
    """How many times faster than the published experiment all goes."""
    cut_works: float
    """Runs are cut off after this many times the useful work."""
    side_by_side: int
    spares: int
    """Agents more than jobs."""
    memory_mib: int
    """Of each job, besides the interpreter's."""

    @property
    def work_s(self) -> float:
        """Return the useful work of a job."""
        return WORK_S / self.scale

    @property
    def cut_s(self) -> float:
        """Return when runs are cut off."""
        return self.cut_works * self.work_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What followed one kill."""

    detect_s: float
    """To the won claim of the next agent that did not lose it again before it ran or was killed."""
    restore_s: float | None
    """From there to the running program; None: that agent was killed as well."""
    restored: bool | None
    """From a checkpoint, or from the start."""


@dataclass(slots=True, kw_only=True)
class RunFacts:
    """What was seen of one run. Times in seconds."""

    state: str = ""
    """ended, cut, wrong (the program's count is not what it should be), or failed."""
    took_s: float = 0.0
    kills: int = 0
    idle_faults: int = 0
    """Faults that came while no agent held the job."""
    hit_checkpoints: int = 0
    """Kills while a checkpoint was dumped or stored."""
    hit_restores: int = 0
    """Kills between a claim and the running program."""
    kept: int = 0
    """Checkpoints that a majority accepted, those repeated after a kill included."""
    recoveries: list[Recovery] = field(default_factory=list)
    stood_s: list[float] = field(default_factory=list)
    """What each checkpoint cost, as the program saw it."""
    frozen_s: list[float] = field(default_factory=list)
    """The same as agents saw it, of all runs of the program."""
    upload_s: list[float] = field(default_factory=list)
    exited_s: float = 0.0
    end_s: float = 0.0
    """From the program's end to the outcome at the device."""
    trouble: list[str] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A run that has ended."""

    cell: Cell
    seed: int
    facts: RunFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One time that the bench played."""

    took_s: float
    busy: float
    """Share of this machine's cores that was used, by whomever."""
    runs: int


class RawFile:
    """The file of a bench's results."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add_session(self, session: Session) -> None:
        """Put on disk how long the bench played and how busy the machine was."""
        self._append({"session": asdict(session)})

    def sessions(self) -> list[Session]:
        """Return the sessions that came to their end, or to an orderly stop."""
        lines = map(json.loads, self._whole().splitlines())
        return [Session(**line["session"]) for line in lines if "session" in line]

    def begin(self, plan: Plan, *, resume: bool) -> list[Done]:
        """Return what is there; begin a new file unless *resume*.

        Raises:
            SystemExit: it is there and of another plan, or nobody said what to do with it.
        """
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"plan": asdict(plan)})
            return []
        if not resume:
            raise SystemExit(f"{self._path} is there: --resume goes on with it, or remove it")
        found_plan, found = self.read()
        if found_plan != plan:
            raise SystemExit(f"{self._path} is of another plan: {found_plan}")
        return found

    def read(self) -> tuple[Plan, list[Done]]:
        """Return the plan, and all runs on whole lines."""
        first, *lines = map(json.loads, self._whole().splitlines())
        return Plan(**first["plan"]), [_done(line) for line in lines if "session" not in line]

    def _whole(self) -> str:
        """Return all whole lines, and drop what is behind them."""
        text = self._path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if len(whole) < len(text):
            with self._path.open("r+") as file:
                file.truncate(len(whole.encode()))
        return whole

    def add(self, done: Done) -> None:
        """Put a run on disk."""
        self._append(
            {
                "rate": done.cell.rate,
                "checkpoints": done.cell.checkpoints,
                "seed": done.seed,
                **asdict(done.facts),
            }
        )

    def _append(self, line: dict[str, object]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _done(line: dict[str, object]) -> Done:
    rate, checkpoints, seed = line.pop("rate"), line.pop("checkpoints"), line.pop("seed")
    facts = RunFacts(**line)  # type: ignore[arg-type]
    facts.recoveries = [Recovery(**r) for r in line["recoveries"]]  # type: ignore[attr-defined]
    cell = Cell(rate=rate, checkpoints=checkpoints)  # type: ignore[arg-type]
    return Done(cell=cell, seed=seed, facts=facts)  # type: ignore[arg-type]


def ended(found: Sequence[Done]) -> set[tuple[Cell, int]]:
    """Return which runs need not be played again."""
    return {(d.cell, d.seed) for d in found if d.facts.state in {"ended", "cut"}}
