"""When the next checkpoint of a job is due: what this agent knows, put to the rule.

The rule is `workrs.domain.next_checkpoint`, the model docs/checkpoint-model.md. Known are: the
forecast and the interval in the job's spec; the cost of its checkpoints as measured here, before
the first as its last agent measured it, else as its memory limit suggests; how often agents of
this cluster are lost, as its nodes count it; and how much of the work is safe.
"""

from dataclasses import replace

from edge_agent.agent import Agent
from edge_agent.measured import averaged
from edge_agent.work import Stage, Work
from workrs.domain.ids import Instant
from workrs.domain.job import Takeover
from workrs.domain.ladder import Way
from workrs.domain.next_checkpoint import NextCheckpoint, plan_next
from workrs.domain.plan import Conditions
from workrs.domain.record import CheckpointRef

COST_FIXED_S = 0.25
COST_PER_MB_S = 0.45e-3
"""What a checkpoint costs a program that fills its memory limit; measured, docs/benchmarks.md."""
COST_LEAST_S = 0.1
"""A program may stand still for a millisecond only. But every checkpoint is a commit of each node
and some messages: with an hour between faults one is then due every 27 s, not every 3 s."""
COST_MOST_S = 3600.0
WORK_MOST_S = 1e9
"""Bounds on what other agents say of a checkpoint."""


def conditions(work: Work, agent: Agent) -> Conditions:
    """Return what checkpoints and faults cost this job, as far as it is known here."""
    measured, timing = work.measured, agent.cluster.timing
    cost_s = measured.cost_s
    if cost_s is None:
        cost_s = COST_FIXED_S + COST_PER_MB_S * work.spec.memory_mb
    fast = work.spec.takeover is Takeover.FAST
    return Conditions(
        cost_s=_within(cost_s, COST_LEAST_S, COST_MOST_S),
        mtbf_s=agent.cluster.faults.mtbf_s,
        restore_s=_within(measured.restore_s or 0.0, 0.0, COST_MOST_S),
        detect_s=timing.reconnect_grace_s if fast else timing.ttl_s,
    )


def begin(work: Work, agent: Agent, restored: Way | None, restore_s: float) -> None:
    """Note that a program has started, from a checkpoint or from the beginning.

    Args:
        work: the job.
        agent: this agent.
        restored: the checkpoint it was started from, and as what.
        restore_s: how long fetching and restoring that took.
    """
    measured = work.measured
    measured.safe_at = agent.now
    measured.safe_s = 0.0
    if restored is not None and restored.rung == restored.ref.rung:
        # Else memory began again with its files alone: what work these hold nobody knows, and
        # neither step took what the same step of this rung takes.
        ref = restored.ref
        measured.restore_s = averaged(measured.restore_s, restore_s)
        measured.safe_s = _within(ref.work_s or 0.0, 0.0, WORK_MOST_S)
        if measured.cost_s is None and ref.frozen_s is not None:
            measured.cost_s = _within(ref.frozen_s, COST_LEAST_S, COST_MOST_S)


def plan(work: Work, agent: Agent) -> NextCheckpoint:
    """Set when the next checkpoint is due; return why then."""
    found = plan_next(
        conditions(work, agent),
        done_s=work.measured.safe_s,
        forecast_s=work.spec.forecast_s,
        asked_s=work.spec.checkpoint.interval_s,
    )
    if work.stage is Stage.RUNNING:
        # An interval is work: the program did none while it stood still.
        work.save_at = Instant(max(agent.now, work.measured.safe_at + found.work_s))
    return found


def on_saved(work: Work, agent: Agent, ref: CheckpointRef, frozen_s: float) -> CheckpointRef:
    """Learn from a checkpoint that counts, and plan the next; return *ref* with what it shows."""
    measured = work.measured
    # Not when the last was begun: one under way when the program ended holds less than that.
    begun_at = work.begun_at.pop((ref.epoch, ref.seq), work.saved_at)
    measured.safe_s = measured.work_s(begun_at)
    measured.safe_at = Instant(begun_at + frozen_s)
    measured.cost_s = averaged(measured.cost_s, frozen_s)
    found = plan(work, agent)
    return replace(
        ref,
        work_s=round(measured.safe_s, 3),
        frozen_s=round(frozen_s, 3),
        next_s=round(found.work_s, 3),
        next_why=found.why.value,
    )


def tell(work: Work, agent: Agent, found: NextCheckpoint) -> None:
    """Say in the log what the first checkpoint of a run follows from."""
    known = conditions(work, agent)
    agent.log(
        "checkpoint_planned",
        job=work.job,
        epoch=work.epoch,
        in_s=round(found.work_s, 1),
        why=found.why.value,
        cost_s=round(known.cost_s, 3),
        mtbf_s=round(known.mtbf_s),
        safe_s=round(work.measured.safe_s, 1),
    )


def _within(value: float, least: float, most: float) -> float:
    # In this order a NaN becomes the least.
    return min(max(least, value), most)
