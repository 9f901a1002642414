"""Running a job whose lease is held: from the won claim to the end of its program.

1. An outcome that the records oblige us to adopt is proposed, and nothing is run.
2. The program starts only after a majority has the attempt's number on disk, so that a job
   that kills its agents runs out of attempts.
3. A checkpoint that is damaged, or of a machine too unlike this one, costs the step back to the
   next best way that `workrs.domain.ladder` knows, and the job says so; a silent store costs no
   attempt as long as nothing was started.
4. A lease is released only when no process of its container is left: what remains of that is
   removed later, and the job is not taken again before.
"""

from edge_agent import ending, holding, moving, planning, saving, telling
from edge_agent.agent import Agent
from edge_agent.effect import (
    FreezeContainer,
    MoveDeadline,
    PrepareStart,
    RemoveContainer,
    StartContainer,
    ThawContainer,
)
from edge_agent.event import (
    Blame,
    CheckpointFailed,
    CheckpointSaved,
    ContainerStarted,
    StartFailed,
)
from edge_agent.work import NOT, BeginAnew, Finish, GiveBack, Lease, Restart, Stage, Work
from workrs.domain import ladder, quorum
from workrs.domain.ids import Instant
from workrs.domain.job import Outcome, Verdict
from workrs.domain.retry import EXIT_CHECKPOINTED
from workrs.domain.voter import NOTE_MAX

STORE_RETRY_S = 1.0
"""Wait before a job goes elsewhere because a store was silent here."""


def begin(work: Work, agent: Agent) -> None:
    """Do what winning the lease calls for, with or without a container in hand."""
    work.seq = 0
    work.spared = quorum.spared(work.granted)
    adopted = quorum.must_adopt(work.granted, work.epoch)
    if adopted is not None:
        agent.log("outcome_adopted", job=work.job, epoch=work.epoch, of=adopted.epoch)
        ending.settle(work, agent, adopted.outcome)
    elif quorum.is_cancelled(work.granted):
        ending.settle(work, agent, Outcome(verdict=Verdict.CANCELLED, reason="cancelled"))
    elif work.outcome is not None:
        ending.settle(work, agent, work.outcome)
    elif work.run:
        _keep_or_drop(work, agent)
    else:
        _begin_attempt(work, agent)


def _keep_or_drop(work: Work, agent: Agent) -> None:
    """Go on with a container that outlived its lease, unless others went past it."""
    tried = quorum.next_attempt(work.granted) - 1
    newest = max((ref.order for ref in work.kept), default=(0, 0))
    found = quorum.newest_checkpoints(work.granted)
    if tried > work.attempt or (found and found[0].order > newest):
        agent.log("container_outdated", job=work.job, attempt=work.attempt, newest=tried)
        ending.remove(work, agent, BeginAnew())
    elif work.stage is Stage.RECORDING:
        _start_if_recorded(work, agent)
    elif work.stage is Stage.EXITED and work.files_asked is not None:
        # Nodes refuse what was begun at the former epoch.
        ending.save_files(work, agent)
    else:
        follow_deadline(work, agent)
        if work.leaving:
            moving.step(work, agent)


def _begin_attempt(work: Work, agent: Agent) -> None:
    tried = quorum.next_attempt(work.granted) - 1
    if work.attempt == 0 or tried > work.attempt:
        work.attempt = tried + 1
        work.recorded = False
        work.started_at = NOT
    if work.counted_attempt > work.spec.attempts_max:
        starts = f"{tried} start{'s' if tried > 1 else ''}"
        reason = f"given up after {starts}: the last ended without a report, its agent was lost"
        ending.settle(work, agent, Outcome(verdict=Verdict.FAILED, reason=reason))
        return
    work.kept = quorum.newest_checkpoints(work.granted)
    _find_ways(work, agent)
    prepare(work, agent)


def _find_ways(work: Work, agent: Agent) -> None:
    """List how the job can be started again here, the best way first."""
    work.fall_why = ""
    if work.kept:
        newest = work.kept[0]
        refused = ladder.refusal(ladder.saved_as(newest), agent.able)
        work.fall_why = refused or ""
    mode = work.spec.checkpoint.mode
    work.candidates = ladder.ways(work.kept, able=agent.able, mode=mode)


