"""How an attempt ends: what its program's exit means, and the proposal of an outcome.

1. What is proposed at an epoch is never changed, and is repeated until it is decided.
2. An attempt that failed is retried elsewhere until the spec's attempts are used up.
3. Nothing is proposed or given back while the program may still run.
"""

from edge_agent import saving
from edge_agent.agent import Agent
from edge_agent.effect import RemoveContainer, StoreResult
from edge_agent.event import ContainerExited
from edge_agent.work import NOT, After, Finish, GiveBack, Lease, Stage, Work, growing
from workrs.domain.job import REASON_MAX, Outcome, Verdict, outcome_with_result
from workrs.domain.retry import (
    EXIT_CHECKPOINTED,
    EXIT_NEVER,
    EXIT_TRY_LATER,
    RetryPolicy,
    is_final,
)
from workrs.wire.message import OutcomeProposal

PROPOSE_FIRST_S = 0.2
PROPOSE_MAX_S = 2.0
REASON_TAIL = 2048
"""Characters of stderr that a failed outcome carries."""
STORE_FIRST_S = 0.5
STORE_MAX_S = 5.0
STORE_TRIES_MAX = 8
"""Times a large result is offered to the stores, over some 20 s; then the job goes elsewhere."""
_RETRY = RetryPolicy()


def remove(work: Work, agent: Agent, after: After) -> None:
    """End the container, whatever it does, and remember what comes *after* it is gone."""
    work.after = after
    work.save_at = work.timeout_at = work.tell_at = work.store_at = NOT
    work.saving = False
    work.begun_at.clear()
    if work.stage is Stage.REMOVING:
        return
    work.move(Stage.REMOVING)
    agent.do(RemoveContainer(job=work.job, run=work.run))


def settle(work: Work, agent: Agent, outcome: Outcome) -> None:
    """Make *outcome* this agent's proposal, as soon as no program of the job can run."""
    match work.stage:
        case Stage.IDLE | Stage.PROPOSING:
            work.move(Stage.PROPOSING)
        case Stage.EXITED:
            # The program is gone: its remains need not hold the outcome up.
            agent.do(RemoveContainer(job=work.job, run=work.run))
            work.move(Stage.PROPOSING)
            work.timeout_at = work.store_at = work.tell_at = NOT
        case _:
            remove(work, agent, Finish(outcome=outcome))
            return
    assert work.proposed_at != work.epoch or work.outcome == outcome, f"{work.job}: two values"
    work.outcome = outcome
    work.proposals = 0
    propose(work, agent)


def propose(work: Work, agent: Agent) -> None:
    """Say the outcome, again if need be. Without a lease it waits for the next one."""
    work.propose_at = NOT
    if work.lease is not Lease.HELD or work.outcome is None:
        return
    work.proposed_at = work.epoch
    body = OutcomeProposal(incarnation=agent.incarnation, epoch=work.epoch, outcome=work.outcome)
    agent.say("outcome", work.job, body)
    work.propose_at = agent.later(growing(PROPOSE_FIRST_S, PROPOSE_MAX_S, work.proposals))
    work.proposals += 1


def on_exited(work: Work, agent: Agent, event: ContainerExited) -> None:
    """Read the program's exit."""
    if work.stage is Stage.REMOVING:
        return
    work.move(Stage.EXITED)
    work.save_at = work.timeout_at = NOT
    agent.log(
        "job_exited",
        job=work.job,
        epoch=work.epoch,
        attempt=work.attempt,
        exit_code=event.code,
        result_bytes=event.result_bytes,
    )
    if event.problem:
        fail(work, agent, code=event.code, reason=event.problem)
    elif event.oom_killed:
        reason = f"out of memory: it needed more than its {work.spec.memory_mb} MB"
        fail(work, agent, code=event.code, reason=_with_tail(reason, event.stderr_tail))
    elif event.code == 0:
        _succeed(work, agent, event)
    elif event.code == EXIT_CHECKPOINTED and agent.can_checkpoint:
        save_files(work, agent)
    else:
        reason = _with_tail(_reading(event.code), event.stderr_tail)
        fail(work, agent, code=event.code, reason=reason)


def save_files(work: Work, agent: Agent) -> None:
    """Save what a program left that ended to be started again; it starts from nothing else."""
    saving.begin(work, agent)
    work.files_asked = (work.epoch, work.seq)


def _succeed(work: Work, agent: Agent, event: ContainerExited) -> None:
    if event.result is None:
        work.stores = 0
        store(work, agent)
        return
    outcome = outcome_with_result(Verdict.SUCCEEDED, event.result, exit_code=0)
    settle(work, agent, outcome)


def store(work: Work, agent: Agent) -> None:
    """Offer a large result to the stores."""
    work.store_at = NOT
    work.stores += 1
    agent.do(StoreResult(job=work.job, run=work.run, epoch=work.epoch, stores=agent.cluster.stores))


def on_result_stored(work: Work, agent: Agent, url: str, size_bytes: int) -> None:
    """Propose success with a result that lies in the stores."""
    outcome = Outcome(
        verdict=Verdict.SUCCEEDED, exit_code=0, result_url=url, result_bytes=size_bytes
    )
    settle(work, agent, outcome)


def on_result_refused(work: Work, agent: Agent, reason: str) -> None:
    """Offer the result again, or let another agent try."""
    agent.log("result_refused", job=work.job, epoch=work.epoch, why=reason)
    if work.stores < STORE_TRIES_MAX:
        work.store_at = agent.jittered(growing(STORE_FIRST_S, STORE_MAX_S, work.stores - 1))
        return
    fail(work, agent, code=0, reason=f"its result could not be stored: {reason}")


def fail(work: Work, agent: Agent, *, code: int | None, reason: str) -> None:
    """Count a failed attempt: the job's last, or to be tried again elsewhere."""
    reason = reason[:REASON_MAX]  # an engine's own words may be long
    if is_final(code, work.counted_attempt, work.spec.attempts_max):
        settle(work, agent, Outcome(verdict=Verdict.FAILED, exit_code=code, reason=reason))
    else:
        wait_s = _RETRY.delay_s(work.counted_attempt)
        remove(work, agent, GiveBack(retry_after_s=wait_s, reason=reason))


def _reading(code: int) -> str:
    match code:
        case 75:
            return f"exit code {EXIT_TRY_LATER}: the program asked to be tried later"
        case 78:
            return f"exit code {EXIT_NEVER}: the program says trying again cannot help"
        case 85:
            return f"exit code {EXIT_CHECKPOINTED}, but this agent cannot save its files"
        case _ if code > 128:
            return f"ended by signal {code - 128}"
        case _:
            return f"exit code {code}"


def _with_tail(reason: str, tail: str) -> str:
    tail = tail.strip()[-REASON_TAIL:]
    return f"{reason}\n{tail}" if tail else reason
