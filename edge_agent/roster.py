"""The jobs in an agent's hands: their slots, and which rule an event goes to.

1. Jobs in hand never outnumber the slots; an offer beyond waits OFFER_S for a slot. A job
   whose release is still being said takes none.
2. A job is forgotten only when its lease is over and its container is gone; an epoch it was
   claimed at stays used.
3. What comes late from a former container is dropped by the number of its run.
"""

from collections.abc import Callable, Collection
from typing import assert_never

from edge_agent import ending, execution, holding, moving, saving, telling
from edge_agent.agenda import Agenda
from edge_agent.agent import Agent
from edge_agent.effect import FollowJob, UnfollowJob
from edge_agent.event import (
    CheckpointFailed,
    CheckpointSaved,
    ContainerExited,
    ContainerKilled,
    ContainerRemoved,
    ContainerStarted,
    JobEvent,
    LogRead,
    ProgressMade,
    RecordSeen,
    ResultRefused,
    ResultStored,
    StartFailed,
    StartPrepared,
)
from edge_agent.heart import Renewal
from edge_agent.holding import Standing
from edge_agent.parking import Parking, UsedEpochs
from edge_agent.work import NOT, BeginAnew, GiveBack, Lease, Restart, Stage, Work
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.wire.message import Held, Offer

RELEASING_MAX = 1_000
"""Jobs whose release is still being said. Beyond, nothing is taken until one was heard."""


