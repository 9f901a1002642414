"""Canaries of the disks: what is said of them, and how a node comes back that lost its own."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import deepcopy
from dataclasses import replace
from random import Random
from unittest.mock import patch

from broker.effect import Effects
from workrs.domain import rollback
from workrs.domain.record import Incarnation
from workrs.domain.rollback import Seen
from workrs.testing.canaries.canary import Canary
from workrs.testing.canaries.worlds import any_schedule, short, world
from workrs.testing.ledger import MemoryDisk
from workrs.testing.simulator import faults
from workrs.testing.simulator.faults import Fault
from workrs.testing.simulator.node import Daemon, SimNode
from workrs.testing.simulator.oracle import Oracle
from workrs.testing.simulator.world import World

_commit = Daemon._commit  # noqa: SLF001 (a canary is what the rule is not, wherever it stands)


def publish_then_commit(daemon: Daemon, effects: Effects) -> None:
    """Say it, and write it down afterwards."""
    daemon._publish(effects)  # noqa: SLF001
    _commit(daemon, replace(effects, publishes=[], dropped_blobs=[], reads=[]))


def replace_disk_unasked(home: SimNode) -> None:
    """Come back on an empty disk like any other."""
    home.disk = MemoryDisk()
    home.store.blobs.clear()


def never_older(own: Incarnation, start: int, serial: int, seen: Seen) -> bool:
    """See nothing in what peers saw."""
    assert own
    assert seen is not None
    return start + serial < 0


def _come_back_plainly() -> AbstractContextManager[object]:
    stack = ExitStack()
    stack.enter_context(patch.object(SimNode, "replace_disk", replace_disk_unasked))
    stack.enter_context(patch.object(rollback, "is_older", never_older))
    return stack


def _restore_copy(world: World, rng: Random) -> str:
    node = rng.choice(list(world.nodes.values()))
    copy, wait_s = deepcopy(node.disk), rng.uniform(0.5, 3.0)

    def restore() -> None:
        node.kill()
        node.disk = copy
        node.start()

    world.undo_after(wait_s, restore)
    return f"{node.name} {wait_s:.2f}s"


def _readmit(oracle: Oracle, daemon: Daemon, why: str) -> None:
    """Be the operator who reads why a daemon refuses its disk, and does as it says."""
    assert why
    home = daemon.home

    def rejoin() -> None:
        home.kill()
        oracle.lose_disk(home.name)
        home.replace_disk()
        home.start()

    oracle.world.timeline.after(0.5, rejoin)


@contextmanager
def _copies_of_disks() -> Iterator[None]:
    """Have disks replaced by copies of themselves, and an operator who mends that."""
    fault = Fault("disk restored from a copy", lambda world: len(world.nodes) > 1, _restore_copy)
    with (
        patch.dict(faults.FAULTS, {fault.name: fault}),
        patch.object(Oracle, "on_halt", _readmit),
    ):
        yield


OF_DISKS = (
    Canary(
        rule="commit to disk before publishing",
        without="a node publishes a batch and commits it afterwards",
        breaks=("S0", "S1"),
        leave_out=lambda: patch.object(Daemon, "_commit", publish_then_commit),
        plan=any_schedule,
    ),
    Canary(
        rule="generation at re-admission",
        without="a node whose disk was lost comes back on an empty one and votes",
        breaks=("S1", "S2", "S3"),
        leave_out=_come_back_plainly,
        plan=world("disk lost", "minority cut off", nodes=3, jobs=short, on="outcome"),
    ),
    Canary(
        rule="a disk older than peers saw it",
        without="a node votes from an old copy of its disk",
        breaks=("S2", "S3"),
        leave_out=lambda: patch.object(rollback, "is_older", never_older),
        plan=world("disk restored from a copy", nodes=3, faults_at_s=(3.0,)),
        world=_copies_of_disks,
    ),
)
