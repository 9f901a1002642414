"""Plays rows: opens the sites they want, injects, looks whether all is whole and true again."""

import gzip
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from workrs.cli.leftover import unmount_below, wait_clean
from workrs.domain.errors import WorkrsError
from workrs.faults.judge import Judge
from workrs.faults.opening import open_site
from workrs.faults.plan import SitePlan
from workrs.faults.programs import lingering
from workrs.faults.row import Injection, Row, RowError
from workrs.faults.site import Site
from workrs.faults.timeline import Timeline, timeline

Say = Callable[[str], None]
HEALING_S: Final = 45.0
ACCEPTED_S: Final = 15.0
CLEAN_S: Final = 5.0
"""A warden kills its agent's programs within 1 s of its end."""
PER_SITE: Final = 100
SITE: Final = "site"
"""Stands for a row's name where what went wrong is no single injection's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of one injection."""

    row: str
    number: int
    """Of this row, from 1."""
    injection: Injection | None
    """None when it was broken off."""
    faults: tuple[str, ...] = ()
    """What went wrong: the row's condition, the recovery, or an invariant."""
    site: str = ""
    """Name of the folder with the site's trace and logs."""
    picture: Timeline | None = None

    @property
    def passed(self) -> bool:
        """Return whether all was as it must be."""
        return not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A row and how often to inject it."""

    row: Row
    times: int
    minutes: float = 0.0
    """Instead of `times`: as often as fits."""


@dataclass(slots=True, kw_only=True)
class Player:
    """Plays turns, site by site."""

    root: Path
    """Folder for the sites: traces and logs stay there."""
    seed: int
    patience: float = 1.0
    """Factor on the time limits, for machines with other things to do."""
    say: Say = lambda _text: None
    _sites: int = 0

    def play(self, turns: Sequence[Turn]) -> Iterator[Played]:
        """Yield what became of every injection, as it is known."""
        plans: list[SitePlan] = []
        for turn in turns:
            if turn.row.plan not in plans:
                plans.append(turn.row.plan)
        for plan in plans:
            of_plan = [turn for turn in turns if turn.row.plan == plan]
            left = [
                (turn.row, n + 1) for turn in of_plan if not turn.minutes for n in range(turn.times)
            ]
            while left:
                yield from self._play_site(plan, left)
        for turn in turns:
            if turn.minutes:
                yield from self._play_minutes(turn)

    def _play_minutes(self, turn: Turn) -> Iterator[Played]:
        """Play a row again and again; a new site every so often, so that starts are tried too."""
        end_s = time.monotonic() + turn.minutes * 60
        number = 0
        while time.monotonic() < end_s:
            left = [(turn.row, number + n + 1) for n in range(PER_SITE)]
            for played in self._play_site(turn.row.plan, left, end_s):
                number = max(number, played.number)
                yield played

    def _play_site(
        self, plan: SitePlan, left: list[tuple[Row, int]], end_s: float = math.inf
    ) -> Iterator[Played]:
        """Play from *left*, taking off what was played, until it is empty or the site broken."""
        self._sites += 1
        name = f"site-{self._sites}"
        # Jobs write their testimony from folders of their own, and mounts have whole names.
        root = (self.root / name).resolve()
        unmount_below(root)  # what a run that was killed left there
        shutil.rmtree(root, ignore_errors=True)
        with ExitStack() as stack:
            seed = self.seed + self._sites
            opened = open_site(plan, root, seed=seed, patience=self.patience, say=self.say)
            try:
                site = stack.enter_context(opened)
            except WorkrsError as error:
                left.clear()
                faults = (f"the site did not start: {error}",)
                yield Played(row=SITE, number=0, injection=None, faults=faults, site=name)
                return
            judge = Judge(site)
            whole = passed = True
            while left and whole and time.monotonic() < end_s:
                played, whole = _inject(site, judge, *left.pop(0))
                passed = passed and played.passed
                yield replace(played, site=name)
            last = judge.finish() if whole else ()
        last += tuple(f"L4 left behind: {what}" for what in _left_behind(root))
        if last:
            yield Played(row=SITE, number=0, injection=None, faults=last, site=name)
        elif passed:
            _tidy(root)


def _left_behind(root: Path) -> Iterator[str]:
    """Yield what an ended site left: mounts, and processes that name its folder or stand in it."""
    yield from wait_clean(root, timeout_s=CLEAN_S)
    yield from (f"process {pid}, in a folder of the site" for pid in lingering(root, CLEAN_S))


def _tidy(root: Path) -> None:
    """Keep logs and trace of a site at which nothing failed, and these small."""
    trace = root / "trace.jsonl"
    with trace.open("rb") as plain, gzip.open(f"{trace}.gz", "wb", compresslevel=3) as packed:
        shutil.copyfileobj(plain, packed)
    trace.unlink()
    (root / "cluster" / "logs").rename(root / "logs")
    for folder in ("cluster", "evidence", "outboxes", "stage"):
        shutil.rmtree(root / folder, ignore_errors=True)


def _inject(site: Site, judge: Judge, row: Row, number: int) -> tuple[Played, bool]:
    """Inject once; return what became of it, and whether the site can be used again."""
    faults: list[str] = []
    injection: Injection | None = None
    began_s = site.trace.now_s
    try:
        injection = row.inject(site)
    except RowError as error:
        faults.append(error.why)
        injection = error.injection
    except (WorkrsError, OSError, subprocess.SubprocessError) as error:
        faults.append(f"the injection broke off: {error}")
    if faults:
        mend(site)
    whole = True
    healing_s = site.trace.now_s
    try:
        healed_s = site.until_healthy(HEALING_S) - healing_s
    except RowError as error:
        faults.append(error.why)
        whole = False
        healed_s = site.trace.now_s - healing_s
    accepted = _accepted(site, began_s)
    if injection is not None:
        accepted = (*injection.figures.get("accepted", ()), *accepted)
        figures = {**injection.figures, "healthy": (healed_s,), "accepted": accepted}
        injection = replace(
            injection,
            figures={k: tuple(v) for k, v in figures.items() if v},
            notes=(*injection.notes, f"load average {os.getloadavg()[0]:.1f}"),
        )
    faults += judge.look()
    seen = injection or Injection(name=row.name, began_s=began_s, ended_s=site.trace.now_s)
    picture = timeline(site, seen, judge.runs())
    judge.settle()
    played = Played(
        row=row.name,
        number=number,
        injection=injection,
        faults=tuple(faults),
        picture=picture,
    )
    return played, whole


def _accepted(site: Site, since_s: float) -> tuple[float, ...]:
    """Return how long the jobs sent since then waited to be accepted."""
    until_s = site.trace.now_s

    def all_accepted() -> bool:
        open_jobs = site.load.open_jobs()
        return all(s.accepted_s is not None for s in open_jobs if s.sent_s < until_s)

    with suppress(RowError):  # then what was waited so far is the figure
        site.until("accepted", all_accepted, ACCEPTED_S)
    return tuple(site.load.accepted_between(since_s, until_s))


def mend(site: Site) -> None:
    """Undo whatever a row that broke off left: cuts, stopped and dead members."""
    if site.net is not None:
        site.net.heal()
    for name in site.members:
        member = site.cluster.members[name]
        if member.is_running():
            site.resume(name)
            if name in site.nodes:
                with suppress(RowError):
                    site.resume_broker(name)
        else:
            site.start(name)
