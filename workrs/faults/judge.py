"""Judges a site after each injection: the invariants, the load, and at the end the quiet."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from workrs.faults.agreement import Place, differences, read_shown, read_votes
from workrs.faults.check import Checker
from workrs.faults.disks import Disk, leftovers, read_disk
from workrs.faults.evidence import Run, forget_testimony, read_testimony
from workrs.faults.load import Sent
from workrs.faults.row import RowError
from workrs.faults.site import Site

DRAIN_SLACK_S: Final = 10.0
"""What starting programs on a busy machine may add to L1's runtime + 3 ttl."""
STUCK_S: Final = 90.0
"""A job that has not ended so long after L1's time is stuck; the longest fault takes 60 s."""
AGREED_S: Final = 10.0
"""What differs or is left over must not do so for longer."""
K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Judge:
    """Looks at everything a site left behind so far."""

    site: Site
    checker: Checker = field(init=False)
    _told: int = 0
    _stuck: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin with the site's trace."""
        site = self.site
        self.checker = Checker(trace=site.trace.path, nodes=site.nodes, timing=site.timing)

    def look(self) -> tuple[str, ...]:
        """Return what is violated and was not told before."""
        site = self.site
        # Accepted first, disks later: a job that is accepted in between must not count.
        accepted = [s.bus_id for s in site.load.recent() if s.accepted_s is not None]
        # Runs first, too: reading a long trace takes seconds, and what ran meanwhile was
        # renewed by heartbeats that are not read yet.
        runs = self.runs()
        site.trace.flush()
        self.checker.read()
        self.checker.take_diary(site.diary.take())
        found = self.checker.judge(runs, self.read_disks(), accepted)
        fresh = site.load.violations[self._told :]
        self._told += len(fresh)
        found += [f"L1 {text}" for text in fresh]
        found += self._stuck_jobs()
        found += ["the load broke off"] * site.load.broke_off()
        return tuple(found)

    def settle(self) -> None:
        """Forget what needs no further look."""
        self.checker.settle(self._forget)

    def finish(self) -> tuple[str, ...]:
        """Stop the stream, wait for all jobs, and look for the last time."""
        site = self.site
        late: list[str] = []
        with site.load.paused():
            quiet_s = site.trace.now_s
            try:
                longest_s = max((s.run_s for s in site.load.open_jobs()), default=0.0)
                wait_s = longest_s + 3 * site.timing.ttl_s + DRAIN_SLACK_S
                site.until("the end of all jobs", lambda: not site.load.open_jobs(), wait_s)
            except RowError:
                late = [_overdue(sent, quiet_s) for sent in site.load.open_jobs()]
            late += self._lasting("agreement", self._differences)
            late += self._lasting("the end of blobs", self._leftovers)
            return (*late, *self.look())

    def read_disks(self) -> dict[str, Disk | None]:
        """Return what every node has on disk now."""
        root = self.site.cluster.plan.root
        return {node: read_disk(root / node / "ledger.db") for node in self.site.nodes}

    def _lasting(self, what: str, read: Callable[[], Mapping[K, str]]) -> list[str]:
        """Return what is read again and again at the same place, so that it does not go away.

        Jobs are retired all the time, so two readings may find something elsewhere each.
        """
        lasting = read()

        def nothing() -> bool:
            nonlocal lasting
            now = read() if lasting else {}
            lasting = {place: text for place, text in now.items() if place in lasting}
            return not lasting

        try:
            self.site.until(what, nothing, AGREED_S)
        except RowError:
            return list(lasting.values())
        return []

    def _differences(self) -> dict[Place, str]:
        cluster = self.site.cluster
        shown = read_shown(cluster.addresses)
        root = cluster.plan.root
        ledgers = {node: read_votes(root / node / "ledger.db") for node in self.site.nodes}
        return differences(shown, ledgers)

    def _leftovers(self) -> dict[tuple[str, str], str]:
        root = self.site.cluster.plan.root
        found: dict[tuple[str, str], str] = {}
        for node in self.site.nodes:
            found |= leftovers(node, root / node)
        return found

    def _stuck_jobs(self) -> list[str]:
        site = self.site
        allowed_s = 3 * site.timing.ttl_s + STUCK_S
        found = []
        for sent in site.load.open_jobs():
            age_s = site.trace.now_s - sent.sent_s
            if age_s > sent.run_s + allowed_s and sent.bus_id not in self._stuck:
                self._stuck.add(sent.bus_id)
                found.append(f"L1 {sent.bus_id} has not ended {age_s:.0f} s after it was sent")
        return found

    def runs(self) -> list[Run]:
        """Return when programs were seen running."""
        return read_testimony(self.site.evidence, self.site.trace.zero_s) + self.site.eyes.runs()

    def _forget(self, jobs: frozenset[str]) -> None:
        self.site.trace.forget(jobs)
        self.site.eyes.forget(jobs)
        forget_testimony(self.site.evidence, jobs)
        self.site.load.forget(jobs)


def _overdue(sent: Sent, quiet_s: float) -> str:
    return (
        f"L1 {sent.bus_id} ({sent.run_s:g} s of work, sent {quiet_s - sent.sent_s:.1f} s before "
        "the last fault was healed) has not ended in runtime + 3 ttl"
    )
