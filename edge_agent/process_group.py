"""A process group in the place of a cgroup, where none can be made.

Not promised: that a program which leaves its group (setsid) is frozen or killed with it.
"""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from workrs.domain.errors import ContainerError

_WAIT_S = 5.0
_POLL_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessGroup:
    """All processes that share a group id."""

    pgid: int

    @property
    def target(self) -> str:
        """How the warden calls it."""
        return f"group:{self.pgid}"

    async def freeze(self) -> None:
        """Stop every process of the group; return when none runs."""
        self._signal(signal.SIGSTOP)
        # D: in the kernel, and stopped before it leaves. A shell whose vfork's child was stopped
        # stays there until that one goes on.
        await self._wait_until("TtDZX", "stop")

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End them all, stopped or not; zombies are their parent's business."""
        self.signal_kill()
        await self._wait_until("ZX", "die")

    def signal_kill(self) -> None:
        """Send SIGKILL to all of them, once."""
        self._signal(signal.SIGKILL)

    def remove(self) -> None:
        """Do nothing: a group is gone with its last process."""

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pgid, number)

    async def _wait_until(self, states: str, verb: str) -> None:
        try:
            async with asyncio.timeout(_WAIT_S):
                # No event tells of processes that are not our children.
                while not all(state in states for state in self._states()):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise ContainerError(
                f"process group {self.pgid} did not {verb} within {_WAIT_S:g} s"
            ) from None

    def _states(self) -> list[str]:
        """Return the state letters of the members, by proc(5)."""
        states = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    # The name in parentheses may itself contain blanks and parentheses.
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[2]) == self.pgid:
                        states.append(fields[0])
        return states
