"""The shell around an agent's brain: performs its effects, feeds back what comes of them.

1. Events are handled in the order they were posted, in batches: what arrived while the last
   batch was performed is the next batch.
2. Effects are performed in order and never wait, so a heartbeat is never behind an upload.
3. The queue of events is bounded by its producers: the bus yields after each batch, which
   holds at most RECEIVE_MAX messages, and containers post a few events each.
4. When a part fails with an error that is not handled here, the agent ends: its will says so
   to the nodes, and its warden kills what runs.
"""

import asyncio
from collections.abc import Callable, Sequence

from edge_agent.brain import Brain
from edge_agent.effect import (
    Connect,
    Effect,
    Exit,
    FollowJob,
    Publish,
    UnfollowJob,
)
from edge_agent.effect import Log as LogLine
from edge_agent.event import Event, Woken
from edge_agent.hands import Hands
from edge_agent.line import Line, LineSettings
from workrs.adapters import log
from workrs.domain.ids import Instant, JobId
from workrs.ports.bus import Address, Message
from workrs.ports.bus import Connect as ConnectBus
from workrs.wire import codec, topics

LEAVE_S = 2.0
"""How long the last connection may take to say goodbye."""


class AgentSupervisor:
    """Runs one brain until it ends."""

    def __init__(
        self,
        brain: Brain,
        *,
        nodes: Sequence[Address],
        connect: ConnectBus,
        clock: Callable[[], float],
    ) -> None:
        """Take the brain and its ways to the world; *clock* is CLOCK_BOOTTIME."""
        self._brain = brain
        self._nodes = nodes
        self._clock = clock
        self._events: list[Event] = []
        self._woken = asyncio.Event()
        self._jobs: set[JobId] = set()
        self._line: Line | None = None
        self._line_task: asyncio.Task[None] | None = None
        self._exit: Exit | None = None
        self._settings = LineSettings(name=brain.agent.name, connect=connect, post=self.post)
        self._log = log.get(f"agent[{brain.agent.name}]")

    def post(self, event: Event) -> None:
        """Hand an event to the brain, in a moment."""
        self._events.append(event)
        self._woken.set()

    async def run(self, tasks: asyncio.TaskGroup, hands: Hands) -> int:
        """Serve until the brain ends; return the exit code. Connections belong to *tasks*."""
        self._perform(self._brain.start(Instant(self._clock())), tasks, hands)
        while self._exit is None:
            await self._wait()
            batch, self._events = self._events, []
            now = Instant(self._clock())
            when = self._brain.next_wake()
            if when is not None and when <= now:
                batch.append(Woken())
            self._perform(self._brain.handle_all(batch, now), tasks, hands)
            # Others run between two batches, whatever comes in.
            await asyncio.sleep(0)
        hands.close()
        await self._say_goodbye(self._exit)
        return self._exit.code

    async def _wait(self) -> None:
        """Return when there is an event, or the brain wants to be woken."""
        if self._events:
            return
        self._woken.clear()
        when = self._brain.next_wake()
        delay_s = None if when is None else when - self._clock()
        if delay_s is not None and delay_s <= 0:
            return
        try:
            async with asyncio.timeout(delay_s):
                await self._woken.wait()
        except TimeoutError:
            return

    def _perform(self, effects: list[Effect], tasks: asyncio.TaskGroup, hands: Hands) -> None:
        for effect in effects:
            match effect:
                case Publish(topic=topic, body=body, qos=qos):
                    if self._line is not None:
                        self._line.publish(topic, body, qos)
                case LogLine(key=key, fields=fields):
                    self._log.event(key, **fields)
                case FollowJob(job=job):
                    self._follow(job, wanted=True)
                case UnfollowJob(job=job):
                    self._follow(job, wanted=False)
                case Connect():
                    self._connect(effect, tasks)
                case Exit():
                    self._exit = effect
                case _:
                    hands.perform(effect)

    def _follow(self, job: JobId, *, wanted: bool) -> None:
        if wanted:
            self._jobs.add(job)
        else:
            self._jobs.discard(job)
        if self._line is not None:
            self._line.follow(job, wanted=wanted)

    def _connect(self, effect: Connect, tasks: asyncio.TaskGroup) -> None:
        if self._line is not None:
            self._line.leave()
        address = self._nodes[effect.node]
        will = Message(topics.beat(self._settings.name), codec.encode(effect.will))
        self._line = Line(self._settings, effect.connection, self._jobs)
        self._line_task = tasks.create_task(
            self._line.run(address, will),
            name=f"agent[{self._settings.name}].line.{effect.connection}",
        )

    async def _say_goodbye(self, last: Exit) -> None:
        """Tell the node that nothing is held any more, and leave."""
        line, task = self._line, self._line_task
        if line is None or task is None:
            return
        if last.farewell is not None:
            line.publish(topics.beat(self._settings.name), last.farewell, 1)
            await line.flush()
        line.leave()
        await asyncio.wait({task}, timeout=LEAVE_S)
        task.cancel()
