"""What agents sent and nodes acknowledged, and until when a program may run by that: S7.

It counts from the sending of claims and heartbeats, on the agent's clock, over the nodes'
disks, and knows nothing of how the agent counts.
"""

from dataclasses import dataclass, field

from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.lease import LeaseTiming
from workrs.domain.record import Holder, Incarnation
from workrs.testing.simulator.votelog import VoteLog
from workrs.wire.message import AgentView, Beat, Held

SLACK_S = 1e-6


@dataclass(slots=True)
class LeaseLog:
    """Renewals, as somebody sees them who sees everything."""

    votes: VoteLog
    timing: LeaseTiming
    _claims: dict[tuple[JobId, Holder, Epoch], Instant] = field(default_factory=dict)
    """First sending of a claim."""
    _beats: dict[tuple[ClientId, Incarnation], dict[int, tuple[Instant, tuple[Held, ...]]]] = field(
        default_factory=dict
    )
    _renewed: dict[tuple[JobId, Holder], dict[Epoch, dict[ClientId, Instant]]] = field(
        default_factory=dict
    )
    """By node: the last sending that it took, at that epoch."""

    def claim(self, job: JobId, holder: Holder, epoch: Epoch, sent: Instant) -> None:
        """Note that an agent claims."""
        self._claims.setdefault((job, holder, epoch), sent)

    def beat(self, agent: ClientId, beat: Beat, sent: Instant) -> None:
        """Note a heartbeat."""
        beats = self._beats.setdefault((agent, beat.incarnation), {})
        beats[beat.counter] = (sent, beat.held)
        if len(beats) > 40:
            del beats[next(iter(beats))]

    def grant(self, node: ClientId, job: JobId, holder: Holder, epoch: Epoch) -> None:
        """Note that a node has granted a claim."""
        sent = self._claims.get((job, holder, epoch))
        if sent is not None:
            self._renew(node, job, holder, epoch, sent)

    def receipt(self, node: ClientId, agent: ClientId, view: AgentView) -> None:
        """Note what a node acknowledges, as far as its disk bears it out."""
        beats = self._beats.get((agent, view.incarnation))
        sent = beats.get(view.counter) if beats else None
        if sent is None:
            return
        holder = Holder(client=agent, incarnation=view.incarnation)
        for job, epoch, _ in sent[1]:
            vote = self.votes.votes.get((node, job))
            if vote is None or vote.holder is None or (job, epoch) in view.refused:
                continue
            # A node that cancels waits for no lease: its claim may follow in the same batch.
            is_preempted = vote.epoch > epoch and vote.holder.client in self.votes.names
            if is_preempted or (vote.epoch == epoch and vote.holder == holder):
                self._renew(node, job, holder, epoch, sent[0])

    def _renew(
        self, node: ClientId, job: JobId, holder: Holder, epoch: Epoch, sent: Instant
    ) -> None:
        nodes = self._renewed.setdefault((job, holder), {}).setdefault(epoch, {})
        nodes[node] = max(sent, nodes.get(node, sent))

    def safe_until(self, job: JobId, holder: Holder) -> float:
        """Return the agent's instant from which a program of the job must stand frozen."""
        best = float("-inf")
        for nodes in self._renewed.get((job, holder), {}).values():
            if len(nodes) >= self.votes.majority:
                sent = sorted(nodes.values(), reverse=True)[self.votes.majority - 1]
                best = max(best, sent)
        return best + self.timing.ttl_s - self.timing.margin_s + SLACK_S
