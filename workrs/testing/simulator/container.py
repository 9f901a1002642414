"""A program on an agent's machine: how far it is, whether it is frozen, how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.domain.retry import EXIT_CHECKPOINTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.effect import StartContainer
    from workrs.domain.ids import Instant, JobId
    from workrs.domain.record import CheckpointRef
    from workrs.testing.simulator.host import Host
    from workrs.testing.simulator.schedule import JobPlan
    from workrs.testing.simulator.world import World


class Container:
    """One run of a job's program."""

    def __init__(
        self,
        world: World,
        host: Host,
        *,
        agent: str,
        plan: JobPlan,
        start: StartContainer,
        ref: CheckpointRef | None,
        rung: str,
        done_s: float,
        ended: Callable[[Container, int], None],
    ) -> None:
        """Be made, from the checkpoint *ref* as *rung* at *done_s*, not started yet."""
        self.world = world
        self.host = host
        self.agent = agent
        self.plan = plan
        self.job: JobId = start.job
        self.run = start.run
        self.epoch = start.epoch
        self.attempt = start.attempt
        self.ref = ref
        self.rung = rung
        self.mode = start.spec.checkpoint.mode
        self.deadline: Instant = start.deadline
        self.done_s = done_s
        self.started = False
        self.frozen = False
        self.gone = False
        self.exited = False
        self.begun_s = world.timeline.now
        """When its program began."""
        self.watch_at_s = float("inf")
        """When the warden looks at it next."""
        self._ended = ended
        self._since_s = world.timeline.now
        self._moves = 0
        stops = plan.resumes and done_s < plan.work_s / 2
        self._stop_s = plan.work_s / 2 if stops else plan.work_s
        self._code = (
            EXIT_CHECKPOINTED if stops else plan.exits[min(self.attempt, len(plan.exits)) - 1]
        )

    @property
    def progresses(self) -> bool:
        """Return whether its program is able to run now."""
        return self.started and not (self.frozen or self.gone or self.exited) and self.host.runs

    @property
    def is_fallen(self) -> bool:
        """Return whether it began with the files of a checkpoint of memory."""
        return self.ref is not None and self.rung != self.ref.rung

    @property
    def is_dead(self) -> bool:
        """Return whether its program has ended, in whatever way."""
        return self.gone or self.exited

    @property
    def is_loose(self) -> bool:
        """Return whether nothing holds it but, perhaps, a pause of its machine."""
        return self.started and not (self.frozen or self.gone or self.exited)

    def count(self) -> float:
        """Bring the work done up to date before a change, and return it."""
        if self.progresses:
            self.done_s += self.world.timeline.now - self._since_s
        self._since_s = self.world.timeline.now
        return min(self.done_s, self._stop_s)

    def go_on(self) -> None:
        """Plan its end anew after a change."""
        self._moves += 1
        self._since_s = self.world.timeline.now
        if self.progresses:
            number = self._moves
            left_s = max(0.0, self._stop_s - self.done_s)
            self.world.timeline.after(left_s, lambda: self._end(number))

    def begin(self) -> None:
        """Start the program."""
        self.started = True
        self.begun_s = self.world.timeline.now
        self.go_on()
        self.world.oracle.on_loose(self)

    def freeze(self) -> None:
        """Stop its processes."""
        if not self.frozen:
            self.count()
            self.frozen = True
            self.go_on()

    def thaw(self) -> None:
        """Let them go on."""
        if self.frozen:
            self.count()
            self.frozen = False
            self.go_on()
            self.world.oracle.on_loose(self)

    def kill(self) -> None:
        """End it, from outside."""
        self.count()
        self.gone = True
        self._moves += 1

    def _end(self, number: int) -> None:
        if number == self._moves and self.progresses:
            self.count()
            self.exited = True
            self._ended(self, self._code)
