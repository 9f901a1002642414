"""Handing a running job over on purpose: nothing is done twice, and it stands still for moments.

1. While the program runs on, its state is saved as usual, until what changed since is little:
   what the stores have is not sent again. A stop that is near skips this.
2. Then the program is frozen, saved for the last time, and *parted*: it never runs on here
   unless that failed. Its lease is released only after a majority's records name the last
   checkpoint and no process of it is left, so whoever claims the job goes on from there.
3. A last checkpoint that fails lets the program go on; the move is tried again later.
4. Leaving uses up none of the job's attempts: see `workrs.domain.retry`.

Not promised: that a job moves. One that cannot be saved runs to its end; an agent that is
being stopped gives it up at the end of its grace.
"""

from edge_agent import ending, saving
from edge_agent.agent import Agent
from edge_agent.effect import FreezeContainer, ThawContainer
from edge_agent.event import CheckpointSaved
from edge_agent.work import NOT, GiveBack, Lease, Stage, Work
from workrs.domain.ids import Instant

QUICK_S = 0.5
"""A checkpoint that was stored as fast needs no other before the last one."""
COPIES_MAX = 2
"""Checkpoints before the last one: each leaves only what the program changed during it."""
COPY_MB_PER_S = 100
"""How fast memory is stored, assumed of a job that was never saved."""
FOLLOW_MAX_S = 2.0
"""Wait before the last checkpoint of a large job, for the agent that fetches ahead to catch up:
the program works meanwhile, and the last checkpoint has the stores and the cores to itself."""
RETRY_S = 5.0
"""Wait after a last checkpoint that failed."""
POSTPONE_S = 0.2
"""Wait while the lease is being claimed anew."""
_UNSTARTED = (Stage.PREPARING, Stage.RECORDING)


def leave(work: Work, agent: Agent, reason: str) -> None:
    """Begin to hand the job over; asked again, change nothing.

    A start that nodes may have written down is given back once they have: see `spared`. A program
    that is between two starts leaves after the next.
    """
    if work.stage in (Stage.IDLE, Stage.PROPOSING):
        return
    if not (work.stage in _UNSTARTED or saving.is_possible(work, agent)):
        return
    if work.left_at == NOT:
        work.left_at = agent.now
        work.leave_reason = reason
        if not work.parted:
            work.copies = 0
    if work.stage is Stage.PREPARING or (work.stage is Stage.RECORDING and work.recorded):
        give_back(work, agent)
    else:
        step(work, agent)


def give_back(work: Work, agent: Agent) -> None:
    """Kill the program, then release the lease; the start uses up no attempt."""
    back = GiveBack(retry_after_s=0.0, reason=work.leave_reason, moved=True)
    ending.remove(work, agent, back)


def stay(work: Work, agent: Agent) -> None:
    """Keep a job that was to leave, unless its last checkpoint has begun and succeeds."""
    if work.leaving:
        work.left_at = NOT
        if work.stage is Stage.RUNNING and not (work.saving or work.parted):
            saving.plan_first(work, agent)


def step(work: Work, agent: Agent) -> None:
    """Take the next checkpoint of a job that leaves, unless one is under way."""
    work.save_at = NOT
    if work.saving or work.stage is not Stage.RUNNING:
        return
    if work.frozen or work.lease is not Lease.HELD:
        work.save_at = agent.later(POSTPONE_S)
        return
    if not work.parted and not _wants_copy(work, agent):
        work.parted = True
        work.timeout_at = NOT
        agent.do(FreezeContainer(job=work.job, run=work.run))
        agent.log("job_parts", job=work.job, epoch=work.epoch, copies=work.copies)
    saving.begin(work, agent)


def _wants_copy(work: Work, agent: Agent) -> bool:
    """Return whether one more checkpoint beforehand shortens the last one by what it costs."""
    known = bool(work.kept) and work.kept[0].epoch == work.epoch
    guess_s = work.stored_s if known else work.spec.memory_mb / COPY_MB_PER_S
    if agent.now + 3 * guess_s >= agent.until:
        return False
    if not known:
        return True
    stale = agent.now - work.saved_at > max(QUICK_S, 2 * work.stored_s)
    return work.copies < COPIES_MAX and work.stored_s > QUICK_S and (stale or work.copies == 1)


def on_saved(work: Work, agent: Agent, event: CheckpointSaved, *, useful: bool) -> None:
    """Go on after a checkpoint of a job that leaves; the last one waits for the records."""
    if useful:
        work.stored_s = event.upload_s
        work.copies += 1
        if work.parted:
            work.save_at = NOT
            return
    # Of no use is one whose lease was claimed anew meanwhile: nodes would refuse it.
    if useful and work.stored_s > QUICK_S and not _wants_copy(work, agent):
        wait_s = min(FOLLOW_MAX_S, work.stored_s / 2)
        if agent.now + wait_s + 2 * work.stored_s < agent.until:
            work.save_at = agent.later(wait_s)
            return
    step(work, agent)


def on_failed(work: Work, agent: Agent) -> None:
    """Let the program go on, and try to leave again after a while."""
    if work.stage is not Stage.RUNNING:
        return
    if work.parted:
        go_on(work, agent)
    if work.leaving:
        work.copies = 0
        work.save_at = agent.later(RETRY_S)


def go_on(work: Work, agent: Agent) -> None:
    """Let a program that stands still for its last checkpoint run on."""
    work.parted = False
    work.timeout_at = Instant(work.started_at + work.spec.timeout_s)
    if agent.now < work.safe_until:
        agent.do(ThawContainer(job=work.job, run=work.run))


def on_kept(work: Work, agent: Agent) -> None:
    """Give the job back once its last checkpoint is in a majority's records."""
    last = work.kept[0]
    is_last = last.order == (work.epoch, work.seq)
    if work.parted and is_last and work.stage is Stage.RUNNING and not work.saving:
        stood_s = round(agent.now - work.saved_at, 3)
        agent.log("job_left", job=work.job, epoch=work.epoch, seq=last.seq, stood_s=stood_s)
        give_back(work, agent)


def on_save_due(work: Work, agent: Agent) -> None:
    """Take the checkpoint that has fallen due."""
    if work.leaving:
        step(work, agent)
    else:
        saving.take(work, agent)
