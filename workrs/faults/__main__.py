"""`./run faults`: the fault matrix, from the command line. It needs root.

Exit code 0: every injection passed, and all bounds hold. 1: not so; the report says what. 2: it
was asked for something that cannot be played.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from workrs.domain.errors import ConfigError, WorkrsError
from workrs.faults.need import lacking
from workrs.faults.play import Played, Player, Turn
from workrs.faults.report import beyond, verdict, write_report
from workrs.faults.row import Row
from workrs.faults.rows import all_rows

PAIRS = "pairs"
PAIRS_MINUTES = 30.0
REPORT = Path(".workrs/faults")


def main(words: Sequence[str] | None = None) -> int:
    """Play the rows that were asked for; return 0 when all passed."""
    asked = _parser().parse_args(words)
    try:
        rows = chosen(all_rows(), asked.only)
        if asked.list:
            for row in rows:
                print(f"{row.name:24} {row.repeat:4}x  {row.title}: {row.passes_when}")
            sys.stdout.flush()  # here, where a reader that has left is dealt with
            return 0
        if asked.minutes is not None and PAIRS not in [row.name for row in rows]:
            raise ConfigError(f"--minutes says how long {PAIRS} goes on: add it to --only")
        if os.geteuid() != 0:
            raise ConfigError("it needs root, for namespaces, mounts and control groups")
        return play(rows, asked)
    except WorkrsError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Else Python fails once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    it = argparse.ArgumentParser(prog="./run faults", description=__doc__)
    it.add_argument(
        "--only", nargs="+", metavar="NAME", help="these rows, see --list; `broker` is all broker-…"
    )
    it.add_argument(
        "--repeat",
        type=int,
        metavar="N",
        help="injections of every row (default its own, see --list)",
    )
    it.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help=f"how long random pairs go on; {PAIRS_MINUTES:g} in the full matrix",
    )
    it.add_argument("--quick", action="store_true", help="what the test suite plays")
    it.add_argument("--list", action="store_true", help="show the rows, do nothing")
    it.add_argument(
        "--report",
        type=Path,
        default=REPORT,
        metavar="FOLDER",
        help=f"where to write it (default {REPORT})",
    )
    it.add_argument("--seed", type=int, metavar="N", help="choose the same victims and times again")
    return it


def chosen(rows: Sequence[Row], only: Sequence[str] | None) -> list[Row]:
    """Return the rows asked for by their names or the first words of them.

    Raises:
        ConfigError: there is no such row.
    """
    names = [row.name for row in rows]
    wanted: set[str] = set()
    for word in only or names:
        found = {word} & set(names) or {name for name in names if name.startswith(f"{word}-")}
        if not found:
            raise ConfigError(f"there is no row {word}: {', '.join(names)}")
        wanted |= found
    return [row for row in rows if row.name in wanted]


def turns(rows: Sequence[Row], asked: argparse.Namespace) -> list[Turn]:
    """Return how often to play which row."""
    found = []
    for row in rows:
        times = row.quick if asked.quick else row.repeat
        times = times if asked.repeat is None else asked.repeat
        minutes = asked.minutes or 0.0
        if asked.minutes is None and not (asked.quick or asked.only or asked.repeat):
            minutes = PAIRS_MINUTES
        if times:
            found.append(Turn(row=row, times=times, minutes=minutes if row.name == PAIRS else 0.0))
    return found


def play(rows: Sequence[Row], asked: argparse.Namespace) -> int:
    """Play, tell how it goes, write the report."""
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(10**6)
    lacks = {row.name: what for row in rows if (what := lacking(row))}
    wanted = turns([row for row in rows if row.name not in lacks], asked)
    for name, what in lacks.items():
        print(f"skipped {name}: {what}")
    counted = sum(turn.times for turn in wanted if not turn.minutes)
    for_minutes = "".join(f", {t.row.name} for {t.minutes:g} minutes" for t in wanted if t.minutes)
    print(f"seed {seed}, {counted} injections{for_minutes}")
    player = Player(root=asked.report / "sites", seed=seed, say=_say)
    played: list[Played] = []
    began_s = time.monotonic()
    try:
        for one in player.play(wanted):
            played.append(one)
            _tell(one, time.monotonic() - began_s)
    finally:
        place = write_report(
            asked.report, [turn.row for turn in wanted], played, seed=seed, skipped=lacks
        )
        broken = [
            f"{turn.row.name}: {text}"
            for turn in wanted
            for text in beyond(turn.row, [one for one in played if one.row == turn.row.name])
        ]
        for text in broken:
            print(f"FAIL {text}")
        print(f"{verdict(played)}; the report is {place}")
    whole = all(one.passed for one in played) and not broken
    return 0 if whole and played else 1


def _say(text: str) -> None:
    print(f"        {text}")


def _tell(one: Played, since_start_s: float) -> None:
    what = one.injection.name if one.injection else ""
    figures = one.injection.figures if one.injection else {}
    shown = " ".join(
        f"{name} {max(values):.2f}" for name, values in figures.items() if name != "healthy"
    )
    verdict = "ok  " if one.passed else "FAIL"
    print(
        f"{since_start_s:6.0f} s {verdict} {one.row} {one.number}: {what} {shown}".rstrip(),
        flush=True,
    )
    for text in one.faults:
        print(f"              {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
