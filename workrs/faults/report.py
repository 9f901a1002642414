"""The report of a run: a table of rows, a page of pictures, and the figures as JSON."""

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Final

from workrs.faults.picture import draw
from workrs.faults.play import SITE, Played
from workrs.faults.row import Row

_MEANING: Final = """\
n is the number of injections. With 0 failures in n independent runs the rate of failures is
below 3/n with a confidence of 95 %, on this machine and under this load; the column *below*
says how much that is. Figures are seconds, but for *messages per job*: how many were measured,
the median, the 99th percentile (with fewer than 100 values the worst one) and the worst.
Several figures of one injection are not independent of each other. Each injection notes the
machine's load average: much above its number of CPUs, times are those of a machine that is too
busy.

| figure | from | to |
|---|---|---|
| lease | the fault | records of a majority show another agent's lease |
| running | the fault | the first sign of life of the new program |
| accepted | a device sends a job during the injection | it hears *accepted* |
| recovery | everything was started again | the result of a job sent then |
| listening | everything was started again | a majority of brokers answers |
| healthy | the fault was mended | every node sees every node and agent |
| dead | a stopped agent was resumed | its programs of lost leases are gone |
| frozen | | how long programs stood still |
| moved, agent_…, device_… | the fault | the client is connected to another node |
| ran_on | an agent was cut off from all nodes | the last sign of life of its program |
| back | such a cut was mended | the agent is heard again |
| killed | the agent was heard again | its old program is gone |
| told | a node was cut off | its device hears that the node reaches no majority |
| new_job | a device of a stopped daemon has a new job | it hears *accepted* |
| accepted_meanwhile | a device sends a job while the network is bad | it hears *accepted* |
| accepted_after | a split was mended | a job of the minority is accepted |
| whole_after | a split was mended | every node sees every node and agent |
| unready | the disk of a node is full | the node says that it is not ready |
| resumed | an agent with checkpoints was killed | its job runs again |
| outcome | a job that is poison was sent | it has ended |
| result | the device first sent a job, or was killed | its result is there |
| claim | an agent's first claim of a job, once all jobs are queued | a majority granted it |
| claim in the flood | the same while nodes still take jobs in | the same |
| gone | the last of many jobs has ended | nodes and brokers keep nothing of them |
| messages per job | | what all clients published for a job, from its submission until it is gone |
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A figure over all injections of a row."""

    count: int
    p50: float
    p99: float
    worst: float


def summary(values: Sequence[float]) -> Summary:
    """Return the count, percentiles (nearest rank) and maximum of at least one value."""
    ordered = sorted(values)

    def rank(share: float) -> float:
        return ordered[max(0, ceil(share * len(ordered)) - 1)]

    return Summary(count=len(ordered), p50=rank(0.5), p99=rank(0.99), worst=ordered[-1])


def figures(played: Sequence[Played]) -> dict[str, Summary]:
    """Return every figure of a row's injections."""
    values: dict[str, list[float]] = {}
    for one in played:
        for name, found in one.injection.figures.items() if one.injection else ():
            values.setdefault(name, []).extend(found)
    return {name: summary(found) for name, found in sorted(values.items())}


def unit(figure: str) -> str:
    """Return what stands behind a value of a figure."""
    return "" if figure.startswith("messages per job") else " s"


def verdict(played: Sequence[Played]) -> str:
    """Return how many injections there were and how many failed; whole sites apart."""
    failed = [one.row == SITE for one in played if not one.passed]
    injections = sum(1 for one in played if one.row != SITE)
    text = f"{injections} injections, {failed.count(False)} failed"
    sites = failed.count(True)
    return f"{text}; sites that failed: {sites}" if sites else text


