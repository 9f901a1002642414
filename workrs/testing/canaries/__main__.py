"""`python -m workrs.testing.canaries`: which schedule finds out that a rule is missing."""

import argparse
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from workrs.testing.canaries import CANARIES, Canary
from workrs.testing.canaries.canary import Death, find_death, run_with
from workrs.testing.canaries.table import DOCUMENT, Finding, write

RANGE = 100_000
"""Seeds of one range of several: far above what any canary needs."""


def find(number: int, *, ranges: int, schedules: int) -> Finding | None:
    """Search for the canary of this number in each range; None if one range has no death.

    Raises:
        AssertionError: the schedule that it did not survive goes wrong with the rule, too.
    """
    canary = CANARIES[number]
    deaths: list[Death] = []
    for start in range(0, ranges * RANGE, RANGE):
        death = find_death(canary, range(start, start + schedules))
        if death is None:
            return None
        sane = run_with(canary, death.seed).violation
        assert sane is None, f"{canary.rule}: seed {death.seed} with the rule: {sane}"
        deaths.append(death)
    return Finding(
        first=deaths[0],
        median=statistics.median(death.schedules for death in deaths),
        most=max(death.schedules for death in deaths),
        ranges=ranges,
    )


def main() -> int:
    """Search for all, print each as it is found, and count those that are not."""
    parser = argparse.ArgumentParser(prog="python -m workrs.testing.canaries")
    parser.add_argument("rule", nargs="*", help="only rules with these words in their names")
    parser.add_argument("--ranges", type=int, default=5, help="of seeds to search; default 5")
    parser.add_argument("--schedules", type=int, default=3000, help="at most in each; default 3000")
    parser.add_argument("--update", action="store_true", help="put the table into docs/canaries.md")
    asked = parser.parse_args()
    chosen = [n for n, c in enumerate(CANARIES) if all(word in c.rule for word in asked.rule)]
    search = partial(find, ranges=asked.ranges, schedules=asked.schedules)
    found: dict[Canary, Finding] = {}
    with ProcessPoolExecutor() as pool:
        for number, finding in zip(chosen, pool.map(search, chosen), strict=True):
            canary = CANARIES[number]
            if finding is not None:
                found[canary] = finding
            told = finding.told() if finding is not None else "NOT FOUND"
            sys.stdout.write(f"{canary.rule}: {told}\n")
            sys.stdout.flush()
    if asked.update and len(found) == len(CANARIES):
        DOCUMENT.write_text(write(DOCUMENT.read_text(), found))
    return int(len(found) < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
