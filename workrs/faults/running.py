"""When programs ran, held against when they might. Invariants by their names in docs/faults.md.

- S6: of a job with `takeover: strict`, no program runs once a later epoch's has begun.
- S7: no program runs past its lease's deadline by more than the time that freezing may take
  (`freeze_max_s`, which the margin covers), and none survives its agent by more than 1 s.

The deadline is worked out from the bus: a heartbeat that lists a lease was sent before a
broker delivered it, so what it gives ends at most `holding_s` after that. It gives nothing
before a majority of nodes has acknowledged it, see `receipts`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import inf
from typing import Final

from workrs.domain.lease import LeaseTiming
from workrs.faults.evidence import Run
from workrs.faults.receipts import Renewal

SURVIVAL_S: Final = 1.0
"""How long a program may outlive its agent."""
SLACK_S: Final = 0.3
"""What seeing an end may cost: a step of a program, a busy machine."""
LAG_S: Final = 1.0
"""How much later the recorder may see a heartbeat than the program runs that it thawed. Measured
on a machine with fifteen times as much to do as it can: 0.63 s."""

Renewals = Mapping[tuple[str, int, str], Sequence[Renewal]]
"""Job, epoch and agent to the grant of its lease and what renewed it, as they became known."""


def survivors(
    runs: Iterable[Run], kills: Mapping[str, Sequence[float]], renewals: Renewals
) -> Iterator[str]:
    """Yield the programs that ran on after their agent had been killed.

    A program belongs to the incarnation that was granted its epoch, though its first sign of
    life may come after that one's death.
    """
    for run in runs:
        granted = renewals.get((run.key.job, run.key.epoch, run.key.agent), ())
        began_s = min((run.first_s, *(grant.sent_s for grant in granted[:1])))
        for killed_s in kills.get(run.key.agent, ()):
            late_s = run.last_s - killed_s
            if began_s < killed_s and late_s > SURVIVAL_S + SLACK_S:
                yield f"S7 {_name(run)} ran {late_s:.2f} s after its agent was killed"


def late_runs(
    runs: Iterable[Run], renewals: Renewals, timing: LeaseTiming, *, read_s: float = inf
) -> Iterator[str]:
    """Yield the programs that ran past the end of their lease.

    A program runs on when its agent claims its job anew, and does not learn the new epoch.

    Args:
        runs: when programs were seen running.
        renewals: of all leases.
        timing: of the leases.
        read_s: how far the trace was read; what was seen less than LAG_S before is not judged.
    """
    for run in runs:
        job, first, agent = run.key
        given = sorted(
            renewal
            for (of_job, epoch, holder), of_lease in renewals.items()
            if (of_job, holder) == (job, agent) and epoch >= first
            for renewal in of_lease
        )
        known = [renewal.known_s for renewal in given]
        newest = list(accumulate((renewal.sent_s for renewal in given), max))
        for seen_s in run.seen_s:
            place = bisect_right(known, seen_s + LAG_S)
            if not place or seen_s + LAG_S > read_s:
                continue  # the trace missed the grant (a broker's link was down), or will show it
            late_s = seen_s - newest[place - 1] - timing.holding_s
            if late_s > timing.freeze_max_s:
                yield f"S7 {_name(run)} ran {late_s:.2f} s past its lease's deadline"
                break


def overlaps(runs: Iterable[Run], strict: frozenset[str]) -> Iterator[str]:
    """Yield pairs of programs of one strict job that ran at a time."""
    for before, after, both_s in overlap_times(runs):
        if before.key.job in strict:
            yield f"S6 {_name(before)} ran {both_s:.2f} s after {_name(after)} had begun"


def overlap_times(runs: Iterable[Run]) -> Iterator[tuple[Run, Run, float]]:
    """Yield runs of one job that ran at a time, and for how long."""
    by_job: dict[str, list[Run]] = {}
    for run in runs:
        by_job.setdefault(run.key.job, []).append(run)
    for of_job in by_job.values():
        of_job.sort(key=lambda run: run.key.epoch)
        for place, before in enumerate(of_job):
            for after in of_job[place + 1 :]:
                if before.last_s > after.first_s:
                    yield before, after, before.last_s - after.first_s


def _name(run: Run) -> str:
    return f"{run.key.job} at epoch {run.key.epoch} on {run.key.agent}"
