"""S5: what a program is started from, and as what.

It starts from the newest checkpoint that a majority had when its lease was won, or from a newer
one, as what that is. It goes further back only when faults left no whole copy, the agent cannot
restore it or its machine refused to; then memory goes on with its files, unless the job asks for
memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.domain import ladder
from workrs.domain.job import CheckpointMode
from workrs.testing.simulator.blob import is_whole
from workrs.testing.simulator.broken import broken

if TYPE_CHECKING:
    from workrs.domain.ids import Digest, JobId
    from workrs.domain.record import CheckpointRef
    from workrs.testing.simulator.agent import AgentProcess
    from workrs.testing.simulator.blob import Saved
    from workrs.testing.simulator.container import Container
    from workrs.testing.simulator.votelog import VoteLog
    from workrs.testing.simulator.world import World


class RestartLog:
    """What can still be restored, and by whom."""

    def __init__(self, world: World, votes: VoteLog) -> None:
        """Know of no damage."""
        self._world = world
        self._votes = votes
        self.damaged: set[tuple[JobId, Digest]] = set()
        """Checkpoints that a fault has damaged."""
        self._refused: set[tuple[str, Digest]] = set()
        """Machines, and what they did not restore."""

    def lose_disk(self, keys: set[tuple[JobId, Digest]]) -> None:
        """Take that a node's copies are gone."""
        self.damaged |= keys

    def refuse(self, agent: AgentProcess, ref: CheckpointRef) -> None:
        """Take that an agent's machine does not restore a checkpoint."""
        self._refused.add((agent.name, ref.manifest))

    def check(self, agent: AgentProcess, container: Container, saved: Saved | None) -> None:
        """Check what a container starts from."""
        job, ref = container.job, container.ref
        if ref is not None:
            self._world.count("restores")
            if saved is None or (saved.job, saved.epoch, saved.seq) != (job, ref.epoch, ref.seq):
                broken("S5", f"{job}: {agent.name} starts from a damaged checkpoint")
            if container.is_fallen and container.mode is CheckpointMode.MEMORY:
                broken("S5", f"{job}: {agent.name} begins with files, the job asks for memory")
        else:
            self._world.count("starts")
        wins = [w for b, w in self._votes.wins.items() if b[0] == job and b[2] == container.epoch]
        for win in wins:
            if win.checkpoint is not None:
                self._check_newest(agent, container, win.checkpoint)

    def _check_newest(
        self, agent: AgentProcess, container: Container, newest: CheckpointRef
    ) -> None:
        ref, able = container.ref, agent.brain.profile.able
        best = newest if ref is None or ref.order < newest.order else ref
        if (best == ref and not container.is_fallen) or self._is_gone(container.job, best):
            return
        refused = (agent.name, best.manifest) in self._refused
        if refused or ladder.refusal(ladder.saved_as(best), able) is not None:
            # Nobody who can restore it came in time, or who came could not: the job falls.
            memory = best.rung == ladder.MEMORY and container.mode is not CheckpointMode.MEMORY
            if ref is not None or able.rung == ladder.NONE or not memory:
                return
        start = "its beginning" if ref is None else f"checkpoint {ref.order} ({container.rung})"
        broken(
            "S5",
            f"{container.job}: {agent.name} starts from {start}, "
            f"newest is {best.order} ({best.rung})",
        )

    def _is_gone(self, job: JobId, ref: CheckpointRef) -> bool:
        """Return whether faults have left no whole copy of a checkpoint."""
        if (job, ref.manifest) not in self.damaged:
            return False
        copies = [node.store.blobs.get((job, ref.manifest)) for node in self._world.nodes.values()]
        return not any(data is not None and is_whole(data, ref) for data in copies)
