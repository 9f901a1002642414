"""`python -m workrs.testing.simulate`: many schedules, and what was broken in them.

Exit code 0: nothing was. 1: something was, and is printed as a small schedule that replays.
130: nothing was, but Ctrl-C came before the end.
"""

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from time import perf_counter

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from workrs.testing.simulator import Result, Schedule, plan, run, run_schedule
from workrs.testing.simulator.faults import FAULTS
from workrs.testing.simulator.schedule import to_source
from workrs.testing.simulator.shrink import shrink

VIOLATIONS_MAX = 10
"""After so many there is enough to look at."""


def main(words: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    parser = _options()
    options = parser.parse_args(words)
    if options.seeds < 1 or options.jobs < 1:
        parser.error("--seeds and --jobs count from 1")
    if options.trace and options.seed is None:
        parser.error("--trace is of one schedule: --seed N")
    console = Console()
    if options.seed is not None:
        return _show(options, console)
    return _sweep(options, console)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workrs.testing.simulate", description=__doc__)
    add = parser.add_argument
    add("--seeds", type=int, default=200, metavar="N", help="how many schedules (default 200)")
    add("--from", type=int, default=0, dest="first", metavar="K", help="first seed (default 0)")
    add("--jobs", type=int, default=1, metavar="P", help="processes (default 1)")
    add("--nodes", type=int, choices=(1, 3, 5), help="size of the cluster (default drawn)")
    add(
        "--only",
        nargs="+",
        default=(),
        choices=sorted(FAULTS),
        metavar="FAULT",
        help=f"draw from these faults alone: {', '.join(sorted(FAULTS))}",
    )
    add("--seed", type=int, metavar="N", help="run this one and say what it did")
    add("--trace", action="store_true", help="with --seed: every line of it")
    add("--no-shrink", action="store_true", help="print failing schedules as found")
    return parser


def _show(options: argparse.Namespace, console: Console) -> int:
    schedule = plan(options.seed, nodes=options.nodes, only=tuple(options.only))
    result = run_schedule(schedule, keep_trace=options.trace)
    out = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    out(to_source(schedule))
    for line in result.trace:
        out(line)
    out(f"digest {result.digest:08x}, {result.events} events, {result.virtual_s:.1f} s")
    if result.violation is None:
        return 0
    _tell(result, options, console)
    return 1


def _sweep(options: argparse.Namespace, console: Console) -> int:
    begin = perf_counter()
    counts: Counter[str] = Counter()
    broken: list[Result] = []
    done = events = 0
    virtual_s = 0.0
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    # Ctrl-C ends the run, not the report.
    with bar, suppress(KeyboardInterrupt):
        line = bar.add_task("schedules", total=options.seeds, rate=0.0)
        for result in _results(options):
            done += 1
            events += result.events
            virtual_s += result.virtual_s
            counts += result.counts
            rate = done / (perf_counter() - begin)
            if result.violation is not None:
                broken.append(result)
                bar.console.print(
                    f"seed {result.schedule.seed}: {result.violation}", markup=False, soft_wrap=True
                )
            bar.update(line, advance=1, rate=rate, description=f"schedules, {len(broken)} broken")
            if len(broken) >= VIOLATIONS_MAX:
                break
    took_s = perf_counter() - begin
    _print_table(console, counts, done, events, virtual_s, took_s, broken)
    for result in _first_by_rule(broken):
        _tell(result, options, console)
    if broken:
        return 1
    return 0 if done == options.seeds else 130


def _results(options: argparse.Namespace) -> Iterator[Result]:
    seeds = range(options.first, options.first + options.seeds)
    one = partial(run, nodes=options.nodes, only=tuple(options.only))
    if options.jobs <= 1:
        yield from map(one, seeds)
        return
    # Ctrl-C reaches all of them; one says it.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(options.jobs, initializer=signal.signal, initargs=ignore) as pool:
        try:
            yield from pool.map(one, seeds, chunksize=10)
        finally:
            pool.shutdown(cancel_futures=True)


def _first_by_rule(broken: Iterable[Result]) -> list[Result]:
    found: dict[str | None, Result] = {}
    for result in broken:
        found.setdefault(result.rule, result)
    return list(found.values())


def _tell(result: Result, options: argparse.Namespace, console: Console) -> None:
    """Print a failing schedule so that it can become a named scenario."""
    out = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    schedule: Schedule = result.schedule
    if not options.no_shrink:
        waiting = console.status("shrinking") if console.is_terminal else nullcontext()
        with waiting:
            schedule = shrink(schedule)
    found = run_schedule(schedule)
    out(f"\n# seed {result.schedule.seed}: {result.violation}")
    out(f"# small: {found.violation}")
    out(to_source(schedule))


def _print_table(  # noqa: PLR0917 (what is printed)
    console: Console,
    counts: Counter[str],
    done: int,
    events: int,
    virtual_s: float,
    took_s: float,
    broken: list[Result],
) -> None:
    table = Table(title="what was run", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_row("schedules", f"{done:,}")
    table.add_row("violations", f"{len(broken):,}", style="red" if broken else "green")
    table.add_row("events", f"{events:,}")
    table.add_row("virtual hours", f"{virtual_s / 3600:,.1f}")
    table.add_row("schedules a second", f"{done / took_s:,.1f}")
    for name in (
        "messages",
        "starts",
        "restores",
        "checkpoints",
        "takeovers",
        "moves",
        "outcome_adopted",
    ):
        table.add_row(name.replace("_", " "), f"{counts[name]:,}")
    faults = {name: n for name, n in sorted(counts.items()) if name.startswith("fault ")}
    table.add_row("faults", f"{sum(faults.values()):,}", end_section=False)
    for name, number in faults.items():
        table.add_row(f"  {name.removeprefix('fault ')}", f"{number:,}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
