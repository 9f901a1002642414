"""What happened around one injection, as lanes of bars and marks: the data of its picture."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from workrs.faults.evidence import Run
from workrs.faults.row import Injection, Mark
from workrs.faults.site import Site
from workrs.faults.trace import Lease

BEFORE_S: Final = 1.0
JOBS_MAX: Final = 8
GAP_S: Final = 0.5
"""A program that shows nothing for longer stands still: several of its steps."""
_OPENS: Final = {"kill": "down", "stop": "stopped", "down": "unreachable"}
_CLOSES: Final = {"start", "resume", "up"}


class Bar(NamedTuple):
    """Something that lasted."""

    lane: str
    from_s: float
    to_s: float
    kind: str
    """down, stopped, unreachable, lease or running."""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One injection's picture."""

    title: str
    from_s: float
    to_s: float
    fault_s: float
    lanes: tuple[str, ...]
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]


def timeline(site: Site, injection: Injection, runs: Iterable[Run]) -> Timeline:
    """Return what happened from a moment before the injection until now."""
    from_s, to_s = injection.began_s - BEFORE_S, site.trace.now_s
    events = site.trace.events
    bars = list(_absences(events, to_s))
    marks = list(injection.marks)
    marks += [mark for mark in events if mark.kind == "will"]
    jobs = _jobs_of_interest(site, injection)
    for job in jobs:
        leases = site.trace.leases(job)
        ended_s = _decided_s(site, job)
        bars += _lease_bars(job, leases, to_s if ended_s is None else ended_s)
        marks += [Mark(at.at_s, job, "grant", f"{at.agent} epoch {at.epoch}") for at in leases]
        if ended_s is not None:
            marks.append(Mark(ended_s, job, "outcome"))
    for run in runs:
        if run.key.job in jobs:
            bars += _run_bars(run)
    brokers = [f"broker {node}" for node in site.nodes]
    return Timeline(
        title=injection.name,
        from_s=from_s,
        to_s=to_s,
        fault_s=next((m.at_s for m in injection.marks if m.kind == "fault"), injection.began_s),
        lanes=(*site.nodes, *brokers, *site.agents, *jobs),
        bars=tuple(b for b in bars if b.to_s > from_s and b.from_s < to_s),
        marks=tuple(m for m in marks if from_s <= m.at_s <= to_s),
    )


def _absences(events: Sequence[Mark], until_s: float) -> Iterator[Bar]:
    """Yield when members were dead, stopped or out of reach, from pairs of events."""
    begun: dict[tuple[str, bool], tuple[float, str]] = {}
    for mark in events:
        key = (mark.lane, mark.kind in {"up", "down"})
        if mark.kind in _OPENS:
            begun.setdefault(key, (mark.at_s, _OPENS[mark.kind]))
        elif mark.kind in _CLOSES and key in begun:
            at_s, kind = begun.pop(key)
            yield Bar(mark.lane, at_s, mark.at_s, kind)
    for (lane, is_link), (at_s, kind) in begun.items():
        # A killed broker is started by its daemon, of which only the link tells.
        if is_link or not lane.startswith("broker "):
            yield Bar(lane, at_s, until_s, kind)


def _run_bars(run: Run) -> Iterator[Bar]:
    """Yield when a program ran, with gaps where nothing was seen of it for long."""
    from_s = before_s = run.first_s
    for at_s in (*run.seen_s, math.inf):
        if at_s - before_s > GAP_S:
            yield Bar(run.key.job, from_s, before_s, "running", run.key.agent)
            from_s = at_s
        before_s = at_s


def _jobs_of_interest(site: Site, injection: Injection) -> tuple[str, ...]:
    """Return the jobs that moved, then those that were open longest; a few."""
    spans = []
    for job in site.trace.jobs():
        leases = site.trace.leases(job)
        if leases and (_decided_s(site, job) or site.trace.now_s) > injection.began_s:
            moved = any(lease.at_s > injection.began_s for lease in leases[1:])
            spans.append((not moved, leases[0].at_s, job))
    return tuple(job for _, _, job in sorted(spans)[:JOBS_MAX])


def _decided_s(site: Site, job: str) -> float | None:
    return next((s.at_s for s in site.trace.history(job) if s.record.decided is not None), None)


def _lease_bars(job: str, leases: Sequence[Lease], end_s: float) -> Iterator[Bar]:
    ends = [*(lease.at_s for lease in leases[1:]), end_s]
    for lease, to_s in zip(leases, ends, strict=True):
        yield Bar(job, lease.at_s, to_s, "lease", lease.agent)