class Roster:
    """All jobs in hand of one incarnation."""

    def __init__(self, agent: Agent, slots: int, agenda: Agenda) -> None:
        """Begin with nothing in hand; wake-ups go into *agenda* under the jobs' names."""
        self.agent = agent
        self.slots = slots
        self.works: dict[JobId, Work] = {}
        self.open = True
        """Whether offers are taken."""
        self._agenda = agenda
        self._parking = Parking()
        self._used = UsedEpochs()
        self._freed: set[JobId] = set()
        """Jobs whose release is still being said."""
        self._leftover: set[JobId] = set()
        """Jobs that are over or given back, but whose container is still being removed."""

    # What the nodes say

    def on_offer(self, offer: Offer) -> None:
        """Claim an offered job, or keep the offer for a moment."""
        if not self.open or not self.agent.cluster.known:
            return
        work = self.works.get(offer.job)
        if work is not None and work.lease not in (Lease.RELEASING, Lease.OVER):
            work.floor = max(work.floor, offer.epoch)
        elif self._has_slot() and offer.job not in self._leftover:
            self._take(offer)
        else:
            self._parking.park(offer, self.agent.now)

    def _has_slot(self) -> bool:
        over = len(self._freed)
        return len(self.works) - over < self.slots and over < RELEASING_MAX

    def _take(self, offer: Offer) -> None:
        floor = max(offer.epoch, self._used.next(offer.job))
        work = Work(job=offer.job, spec=offer.stored.spec, digest=offer.digest, floor=floor)
        former = self.works.get(offer.job)
        if former is None:
            self.agent.do(FollowJob(job=offer.job))
        else:
            self._freed.discard(offer.job)
            work.floor = max(work.floor, former.floor)
            work.records, work.tally = former.records, former.tally
        self.works[offer.job] = work
        holding.claim(work, self.agent)
        self._look_after(work)

    def _unpark(self) -> None:
        while self._has_slot():
            offer = self._parking.pop(self.agent.now, self._leftover)
            if offer is None:
                return
            self.on_offer(offer)

    def keep(self, nodes: Collection[ClientId]) -> None:
        """Forget the votes of all other nodes: among fewer nodes they would count for more."""
        for work in self.works.values():
            work.records = {node: work.records[node] for node in work.records if node in nodes}
            work.tally.keep(nodes)

    def on_record(self, event: RecordSeen) -> None:
        """Take a node's vote on a job in hand."""
        work = self.works.get(event.record.job)
        if work is not None and event.node in self.agent.cluster.names:
            self._on_standing(work, holding.see(work, event.node, event.record, self.agent))

    def _on_standing(self, work: Work, standing: Standing) -> None:
        match standing:
            case Standing.SAME:
                if work.kept and work.lease is Lease.HELD and saving.on_records(work, self.agent):
                    moving.on_kept(work, self.agent)
            case Standing.WON:
                execution.begin(work, self.agent)
            case Standing.DECIDED:
                if work.lease is not Lease.OVER and work.decided is not None:
                    verdict = work.decided.verdict.value
                    self.agent.log(
                        "outcome_decided", job=work.job, epoch=work.epoch, verdict=verdict
                    )
                    self._abandon(work)
            case Standing.FENCED:
                self.agent.log("lease_lost", job=work.job, epoch=work.epoch)
                self._abandon(work)
            case Standing.GONE:
                self._abandon(work)
            case _:
                assert_never(standing)
        self._look_after(work)

    def on_renewal(self, renewal: Renewal) -> None:
        """Take what a majority acknowledged."""
        work = self.works.get(renewal.job)
        if work is not None and work.lease is Lease.HELD and work.epoch == renewal.epoch:
            holding.renew(work, renewal.sent, self.agent)
            execution.on_renewed(work, self.agent, renewal.attempt)
            self._look_after(work)

    def on_refused(self, node: ClientId, job: JobId, epoch: Epoch) -> None:
        """Take that a node did not extend a lease."""
        work = self.works.get(job)
        if work is None or work.epoch != epoch:
            return
        record = work.records.get(node)
        # One that abstains will never grant, however often it is asked.
        if record is None or not record.abstains:
            holding.on_refused(work, self.agent)

    def held(self) -> tuple[Held, ...]:
        """Return every lease this agent believes it holds."""
        return tuple(
            Held(work.job, work.epoch, work.listed_attempt)
            for work in self.works.values()
            if work.lease is Lease.HELD
        )

    # What the containers say

    def on_job_event(self, event: JobEvent) -> None:
        """Take what became of an effect on a container."""
        work = self.works.get(event.job)
        if work is None or work.run != event.run:
            return
        if isinstance(event, ContainerRemoved):
            execution.after_removal(work, self.agent)
        elif isinstance(event, ContainerKilled):
            execution.on_killed(work, self.agent)
        elif work.stage is Stage.REMOVING or work.lease is Lease.OVER:
            return
        elif isinstance(event, ProgressMade):
            telling.on_progress(work, self.agent, event.fraction, event.note)
        elif isinstance(event, LogRead):
            telling.on_log_read(work, self.agent, event.tail)
        elif isinstance(event, StartPrepared | ContainerStarted | StartFailed):
            self._on_running(work, event)
        else:
            self._on_ending(work, event)
        self._look_after(work)

    def _on_running(
        self, work: Work, event: StartPrepared | ContainerStarted | StartFailed
    ) -> None:
        match event:
            case StartPrepared():
                execution.record(work, self.agent)
            case ContainerStarted():
                execution.on_started(work, self.agent, event)
            case StartFailed():
                execution.on_start_failed(work, self.agent, event)

    def _on_ending(
        self,
        work: Work,
        event: ContainerExited | ResultStored | ResultRefused | CheckpointSaved | CheckpointFailed,
    ) -> None:
        match event:
            case ContainerExited():
                ending.on_exited(work, self.agent, event)
            case ResultStored(url=url, size_bytes=size_bytes):
                ending.on_result_stored(work, self.agent, url, size_bytes)
            case ResultRefused(reason=reason):
                ending.on_result_refused(work, self.agent, reason)
            case CheckpointSaved():
                execution.on_saved(work, self.agent, event)
            case CheckpointFailed():
                execution.on_save_failed(work, self.agent, event)

    # What time says

    def on_due(self, job: JobId, *, connected: bool) -> None:
        """Do for one job what time alone asks for."""
        work, agent = self.works.get(job), self.agent
        if work is None:
            return
        if work.claim_at <= agent.now:
            self._on_standing(work, holding.on_claim_due(work, agent))
        if work.release_at <= agent.now:
            self._on_standing(work, holding.on_release_due(work, agent))
        if work.reclaim_at <= agent.now:
            holding.on_reclaim_due(work, agent, connected=connected)
        if work.alive and agent.now >= work.safe_until:
            execution.follow_deadline(work, agent)
        for when, act in _dues(work):
            if when <= agent.now:
                act(work, agent)
        if work.job in self.works:
            self._look_after(work)

    # What operators and the system say

    def on_log_asked(self, job: JobId) -> None:
        """Show what a job prints, if it is in hand and runs."""
        work = self.works.get(job)
        if work is not None:
            telling.on_log_asked(work, self.agent)
            self._look_after(work)

    def hurry(self) -> None:
        """Repeat at once all that may have been lost with a connection."""
        for work in self.works.values():
            work.hurry(self.agent.now)
            self._look_after(work)

    def drain(self, reason: str) -> None:
        """Accept nothing new, and hand over what can be handed over."""
        self.open = False
        self._parking.clear()
        for work in list(self.works.values()):
            if work.lease in (Lease.CLAIMING, Lease.BACKING_OFF) and not work.invested:
                self._on_standing(work, holding.withdraw(work, self.agent))
            elif work.lease is not Lease.OVER:
                moving.leave(work, self.agent, reason)
                self._look_after(work)

    def reopen(self) -> None:
        """Accept offers again, and keep what has not left yet."""
        self.open = True
        for work in self.works.values():
            moving.stay(work, self.agent)
            self._look_after(work)

    @property
    def busy(self) -> bool:
        """Return whether a container is left, or a lease that somebody would wait for."""
        return any(w.run or w.lease is Lease.HELD for w in self.works.values())

    def end_all(self, reason: str) -> None:
        """Kill what runs, and give it back."""
        for work in self.works.values():
            ends = work.stage in (Stage.PROPOSING, Stage.REMOVING)
            if work.run and (not ends or isinstance(work.after, Restart | BeginAnew)):
                back = GiveBack(retry_after_s=0.0, reason=reason, moved=True)
                ending.remove(work, self.agent, back)

    def _abandon(self, work: Work) -> None:
        """Let go of a job that is decided, given back or somebody else's."""
        self._freed.discard(work.job)
        work.turn(Lease.OVER)
        work.outcome = None
        saving.discard(work, self.agent, decided=work.decided is not None)
        work.kept = []
        work.quieten()
        if work.run and work.stage not in (Stage.PROPOSING, Stage.REMOVING):
            ending.remove(work, self.agent, None)
        work.after = None

    def _look_after(self, work: Work) -> None:
        """Forget a job that is over, and plan the next look at one that is not."""
        if work.lease is Lease.OVER and work.run == 0:
            if self.works.pop(work.job, None) is None:
                return
            self._leftover.discard(work.job)
            self._agenda.drop(work.job)
            self.agent.do(UnfollowJob(job=work.job))
            if work.decided is None:
                self._used.note(work.job, Epoch(work.floor - 1))
            else:
                self._used.forget(work.job)
            self._unpark()
            return
        if work.lease is Lease.OVER:
            self._leftover.add(work.job)
        elif work.lease is Lease.RELEASING:
            self._note_release(work)
        when = work.next_wake()
        if when != NOT:
            self._agenda.set(work.job, when)

    def _note_release(self, work: Work) -> None:
        """Give the slot of a job that is being given back to the next; not to itself too soon."""
        if work.run:
            self._leftover.add(work.job)
        if work.job not in self._freed:
            self._freed.add(work.job)
            self._unpark()
        if not work.run and work.job in self._leftover:
            self._leftover.discard(work.job)
            self._unpark()


def _dues(work: Work) -> tuple[tuple[Instant, Callable[[Work, Agent], None]], ...]:
    """Return what may have fallen due, in the order in which it is to be done."""
    return (
        (work.timeout_at, execution.on_timeout),
        (work.save_at, moving.on_save_due),
        (work.report_at, saving.report),
        (work.propose_at, ending.propose),
        (work.store_at, ending.store),
        (work.tell_at, telling.tell),
        (work.log_at, telling.read_log),
    )