def prepare(work: Work, agent: Agent) -> None:
    """Fetch what the start needs, if anything; then have the attempt recorded."""
    work.run = agent.new_run()
    work.way = work.candidates[0] if work.candidates else None
    if work.way is None and work.spec.input_url is None:
        record(work, agent)
        return
    work.move(Stage.PREPARING)
    agent.do(
        PrepareStart(
            job=work.job,
            run=work.run,
            spec=work.spec,
            checkpoint=work.way.ref if work.way else None,
            rung=work.way.rung if work.way else "",
            stores=agent.cluster.stores,
        )
    )


def record(work: Work, agent: Agent) -> None:
    """Have the attempt's number written by a majority, then start."""
    work.move(Stage.RECORDING)
    _start_if_recorded(work, agent)


def _start_if_recorded(work: Work, agent: Agent) -> None:
    """Start, or wait for the heartbeat that makes it safe to."""
    if not (work.recorded and work.lease is Lease.HELD and agent.now < work.safe_until):
        agent.beat_due = True
    elif work.leaving:
        moving.give_back(work, agent)
    else:
        _start(work, agent)


def on_renewed(work: Work, agent: Agent, attempt: int) -> None:
    """Act on a moved deadline, and on an attempt that is now on a majority's disks."""
    if work.attempt and attempt == work.attempt:
        work.recorded = True
        if work.stage is Stage.RECORDING:
            _start_if_recorded(work, agent)
            return
    follow_deadline(work, agent)


def _start(work: Work, agent: Agent) -> None:
    work.move(Stage.STARTING)
    work.run_epoch = work.epoch
    work.frozen = work.lapsed = work.parted = False
    work.files_asked = None
    work.told_until = work.safe_until
    agent.do(
        StartContainer(
            job=work.job,
            run=work.run,
            epoch=work.epoch,
            attempt=work.attempt,
            spec=work.spec,
            restore=work.way is not None,
            deadline=work.safe_until,
        )
    )


def on_started(work: Work, agent: Agent, event: ContainerStarted) -> None:
    """Note that the program runs, and plan its first checkpoint."""
    work.move(Stage.RUNNING)
    # Not from the start that was asked for: fetching an image is not the program's time.
    work.started_at = min(work.started_at, agent.now)
    work.timeout_at = Instant(work.started_at + work.spec.timeout_s)
    facts: dict[str, object] = {
        "job": work.job,
        "epoch": work.epoch,
        "attempt": work.attempt,
        "start_s": round(event.start_s, 3),
    }
    if work.way is None:
        agent.log("job_started", **facts)
    else:
        ref = work.way.ref
        facts |= {
            "fetch_s": round(event.fetch_s, 3),
            "rung": work.way.rung,
            "from_epoch": ref.epoch,
            "seq": ref.seq,
            "bytes": ref.bytes,
        }
        agent.log("restored", **facts)
    _tell_fall(work, agent)
    planning.begin(work, agent, work.way, event.fetch_s + event.start_s)
    saving.plan_first(work, agent)
    if agent.now >= work.told_until - holding.LAPSE_SLACK_S:
        work.lapsed = True
    follow_deadline(work, agent)
    if work.leaving:
        moving.step(work, agent)


def _tell_fall(work: Work, agent: Agent) -> None:
    """Say in the log and in the job's state that it goes back further than it was saved."""
    fell = ladder.fall(work.kept, work.way, work.fall_why)
    if fell:
        agent.log("job_fell", job=work.job, epoch=work.epoch, what=fell)
        reached = work.way.ref.progress if work.way else None
        telling.on_progress(work, agent, reached or 0.0, fell[:NOTE_MAX])