def beyond(row: Row, played: Sequence[Played], *, patience: float = 1.0) -> list[str]:
    """Return the bounds of a row that its figures break over all injections.

    What a bound is for may not come about in each injection, but has to in a whole turn of
    the row: a bound on nothing would always hold. *patience* is a factor on the bounds.
    """
    found = figures(played)
    late = [
        f"{name}: p99 is {found[name].p99:.2f}{unit(name)}, "
        f"allowed are {patience * most:g}{unit(name)}"
        for name, most in row.bounds.items()
        if name in found and found[name].p99 > patience * most
    ]
    blind = [name for name in row.bounds if name not in found and len(played) >= row.repeat]
    return [*late, *(f"{name}: was not measured in {len(played)} injections" for name in blind)]


def write_report(
    folder: Path,
    rows: Sequence[Row],
    played: Sequence[Played],
    *,
    seed: int,
    skipped: Mapping[str, str] | None = None,
) -> Path:
    """Write report.md, figures.json and a picture of each injection into *folder*.

    Args:
        folder: made if it is not there.
        rows: in their order in the report.
        played: what became of their injections.
        seed: that repeats victims and times.
        skipped: rows that this machine cannot play, and why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = folder / "pictures"
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir()
    for one in played:
        if one.picture is not None:
            (pictures / _picture(one)).write_text(draw(one.picture))
    place = folder / "report.md"
    place.write_text("\n".join(_page(rows, played, seed, skipped or {})) + "\n")
    (folder / "figures.json").write_text(json.dumps(_figures_json(rows, played, seed), indent=1))
    return place


def _picture(one: Played) -> str:
    return f"{one.row}-{one.number}.svg"


def _page(
    rows: Sequence[Row], played: Sequence[Played], seed: int, skipped: Mapping[str, str]
) -> Iterator[str]:
    yield "# Fault matrix\n"
    yield (
        f"{len(rows)} rows, {verdict(played)}. "
        f"Seed {seed}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"{os.cpu_count()} CPUs.\n"
    )
    if skipped:
        yield "**Not played on this machine:**\n"
        yield from (f"- `{name}`: {why}" for name, why in skipped.items())
        yield ""
    yield _MEANING
    yield from table(rows, played)
    yield from _failures(played)
    yield "\n## Injections\n"
    for row in rows:
        yield f"### {row.name}: {row.title}\n"
        for one in (one for one in played if one.row == row.name):
            yield from _injection(one)


def table(rows: Sequence[Row], played: Sequence[Played]) -> Iterator[str]:
    """Yield the lines of the table of rows."""
    yield "| row | passes when | n | failed | below | figures |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        of_row = [one for one in played if one.row == row.name]
        failed = sum(1 for one in of_row if not one.passed)
        below = f"{min(1, 3 / len(of_row)):.2g}" if of_row and not failed else ""
        shown = "<br>".join(
            f"{name}: {it.count}; {it.p50:.2f}, {it.p99:.2f}, {it.worst:.2f}"
            for name, it in figures(of_row).items()
        )
        broken = "".join(f"<br>**{text}**" for text in beyond(row, of_row))
        yield (
            f"| {row.title} (`{row.name}`) | {row.passes_when} | {len(of_row)} | {failed} "
            f"| {below} | {shown}{broken} |"
        )


def _failures(played: Sequence[Played]) -> Iterator[str]:
    if all(one.passed for one in played):
        return
    yield "\n## Failures\n"
    for one in played:
        for text in one.faults:
            yield f"- {one.row} {one.number} ({one.site}): {text}"


def _injection(one: Played) -> Iterator[str]:
    name = one.injection.name if one.injection else "broken off"
    yield f"{one.number}. {name}: {'passed' if one.passed else '**failed**'}"
    for text in (*(one.injection.notes if one.injection else ()), *one.faults):
        yield f"   - {text}"
    if one.picture is not None:
        yield f"\n   ![{one.row} {one.number}](pictures/{_picture(one)})\n"


def _figures_json(rows: Sequence[Row], played: Sequence[Played], seed: int) -> dict[str, object]:
    found: dict[str, object] = {"seed": seed}
    for row in rows:
        of_row = [one for one in played if one.row == row.name]
        found[row.name] = {
            "n": len(of_row),
            "failed": sum(1 for one in of_row if not one.passed),
            "figures": {name: asdict(it) for name, it in figures(of_row).items()},
        }
    return found
