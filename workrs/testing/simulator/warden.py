"""An agent's warden: freezes programs at their deadline and kills them when the agent is gone.

It is a process of its own: it goes on while the agent is stopped, and stands still only with
its machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.warden_process import TURN_S

if TYPE_CHECKING:
    from workrs.domain.ids import Epoch, Instant, JobId
    from workrs.testing.simulator.agent import AgentProcess
    from workrs.testing.simulator.container import Container

KILL_MAX_S = 0.5


class Warden:
    """Guards the containers of one agent, incarnation by incarnation."""

    def __init__(self, agent: AgentProcess) -> None:
        """Guard nothing."""
        self._agent = agent
        self._rng = agent.world.schedule.rng(f"warden/{agent.name}")
        self.watched: dict[tuple[JobId, Epoch], Container] = {}
        self._ending: list[Container] = []

    @property
    def is_busy(self) -> bool:
        """Return whether it still kills what a former incarnation left."""
        return bool(self._ending)

    def watch(self, container: Container) -> None:
        """Guard a container that is about to start."""
        self.watched[container.job, container.epoch] = container
        self._plan(container)

    def unwatch(self, container: Container) -> None:
        """Forget one whose processes are gone."""
        if self.watched.get((container.job, container.epoch)) is container:
            del self.watched[container.job, container.epoch]

    def extend(self, job: JobId, epoch: Epoch, deadline: Instant) -> None:
        """Move the deadline of what is watched; anything else is ignored."""
        container = self.watched.get((job, epoch))
        if container is not None:
            container.deadline = deadline
            self._plan(container)

    def may_run(self, container: Container) -> bool:
        """Return whether it is watched and its deadline has not passed."""
        is_watched = self.watched.get((container.job, container.epoch)) is container
        return is_watched and self._agent.host.clock.now() < container.deadline

    def _plan(self, container: Container) -> None:
        """Look at it at its deadline, or up to a turn later."""
        clock = self._agent.host.clock
        when_s = clock.world_s(container.deadline) + self._rng.uniform(0.001, TURN_S)
        if when_s < container.watch_at_s:
            container.watch_at_s = when_s
            self._agent.world.timeline.at(when_s, lambda: self._look(container, when_s))

    def _look(self, container: Container, planned_s: float) -> None:
        if container.gone or container.watch_at_s != planned_s or not self._agent.host.runs:
            return
        container.watch_at_s = float("inf")
        if self.may_run(container):
            self._plan(container)
        else:
            self._freeze(container)

    def _freeze(self, container: Container) -> None:
        if not container.frozen and not container.gone:
            self._agent.world.note("warden freezes", container.agent, container.job)
            self._agent.world.count("freezes")
        container.freeze()

    def thawed(self, container: Container) -> None:
        """Look again at one that somebody set free."""
        self._plan(container)

    def resume(self) -> None:
        """Look at everything after a pause of the machine."""
        for container in list(self.watched.values()):
            container.watch_at_s = float("inf")
            if not self.may_run(container):
                self._freeze(container)
            else:
                self._plan(container)

    def end(self) -> None:
        """Kill everything, because the agent is gone."""
        doomed = list(self.watched.values())
        self.watched.clear()
        for container in doomed:
            self._ending.append(container)
            self._kill_soon(container)

    def _kill_soon(self, container: Container) -> None:
        def kill() -> None:
            if container not in self._ending:
                return
            if not self._agent.host.runs:
                self._agent.world.timeline.after(KILL_MAX_S, kill)
                return
            container.kill()
            self._ending.remove(container)

        self._agent.world.timeline.after(self._rng.uniform(0.001, KILL_MAX_S), kill)

    def vanish(self) -> None:
        """Go with the machine, and with all that ran on it."""
        for container in [*self.watched.values(), *self._ending]:
            container.kill()
        self.watched.clear()
        self._ending.clear()