def on_start_failed(work: Work, agent: Agent, event: StartFailed) -> None:
    """Step back to an older checkpoint, go elsewhere, or count a failed attempt."""
    why = event.reason.partition("\n")[0]
    agent.log("start_failed", job=work.job, epoch=work.epoch, blame=event.blame.value, why=why)
    match event.blame:
        case Blame.CHECKPOINT if work.way is not None:
            work.fall_why = work.fall_why or event.reason
            work.candidates = work.candidates[1:]
            # The next way is a run of its own; nobody else asks for this one's end.
            agent.do(RemoveContainer(job=work.job, run=work.run))
            prepare(work, agent)
        case Blame.STORE:
            back = GiveBack(retry_after_s=STORE_RETRY_S, reason=event.reason)
            ending.remove(work, agent, back)
        case Blame.CHECKPOINT | Blame.CONTAINER:
            ending.fail(work, agent, code=None, reason=f"could not be started: {event.reason}")


def follow_deadline(work: Work, agent: Agent) -> None:
    """Freeze the program at its deadline; where that moved, tell the warden and thaw it.

    The warden freezes by itself, also when this process hangs: whoever may have been frozen
    since is thawed, after the warden knows the new deadline.
    """
    if agent.now >= work.safe_until:
        if work.alive and not work.frozen:
            work.frozen = True
            agent.do(FreezeContainer(job=work.job, run=work.run))
            silent_s = round(agent.now - work.renewed_at, 3)
            agent.log("lease_late", job=work.job, epoch=work.epoch, silent_s=silent_s)
        return
    if work.stage not in (Stage.STARTING, Stage.RUNNING):
        return
    agent.do(MoveDeadline(job=work.job, epoch=work.run_epoch, deadline=work.safe_until))
    if work.alive and (work.frozen or work.lapsed):
        if not work.parted:
            agent.do(ThawContainer(job=work.job, run=work.run))
        if work.frozen:
            agent.log("lease_renewed_late", job=work.job, epoch=work.epoch)
        work.frozen = work.lapsed = False


def on_saved(work: Work, agent: Agent, event: CheckpointSaved) -> None:
    """Make a checkpoint count; after an exit that asked for it, start from it."""
    useful = saving.on_saved(work, agent, event)
    if work.stage is Stage.EXITED:
        # One that was under way when the program ended holds less than it did until then.
        if not useful or event.ref.order != work.files_asked:
            return
        ref = next((kept for kept in work.kept if kept == event.ref), event.ref)
        ending.remove(work, agent, Restart(ref=ref))
    elif work.leaving:
        moving.on_saved(work, agent, event, useful=useful)
    elif useful:
        work.stored_s = event.upload_s


def on_save_failed(work: Work, agent: Agent, event: CheckpointFailed) -> None:
    """Go on without; but a program that ended for it has nothing to go on from."""
    saving.on_failed(work, agent, event)
    if work.stage is Stage.EXITED:
        if (event.epoch, event.seq) == work.files_asked:
            reason = f"exit code 85, but its files could not be saved: {event.reason}"
            ending.fail(work, agent, code=EXIT_CHECKPOINTED, reason=reason)
    elif work.leaving:
        moving.on_failed(work, agent)


def on_timeout(work: Work, agent: Agent) -> None:
    """End a program that took longer than its author allowed."""
    work.timeout_at = NOT
    if work.alive:
        reason = f"timed out after {work.spec.timeout_s:g} s"
        ending.fail(work, agent, code=None, reason=reason)


def on_killed(work: Work, agent: Agent) -> None:
    """Release the lease, if that is what the program stood in the way of."""
    if work.stage is Stage.REMOVING and isinstance(work.after, GiveBack):
        back, work.after = work.after, None
        work.killed = True
        holding.release(work, agent, back)


def after_removal(work: Work, agent: Agent) -> None:
    """Go on with what the removed container stood in the way of."""
    work.run = 0
    work.killed = False
    if work.stage is not Stage.REMOVING:
        return
    work.move(Stage.IDLE)
    after, work.after = work.after, None
    match after:
        case Finish(outcome=outcome):
            ending.settle(work, agent, outcome)
        case GiveBack() as back:
            holding.release(work, agent, back)
        case Restart(ref=ref) if work.lease is Lease.HELD:
            work.kept = [ref, *(k for k in work.kept if k != ref)]
            _find_ways(work, agent)
            prepare(work, agent)
        case BeginAnew() if work.lease is Lease.HELD:
            work.attempt = 0
            _begin_attempt(work, agent)
        case Restart() | BeginAnew() | None:
            pass  # without a lease: the next one begins again
