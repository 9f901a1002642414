"""Checkpoints of a running job: when to take one, how to make it count, when to delete one.

1. A checkpoint exists when a majority's records name it; until then it is reported again.
2. One is deleted only when two newer ones were seen in the records of a majority, the job is
   decided, or it is of an epoch at which no majority can take it any more.
3. At most one is under way per job, and what its program left when it ended to be started again.
   It carries the epoch at which it was begun; one that arrives after the lease was claimed anew
   is deleted, because nodes would refuse it.
"""

from dataclasses import replace

from edge_agent import planning
from edge_agent.agent import Agent
from edge_agent.effect import DiscardCheckpoint, TakeCheckpoint
from edge_agent.event import CheckpointFailed, CheckpointSaved
from edge_agent.work import NOT, Lease, Stage, Work, growing
from workrs.domain import quorum
from workrs.domain.job import CheckpointMode
from workrs.wire.message import CheckpointReport

POSTPONE_S = 1.0
"""Wait while the program is frozen or its lease is being claimed anew."""
RETRY_S = 10.0
"""Wait after a checkpoint that failed."""
REPORT_FIRST_S = 0.2
REPORT_MAX_S = 2.0
KEPT = 2


def is_possible(work: Work, agent: Agent) -> bool:
    """Return whether this job can be checkpointed here at all."""
    return agent.can_checkpoint and work.spec.checkpoint.mode is not CheckpointMode.OFF


def plan_first(work: Work, agent: Agent) -> None:
    """Set the first checkpoint of a run, or the next one of a job that stays after all."""
    work.saving = False
    if is_possible(work, agent):
        planning.tell(work, agent, planning.plan(work, agent))


def take(work: Work, agent: Agent) -> None:
    """Take a checkpoint now, unless one is under way; later if it would not count now."""
    work.save_at = NOT
    if work.saving or work.stage is not Stage.RUNNING:
        return
    if work.frozen or work.lease is not Lease.HELD:
        work.save_at = agent.later(POSTPONE_S)
        return
    begin(work, agent)


def begin(work: Work, agent: Agent) -> None:
    """Have the state of the container in hand saved."""
    work.seq += 1
    work.saving = True
    work.saved_at = work.begun_at[work.epoch, work.seq] = agent.now
    agent.do(
        TakeCheckpoint(
            job=work.job,
            run=work.run,
            epoch=work.epoch,
            seq=work.seq,
            stores=agent.cluster.stores,
        )
    )


def on_saved(work: Work, agent: Agent, event: CheckpointSaved) -> bool:
    """Ask for votes on a complete checkpoint; return whether it is of use."""
    work.saving = False
    ref = event.ref
    if ref.epoch != work.epoch or work.lease is not Lease.HELD:
        work.begun_at.pop((ref.epoch, ref.seq), None)
        agent.do(DiscardCheckpoint(job=work.job, ref=ref, keep=tuple(work.kept)))
        if work.stage is Stage.RUNNING:
            work.save_at = agent.later(POSTPONE_S)
        return False
    ref = replace(ref, upload_s=round(event.upload_s, 3))
    ref = planning.on_saved(work, agent, ref, event.frozen_s)
    work.kept.insert(0, ref)
    work.reports = 0
    report(work, agent)
    agent.log(
        "checkpoint_taken",
        job=work.job,
        epoch=ref.epoch,
        seq=ref.seq,
        rung=ref.rung,
        bytes=ref.bytes,
        frozen_s=round(event.frozen_s, 3),
        upload_s=round(event.upload_s, 3),
        work_s=ref.work_s,
        next_s=ref.next_s,
        next_why=ref.next_why,
    )
    return True


def on_failed(work: Work, agent: Agent, event: CheckpointFailed) -> None:
    """Go on without; try again after a while."""
    work.saving = False
    work.begun_at.pop((event.epoch, event.seq), None)
    agent.log("checkpoint_failed", job=work.job, epoch=work.epoch, why=event.reason)
    if work.stage is Stage.RUNNING:
        work.save_at = agent.later(max(RETRY_S, planning.plan(work, agent).work_s))


def report(work: Work, agent: Agent) -> None:
    """Ask the nodes to put the newest checkpoint into their records."""
    work.report_at = NOT
    if not work.kept or work.kept[0] in work.confirmed or work.lease is not Lease.HELD:
        return
    if work.kept[0].epoch != work.epoch:
        return
    body = CheckpointReport(incarnation=agent.incarnation, checkpoint=work.kept[0])
    agent.say("checkpoint", work.job, body)
    work.report_at = agent.later(growing(REPORT_FIRST_S, REPORT_MAX_S, work.reports))
    work.reports += 1


def on_records(work: Work, agent: Agent) -> bool:
    """See which checkpoints the records name; return whether the newest just became one."""
    newest = work.kept[0]
    if newest in work.confirmed:
        return False
    for ref in work.kept:
        if ref not in work.confirmed and quorum.is_named(work.records, ref, agent.cluster.size):
            work.confirmed.add(ref)
    _prune(work, agent)
    if newest in work.confirmed:
        work.report_at = NOT
        if newest.epoch == work.epoch:
            agent.log("checkpoint_kept", job=work.job, epoch=newest.epoch, seq=newest.seq)
        return True
    return False


def _prune(work: Work, agent: Agent) -> None:
    newer = 0
    place = 0
    while place < len(work.kept) and newer < KEPT:
        newer += work.kept[place] in work.confirmed
        place += 1
    doomed, work.kept = work.kept[place:], work.kept[:place]
    work.confirmed.intersection_update(work.kept)
    for ref in doomed:
        agent.do(DiscardCheckpoint(job=work.job, ref=ref, keep=tuple(work.kept)))


def discard(work: Work, agent: Agent, *, decided: bool) -> None:
    """Delete what nobody will need: all when decided, when fenced what no record names."""
    named = {ref for r in work.records.values() for ref in r.checkpoints}
    if decided:
        for ref in sorted(named.union(work.kept), key=lambda r: (*r.order, r.manifest)):
            agent.do(DiscardCheckpoint(job=work.job, ref=ref, keep=()))
        return
    if not quorum.is_fenced(work.records, work.epoch, agent.cluster.size):
        # A report that is still under way may be taken before the release that follows it, and
        # a record that names what is gone has lost its place for what is there. It goes with
        # the job.
        return
    for ref in work.kept:
        if ref.epoch == work.epoch and ref not in named:
            agent.do(DiscardCheckpoint(job=work.job, ref=ref, keep=tuple(named)))
