"""Medians, ratios, verdicts and tables."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FROZEN_FACTOR = 1.3
RESTORE_FACTOR = 1.5
DOCKER_FACTOR = 10.0
SENT_SHARE = 0.08
MEMORY_MIB = 200.0
CORES = 1.0
USE_INSTEAD_FACTOR = 2.0
_TIMES = ("first_s", "second_s", "third_s", "restore_s")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What was measured in several rounds, in seconds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.3f} ({min(self.values):.3f} to {max(self.values):.3f})"


Figures = dict[str, Series]
"""By name, as `runc: checkpoint`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One thing that was promised, and what was measured of it."""

    name: str
    value: float
    limit: float
    at_most: bool = True

    @property
    def holds(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        verdict = "pass" if self.holds else "FAIL"
        return f"{verdict}  {self.name}: {self.value:.2f} {sign} {self.limit:g}"

    def as_json(self) -> dict[str, float | bool | str]:
        return {
            "name": self.name,
            "value": self.value,
            "limit": self.limit,
            "holds": self.holds,
        }


def collect(rounds: Sequence[Mapping[str, float]]) -> Figures:
    """Put the rounds together. A figure that a round lacks has fewer values."""
    names = dict.fromkeys(name for one in rounds for name in one)
    return {
        name: Series(values=tuple(one[name] for one in rounds if name in one)) for name in names
    }


def speed_bounds(figures: Figures, *, mib: int) -> list[Bound]:
    """Return the bounds on freezing and restoring that these figures allow to judge.

    Each is the median of the rounds' ratios: on a busy machine rounds differ more than what is
    measured side by side within one.
    """

    def ratio(ours: str, theirs: str, *, factor: float = 1.0, plus: str = "") -> float:
        above = figures[ours].values
        base = [factor * value for value in figures[theirs].values]
        if plus:
            base = [x + y for x, y in zip(base, figures[plus].values, strict=True)]
        return statistics.median(x / y for x, y in zip(above, base, strict=True))

    bounds = [
        Bound(
            name=f"{mib} MiB: frozen, as its cgroup says, by one `runc checkpoint`",
            value=ratio("workrs: frozen", "runc: checkpoint"),
            limit=FROZEN_FACTOR,
        ),
        Bound(
            name=f"{mib} MiB: stood still by its own clock, by the same of raw runc",
            value=ratio("workrs: stood still", "runc: stood still"),
            limit=FROZEN_FACTOR,
        ),
        Bound(
            name=f"{mib} MiB: restore, by an empty `docker run` and 1.5 `runc restore`",
            value=ratio(
                "workrs: restore",
                "runc: restore",
                factor=RESTORE_FACTOR,
                plus="docker: run of an empty one",
            ),
            limit=1.0,
        ),
    ]
    if mib >= 1024:
        for name, theirs, ours in (
            ("`docker checkpoint create`, by frozen", "docker: checkpoint", "workrs: frozen"),
            ("`docker start --checkpoint`, by restore", "docker: restore", "workrs: restore"),
        ):
            value = ratio(theirs, ours)
            bounds.append(
                Bound(name=f"{mib} MiB: {name}", value=value, limit=DOCKER_FACTOR, at_most=False)
            )
    return bounds


def cost_bounds(figures: Figures, *, mib: int) -> list[Bound]:
    """Return the bounds on what saving takes of the agent's machine; the worst round counts."""
    return [
        Bound(
            name=f"{mib} MiB: peak memory of the agent's process, MiB",
            value=max(figures["peak_mib"].values),
            limit=MEMORY_MIB,
        ),
        Bound(
            name=f"{mib} MiB: cores used after the thaw",
            value=max(figures["cores"].values),
            limit=CORES,
        ),
    ]


def size_bound(changes: Mapping[str, Mapping[str, float]]) -> Bound:
    """Return the bound on what is sent when 5 % of a job changed in one piece."""
    return Bound(
        name="sent after 5 % changed in one piece, by the size of the job",
        value=changes["5 % in one piece"]["share"],
        limit=SENT_SHARE,
    )


def rival_verdicts(tools: Mapping[str, Figures], *, own: str) -> list[str]:
    """Return, for each other tool, in what it is within twice our time."""
    said = []
    for name, theirs in tools.items():
        if not name.startswith(own):
            factors = {step: theirs[step].median / tools[own][step].median for step in _TIMES}
            text = ", ".join(f"{step} {factor:.1f} x" for step, factor in factors.items())
            within = all(factor <= USE_INSTEAD_FACTOR for factor in factors.values())
            said.append(f"{name}: {text} of ours, {'within' if within else 'not within'} 2 x")
    return said


def rounds(what: str, count: int) -> Iterator[int]:
    """Count the rounds, and tell a human how far it is."""
    for number in range(count):
        print(f"{what}: round {number + 1} of {count}", file=sys.stderr, flush=True)
        yield number


def values(figures: Figures) -> dict[str, tuple[float, ...]]:
    """Return what was measured, for JSON."""
    return {name: series.values for name, series in figures.items()}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def show(title: str, figures: Figures) -> None:
    """Print medians, least and most: seconds, or what the name says."""
    rows = [(name, str(series)) for name, series in sorted(figures.items())]
    print(f"\n## {title}\n\n{table(('', 'median (least to most)'), rows)}\n")


def show_changes(title: str, found: Mapping[str, Mapping[str, float]]) -> None:
    """Print what was sent."""
    header = ("checkpoint", "sent / size", "MiB sent", "s")
    rows = [
        (name, f"{one['share']:.2%}", f"{one['sent_bytes'] / _MIB:.1f}", f"{one['took_s']:.2f}")
        for name, one in found.items()
    ]
    print(f"\n## {title}\n\n{table(header, rows)}\n")


def show_archives(title: str, tools: Mapping[str, Figures]) -> None:
    """Print medians of seconds, processor seconds in brackets, and what was written."""
    steps = ("first", "second", "third", "restore")
    header = ("s (CPU s)", *steps, "MiB", "+", "+")
    rows = []
    for name, figures in tools.items():
        middle = {key: series.median for key, series in figures.items()}
        times = (f"{middle[f'{step}_s']:.2f} ({middle[f'{step}_cpu_s']:.2f})" for step in steps)
        sizes = (f"{middle[f'{step}_bytes'] / _MIB:.1f}" for step in steps[:3])
        rows.append((name, *times, *sizes))
    print(f"\n## {title}\n\n{table(header, rows)}\n")
