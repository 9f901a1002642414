"""How a job goes: a bar on a terminal, else a line per change."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TextIO

from workrs.cli.harmless import harmless
from workrs.cli.table import cut, percent

_BAR: Final = 20
_NARROW: Final = 60
"""Below, there is no room for a bar and the time."""
_NAME_MIN: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How a job stands."""

    state: str
    agent: str | None
    attempt: int | None
    note: str | None
    progress: float | None
    """0 to 1."""
    is_final: bool


Show = Callable[[Step], None]


@contextmanager
def shown_progress(job: str, stream: TextIO) -> Iterator[Show]:
    """Yield what shows each step of *job* on *stream*."""
    if stream.isatty():
        with _bar(job, stream) as show:
            yield show
    else:
        yield _lines(job, stream)


def describe(step: Step) -> str:
    """Return the state in a few words: `running on agent-2, attempt 2, half of the rows`."""
    words = [step.state]
    if step.agent and not step.is_final:
        words.append(f"on {step.agent}")
    parts = [" ".join(words)]
    if step.attempt and step.attempt > 1:
        parts.append(f"attempt {step.attempt}")
    if step.note and not step.is_final:
        parts.append(" ".join(step.note.split()))
    return ", ".join(parts)


def _lines(job: str, stream: TextIO) -> Show:
    last = ""

    def show(step: Step) -> None:
        nonlocal last
        done = "" if step.is_final else percent(step.progress)
        line = f"{job} {describe(step)} {done}".rstrip()
        if line != last:
            print(harmless(line), file=stream, flush=True)
            last = line

    return show


@contextmanager
def _bar(job: str, stream: TextIO) -> Iterator[Show]:
    from rich.console import Console  # noqa: PLC0415 (60 ms that a pipe need not wait for)
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    console = Console(file=stream)
    rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    # Whoever watches a job knows its name; how it stands is what may not be cut.
    job = cut(job, max(_NAME_MIN, console.width // 3))
    parts = [
        TextColumn("{task.fields[job]}", markup=False),
        BarColumn(bar_width=min(_BAR, console.width // 5)),
        TextColumn("{task.fields[done]:>5}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False, table_column=rest),
    ]
    columns = parts if console.width >= _NARROW else [parts[0], parts[2], parts[4]]
    with Progress(*columns, console=console, expand=True) as progress:
        task = progress.add_task("", total=1.0, job=job, done="")

        def show(step: Step) -> None:
            done = 1.0 if step.state == "succeeded" else step.progress
            # Where nobody says how far it is, an empty bar is not taken for 0 %.
            progress.update(
                task,
                completed=done or 0.0,
                done=percent(done),
                description=harmless(describe(step)),
            )

        yield show
