"""What must come about once nothing breaks any more: L1 to L4, and S10's bounds.

L1 every accepted job is decided. L2 what each broker retains of each node is what that node
has on disk. L4 no container, lease or open job is left at an agent, and no blob
of a job that its node has retired. A device knows the end of
each job of its own (R1). How long a job may wait, and for what (L1, L3), is in `waiting`; the
allowance here is for all together, since what a storm left behind queues for few slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.domain.ids import JobId
from workrs.domain.record import Record
from workrs.testing.simulator.broken import broken
from workrs.testing.simulator.oracle import vote_of
from workrs.testing.simulator.sizes import find_excess
from workrs.testing.simulator.waiting import LOOK_S, Waits, find_absent
from workrs.wire import topics

if TYPE_CHECKING:
    from workrs.testing.simulator.node import SimNode
    from workrs.testing.simulator.world import World

REST_S = 10.0
"""After the last decision: for what is told of it, and for what is removed."""
MESSAGES_PER_S = 400
"""That clients and daemons may publish on average: far above need, far below a loop."""


def heal(world: World) -> Waits:
    """Let the world come to rest, and check what it looks like then; return what waited."""
    bound_s = world.timeline.now + allowance_s(world)
    waits = Waits(world)
    while (waiting := find_undecided(world)) or find_untold(world):
        if world.timeline.now > bound_s:
            after = f"{allowance_s(world):.0f} s after the storm"
            if waiting:
                broken("L1", f"undecided {after}: {waiting}")
            broken("R1", f"not told how they ended {after}: {find_untold(world)}")
        waits.look(waiting)
        world.timeline.run_until(world.timeline.now + LOOK_S)
    if lost := find_lost(world):
        broken("L1", f"accepted, and on no disk any more: {lost}")
    rest_s = world.timeline.now + REST_S
    while (left := find_unrest(world)) is not None:
        if world.timeline.now > rest_s:
            broken(*left)
        waits.look([])
        world.timeline.run_until(world.timeline.now + LOOK_S)
    if world.messages > MESSAGES_PER_S * world.timeline.now:
        broken("S10", f"{world.messages} messages in {world.timeline.now:.0f} s")
    return waits


def allowance_s(world: World) -> float:
    """Return how long after the storm the last accepted job may be undecided."""
    work_s = sum(
        plan.work_s + sum(2.0**i for i in range(plan.attempts_max)) for plan in world.schedule.jobs
    )
    slots = sum(agent.slots for agent in world.schedule.agents)
    return 12 * world.timing.ttl_s + 2 * work_s + 60.0 / max(1, slots)


def find_undecided(world: World) -> list[JobId]:
    """Return the accepted jobs that are undecided at a node, or known as decided to too few.

    A node that was away until a job was retired elsewhere never hears of it.
    """
    found = []
    for job in sorted({job for node in world.nodes.values() for job in node.disk.jobs}):
        ended = 0
        for node in world.nodes.values():
            saved = node.disk.jobs.get(job)
            is_decided = saved is not None and saved.record.decided is not None
            ended += is_decided or job in node.disk.retired
            if saved is not None and not is_decided:
                ended = 0
                break
        if ended < world.oracle.votes.majority and job not in found:
            found.append(job)
    return found


def find_lost(world: World) -> list[JobId]:
    """Return the jobs that were told *accepted* and never decided: no disk asks for them."""
    return [job for job in world.oracle.accepted if job not in world.oracle.votes.decided]


def find_unrest(world: World) -> tuple[str, str] | None:
    """Return the first thing that is not as it has to be in the end, by rule and fact."""
    return _find_stray(world) or _find_missing(world) or _find_stale(world) or find_excess(world)


def _find_missing(world: World) -> tuple[str, str] | None:
    if absent := find_absent(world):
        return "L1", f"not connected: {absent}"
    closed = [agent.name for agent in world.agents.values() if not agent.brain.roster.open]
    return ("L1", f"undrained, and take no jobs: {closed}") if closed else None


def _find_stray(world: World) -> tuple[str, str] | None:
    for container in world.oracle.loose():
        return "L4", f"a container of {container.job} still runs at {container.agent}"
    for agent in world.agents.values():
        if not agent.alive:
            return "L4", f"{agent.name} does not come back"
        works = list(agent.brain.roster.works)
        if works or agent.hands.containers:
            return "L4", f"{agent.name} still has {works or list(agent.hands.containers)} in hand"
    for node in world.nodes.values():
        for job, _ in node.store.blobs:
            if job in node.disk.retired:
                return "L4", f"{node.name} still stores a blob of {job}, which it has retired"
    return None


def _find_stale(world: World) -> tuple[str, str] | None:
    for node in world.nodes.values():
        for other in world.nodes.values():
            for job in world.jobs:
                fact = _compare(job, node, other)
                if fact is not None:
                    return "L2", f"{other.name} {fact} {job} of {node.name}"
    return None


def _compare(job: JobId, node: SimNode, other: SimNode) -> str | None:
    """Return how a broker differs from the disk of *node* on one job."""
    parcel = other.broker.retained.get(topics.record(node.name, job))
    shown = parcel.body if parcel is not None else None
    if job in other.disk.retired:
        # It empties what it has of the job, whoever shows it, for as long as somebody does.
        return "still retains the retired" if shown and job in node.disk.retired else None
    saved = node.disk.jobs.get(job)
    if saved is None:
        return None  # what was retired elsewhere goes when this node retires it as well
    if not isinstance(shown, Record):
        return None if saved.record == Record(job=job) else "does not show"
    return None if vote_of(shown) == vote_of(saved.record) else "shows in another version"


def find_untold(world: World) -> list[JobId]:
    """Return the jobs of which a device does not know the end."""
    return [
        JobId(f"{device.name}_{job}") for device in world.devices.values() for job in device.outbox
    ]
