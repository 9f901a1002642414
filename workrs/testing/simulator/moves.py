"""R3: a move on purpose does nothing twice.

All that a program did until its container went is in the newest checkpoint that a majority has
on disk. That the next one starts from there is S5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.work import GiveBack
from workrs.testing.simulator.broken import broken

if TYPE_CHECKING:
    from workrs.domain.ids import JobId
    from workrs.testing.simulator.agent import AgentProcess
    from workrs.testing.simulator.blob import Saved
    from workrs.testing.simulator.container import Container
    from workrs.testing.simulator.votelog import VoteLog

ROUNDING_S = 1e-5
"""Checkpoints hold microseconds."""


class MoveLog:
    """How far each checkpoint goes, whatever becomes of its bytes."""

    def __init__(self, votes: VoteLog) -> None:
        """Know of none."""
        self._votes = votes
        self._done_s: dict[tuple[JobId, int, int], float] = {}

    def save(self, saved: Saved) -> None:
        """Take a checkpoint that lies in its stores."""
        self._done_s[saved.job, saved.epoch, saved.seq] = saved.done_s

    def check_removal(self, agent: AgentProcess, container: Container) -> bool:
        """Check a container that is about to be removed; return whether its job moves.

        At the end of an agent's grace it is given back as it is.
        """
        brain, job = agent.brain, container.job
        work = brain.roster.works.get(job)
        if work is None or work.run != container.run or not work.parted:
            return False
        is_moved = isinstance(work.after, GiveBack) and work.after.moved
        if not is_moved or brain.agent.now >= brain.stop_at:
            return False
        newest = self._votes.newest(job)
        safe_s = self._done_s[job, newest.epoch, newest.seq] if newest else 0.0
        done_s = container.count()
        if safe_s < done_s - ROUNDING_S:
            broken("R3", f"{job}: leaves {agent.name} at {done_s:.3f} s, saved are {safe_s:.3f} s")
        return True
