"""How a job goes, on the standard error: a bar on a terminal, else a line per change."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_client import Report
from workrs.cli.harmless import harmless
from workrs.cli.table import percent

Show = Callable[[Report], None]


@contextmanager
def shown_progress(job: str) -> Iterator[Show]:
    """Yield what shows each report of *job*."""
    if sys.stderr.isatty():
        with _bar(job) as show:
            yield show
    else:
        yield _lines(job)


def describe(report: Report) -> str:
    """Return the state in a few words: `running on agent-2, attempt 2, half of the rows`."""
    words = [report.state.value]
    if report.agent:
        words.append(f"on {report.agent}")
    parts = [" ".join(words)]
    if report.attempt and report.attempt > 1:
        parts.append(f"attempt {report.attempt}")
    if report.note:
        parts.append(report.note)
    return ", ".join(parts)


def _lines(job: str) -> Show:
    last = ""

    def show(report: Report) -> None:
        nonlocal last
        line = f"{job} {describe(report)} {percent(report.progress)}".rstrip()
        if line != last:
            print(harmless(line), file=sys.stderr, flush=True)
            last = line

    return show


@contextmanager
def _bar(job: str) -> Iterator[Show]:
    from rich.console import Console  # noqa: PLC0415 (60 ms that a pipe need not wait for)
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.fields[job]}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=1.0, job=job)

        def show(report: Report) -> None:
            done = 1.0 if report.state.is_final else report.progress or 0.0
            progress.update(task, completed=done, description=describe(report))

        yield show
