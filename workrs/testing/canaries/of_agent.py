"""Canaries of the agents: what makes a deadline, what a program starts from, who is who."""

from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import patch

from edge_agent import ending, execution, holding, moving, planning
from edge_agent import work as work_of
from edge_agent.agent import Agent
from edge_agent.effect import ThawContainer
from edge_agent.event import CheckpointSaved
from edge_agent.heart import Heart, Lease, Renewal
from edge_agent.work import After, GiveBack, Work
from workrs.domain.ids import ClientId, Instant, JobId
from workrs.domain.ladder import Way
from workrs.domain.lease import LeaseTiming
from workrs.domain.record import CheckpointRef, Incarnation
from workrs.testing.canaries.canary import Canary
from workrs.testing.canaries.worlds import (
    any_schedule,
    falling,
    saved_as_it_can,
    short_and_fast,
    twins,
    world,
)
from workrs.testing.simulator import agent as simulated
from workrs.testing.simulator import blob
from workrs.wire.message import AgentView

_say_claim = holding._say_claim  # noqa: SLF001 (a canary is what the rule is not)
_hear = Heart.hear
_on_saved = moving.on_saved
_remove = ending.remove
_begin = planning.begin
_LEAVES = ("agent drained", "agent asked to stop", "slow network")
_LOSSES = ("link cut", "agent cut off", "slow network", "minority cut off", "connection broken")


def without_margin(timing: LeaseTiming) -> float:
    """Use a lease to its end."""
    return timing.ttl_s


def hear_counters_only(
    heart: Heart, node: ClientId, view: AgentView, majority: int, now: Instant
) -> tuple[list[Renewal], list[Lease]]:
    """Take a receipt for all leases of the heartbeat, whichever it refuses."""
    return _hear(heart, node, replace(view, refused=()), majority, now)


def count_from_last_send(work: Work, agent: Agent) -> None:
    """Count a lease from the last time its claim was said."""
    work.claimed_at = agent.now
    _say_claim(work, agent)


def believe_any_checkpoint(data: bytes, ref: CheckpointRef) -> bool:
    """Take what is stored for what was saved."""
    assert ref
    return bool(data)


def start_at_once(work: Work, agent: Agent) -> None:
    """Start without a record of the attempt."""
    if work.lease is work_of.Lease.HELD and agent.now < work.safe_until:
        execution._start(work, agent)  # noqa: SLF001


def run_on(*, job: JobId, run: int) -> ThawContainer:
    """Let a program that leaves run on while it is saved for the last time."""
    return ThawContainer(job=job, run=run)


def leave_at_once(work: Work, agent: Agent, event: CheckpointSaved, *, useful: bool) -> None:
    """Give a job back when its last checkpoint is stored, whoever knows of it."""
    _on_saved(work, agent, event, useful=useful)
    if work.kept:
        moving.on_kept(work, agent)


def release_at_once(work: Work, agent: Agent, after: After) -> None:
    """Give the lease back when the container's removal begins, not when its program is dead."""
    _remove(work, agent, after)
    if isinstance(after, GiveBack) and work.run:
        execution.on_killed(work, agent)


def credit_any_start(work: Work, agent: Agent, restored: Way | None, restore_s: float) -> None:
    """Count the work of a checkpoint of memory as done, though only its files were taken."""
    whole = None if restored is None else restored._replace(rung=restored.ref.rung)
    _begin(work, agent, whole, restore_s)


def _use_leases_to_the_end() -> AbstractContextManager[object]:
    return patch.object(LeaseTiming, "holding_s", property(without_margin))


def numbered_only(number: int, nonce: str) -> Incarnation:
    """Tell two starts apart by their number alone."""
    assert nonce
    return Incarnation(number, "0" * 16)


OF_AGENTS = (
    Canary(
        rule="random part of the incarnation",
        without="two starts that a copied disk gave the same number are one and the same",
        breaks=("S2",),
        leave_out=lambda: patch.object(simulated, "Incarnation", numbered_only),
        plan=world("device moved", nodes=3, jobs=short_and_fast, agents=twins),
    ),
    Canary(
        rule="margin on the agent's side",
        without="an agent uses its leases for a full ttl",
        breaks=("S6", "S7"),
        leave_out=_use_leases_to_the_end,
        plan=any_schedule,
    ),
    Canary(
        rule="acknowledgement lease by lease",
        without="a receipt extends every lease of the heartbeat, refused or not",
        breaks=("S6", "S7"),
        leave_out=lambda: patch.object(Heart, "hear", hear_counters_only),
        plan=world(*_LOSSES, nodes=3),
    ),
    Canary(
        rule="first send time of a claim",
        without="a lease counts from the last time its claim was repeated",
        breaks=("S6", "S7"),
        leave_out=lambda: patch.object(holding, "_say_claim", count_from_last_send),
        plan=world(*_LOSSES, nodes=3),
    ),
    Canary(
        rule="checkpoint verified before use",
        without="a program is restored from whatever is stored",
        breaks=("S5",),
        leave_out=lambda: patch.object(blob, "is_whole", believe_any_checkpoint),
        plan=world("checkpoint damaged", "agent killed", "agent host lost", nodes=3),
    ),
    Canary(
        rule="attempt on disk before its start",
        without="a program starts before its attempt is on a majority's disks",
        breaks=("S7",),
        leave_out=lambda: patch.object(execution, "_start_if_recorded", start_at_once),
        plan=any_schedule,
    ),
    Canary(
        rule="a program stands still for its last checkpoint",
        without="it runs on while it is saved before a move",
        breaks=("R3",),
        leave_out=lambda: patch.object(moving, "FreezeContainer", run_on),
        plan=world(*_LEAVES, nodes=3),
    ),
    Canary(
        rule="last checkpoint at a majority before a move",
        without="a job is given back when its last checkpoint is stored",
        breaks=("R3",),
        leave_out=lambda: patch.object(moving, "on_saved", leave_at_once),
        plan=world(*_LEAVES, nodes=3),
    ),
    Canary(
        rule="no process is left when a lease is given back",
        without="a job is given back when the removal of its container begins",
        breaks=("S7",),
        leave_out=lambda: patch.object(ending, "remove", release_at_once),
        plan=world(*_LEAVES, nodes=3),
    ),
    Canary(
        rule="a fallen start is credited no work",
        without="files of a checkpoint of memory count for the work that the memory held",
        breaks=("R4",),
        leave_out=lambda: patch.object(planning, "begin", credit_any_start),
        plan=world(
            "agent killed", "agent host lost", nodes=3, jobs=saved_as_it_can, agents=falling
        ),
    ),
)
