"""`python -m workrs.testing.canaries`: which schedule finds out that a rule is missing."""

import argparse
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

from workrs.testing.canaries import CANARIES, Canary
from workrs.testing.canaries.canary import Death, find_death, run_with
from workrs.testing.canaries.table import DOCUMENT, Finding, write

RANGE = 100_000
"""Seeds of one range of several: far above what any canary needs."""


def find(number: int, *, ranges: int, schedules: int) -> Finding | str:
    """Search for the canary of this number in each range; return why not if one has no death."""
    canary = CANARIES[number]
    deaths: list[Death] = []
    for start in range(0, ranges * RANGE, RANGE):
        death = find_death(canary, range(start, start + schedules))
        if death is None:
            return f"NOT FOUND in {schedules} schedules from seed {start}"
        if (violation := run_with(canary, death.seed).violation) is not None:
            return f"WRONG WITH THE RULE, too: seed {death.seed}: {violation}"
        deaths.append(death)
    return Finding(
        first=deaths[0],
        median=statistics.median(death.schedules for death in deaths),
        most=max(death.schedules for death in deaths),
        ranges=ranges,
    )


def main() -> int:
    """Search for all, print each as it is found, and count those that are not."""
    parser = argparse.ArgumentParser(
        prog="python -m workrs.testing.canaries",
        description="Leave rules out, one after the other, and search for a schedule that goes "
        "wrong without it. Exit code 1: the lack of one of them was not noticed.",
    )
    parser.add_argument("rule", nargs="*", help="only rules with these words in their names")
    parser.add_argument("--ranges", type=int, default=3, help="of seeds to search; default 3")
    parser.add_argument("--schedules", type=int, default=3000, help="at most in each; default 3000")
    parser.add_argument("--processes", type=int, help="default one a core")
    parser.add_argument("--update", action="store_true", help="into docs/canaries.md")
    asked = parser.parse_args()
    chosen = [n for n, c in enumerate(CANARIES) if all(word in c.rule for word in asked.rule)]
    if not chosen:
        parser.error(f"no rule has these words in its name: {' '.join(asked.rule)}")
    search = partial(find, ranges=asked.ranges, schedules=asked.schedules)
    found: dict[Canary, Finding] = {}
    with ProcessPoolExecutor(asked.processes) as pool:
        searches = {pool.submit(search, number): CANARIES[number] for number in chosen}
        for done in as_completed(searches):
            canary, finding = searches[done], done.result()
            if isinstance(finding, Finding):
                found[canary] = finding
                finding = finding.told()
            sys.stdout.write(f"{canary.rule}: {finding}\n")
            sys.stdout.flush()
    if asked.update:
        DOCUMENT.write_text(write(DOCUMENT.read_text(), found))
    return int(len(found) < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
