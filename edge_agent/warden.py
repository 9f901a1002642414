"""The agent's side of its warden: starts it, tells it what to guard, hears when it is gone.

1. There is one warden per state folder at a time. `start` waits for the former incarnation's,
   which ends only when all it guarded is dead.
2. `watch`, `extend` and `unwatch` are in the warden's pipe when they return, before anything
   the caller does next.
3. A warden that ended is noticed by `lost`. Nothing guards the jobs then: freeze or kill them.
4. One that hangs is killed by `keep_answering`, and so lost: that is noticed, and a warden that is
   there and freezes nothing is not.
"""

# ruff: noqa: ASYNC240 (one folder, once)

import asyncio
import contextlib
import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Self

from edge_agent import warden_process
from workrs.adapters import log
from workrs.domain.errors import ConfigError, ContainerError
from workrs.domain.ids import Epoch, Instant, JobId

_LOG = log.get("agent.warden")
_FORMER_WAIT_S = 15.0
_POLL_S = 0.01
_ASK_PERIOD_S = 10.0
_ANSWER_S = 5.0
"""It goes before everything else that wants a core, and answers at once."""


def boottime() -> Instant:
    """Return the warden's clock: it also counts while the host is suspended."""
    return Instant(time.clock_gettime(time.CLOCK_BOOTTIME))


class Warden:
    """A running warden, satisfying the port."""

    def __init__(self, *, process: asyncio.subprocess.Process, pipe: int, lock: int) -> None:
        """Use `start`."""
        self._process = process
        self._pipe = pipe
        self._lock = lock
        self._deadlines: dict[tuple[JobId, Epoch], Instant] = {}
        self._answered = asyncio.Event()

    @classmethod
    async def start(cls, state: Path, *, former_wait_s: float = _FORMER_WAIT_S) -> Self:
        """Wait until the former warden has ended, and start a new one.

        Raises:
            ConfigError: another agent uses the folder *state*.
        """
        lock = await _lock(state, former_wait_s)
        reader, writer = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-S", "-E", "-I", str(warden_process.__file__)),
                stdin=reader,
                stdout=asyncio.subprocess.PIPE,
                # The lock ends with the last who holds it: the agent or its warden.
                pass_fds=(lock,),
                start_new_session=True,
            )
        except BaseException:
            os.close(writer)
            os.close(lock)
            raise
        finally:
            os.close(reader)
        # A warden that hangs must not hang the agent as well.
        os.set_blocking(writer, False)
        warden = cls(process=process, pipe=writer, lock=lock)
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            await warden.close()
            raise ContainerError("the warden did not start")
        return warden

    @property
    def pid(self) -> int:
        """The warden's process id."""
        return self._process.pid

    def watch(self, job: JobId, epoch: Epoch, targets: tuple[str, ...], deadline: Instant) -> None:
        """Guard *targets*.

        Raises:
            ContainerError: it could not be told, so nothing unguarded may start.
        """
        if not self._tell("watch", f"{job}/{epoch}", f"{deadline:.6f}", *targets):
            raise ContainerError(f"the warden cannot be told to guard {job}")
        self._deadlines[job, epoch] = deadline

    def extend(self, job: JobId, epoch: Epoch, deadline: Instant) -> None:
        """Move the deadline of what is watched; anything else is ignored."""
        if (job, epoch) in self._deadlines:
            self._deadlines[job, epoch] = deadline
            self._tell("extend", f"{job}/{epoch}", f"{deadline:.6f}")

    def may_run(self, job: JobId, epoch: Epoch) -> bool:
        """Return whether it is watched and its deadline has not passed."""
        deadline = self._deadlines.get((job, epoch))
        return deadline is not None and boottime() < deadline

    def stand_back(self, job: JobId, epoch: Epoch) -> None:
        """Freeze nothing for a while."""
        self._tell("stand_back", f"{job}/{epoch}")

    def step_in(self, job: JobId, epoch: Epoch) -> None:
        """Guard it again."""
        self._tell("step_in", f"{job}/{epoch}")

    def unwatch(self, job: JobId, epoch: Epoch) -> None:
        """Forget it."""
        if self._deadlines.pop((job, epoch), None) is not None:
            self._tell("unwatch", f"{job}/{epoch}")

    async def lost(self) -> None:
        """Return when the warden has ended; until then log what it does."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            verb, _, key = line.decode().strip().partition("\t")
            if verb == "here":
                self._answered.set()
                continue
            job, _, epoch = key.rpartition("/")
            _LOG.warning(f"warden_{verb}", job=job, epoch=epoch)
        await self._process.wait()

    async def answers(self, within_s: float = _ANSWER_S) -> bool:
        """Return whether it does what it is told, as long as `lost` runs. Not for two at once."""
        self._answered.clear()
        if not self._tell("answer", ""):
            return False
        try:
            async with asyncio.timeout(within_s):
                await self._answered.wait()
        except TimeoutError:
            return False
        return True

    async def keep_answering(
        self, period_s: float = _ASK_PERIOD_S, within_s: float = _ANSWER_S
    ) -> None:
        """Ask it from time to time, and kill it when it hangs."""
        while True:
            await asyncio.sleep(period_s)
            # Twice: where both were stopped and go on, the first answer comes too late.
            if not (await self.answers(within_s) or await self.answers(within_s)):
                _LOG.warning("warden_stuck", pid=self.pid)
                self._process.kill()
                return

    async def close(self) -> None:
        """Let the warden kill what is still watched, and end. Idempotent."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        await self._process.wait()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _tell(self, *words: str) -> bool:
        """Write one line; False when the warden is gone or too far behind to read."""
        # Up to PIPE_BUF, 4096 bytes, a write to a pipe is whole or not at all.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._pipe, "\t".join(words).encode() + b"\n")
            return True
        _LOG.warning("warden_deaf", verb=words[0], key=words[1])
        return False


async def _lock(state: Path, wait_s: float) -> int:
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(state / "warden.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(wait_s):
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(_POLL_S)
                else:
                    return lock
    except TimeoutError:
        os.close(lock)
        raise ConfigError(
            f"another agent, or its warden, still uses {state}: end it, or choose another folder"
        ) from None
    except BaseException:
        os.close(lock)
        raise
