"""What ends a command, and the exit code it ends with.

| code | meaning |
|---|---|
| 0 | done |
| 1 | what was asked for failed: the job failed, there is no such job or agent, the disk is full |
| 2 | wrong use or configuration: the text says what to change |
| 3 | no node could be reached: none answers, or none lets in who asks |
| 4 | the time was up before what was waited for came: an answer, an end, all rows |
| 130 | interrupted |
"""

import errno
from collections.abc import Sequence
from typing import Final

from workrs.domain.errors import (
    BusError,
    ConfigError,
    IdError,
    OlderDiskError,
    TimedOutError,
    WorkrsError,
)
from workrs.ports.bus import BusFullError, BusMessageError

OK: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
UNREACHABLE: Final = 3
TIMED_OUT: Final = 4
INTERRUPTED: Final = 130
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class NotFoundError(WorkrsError):
    """No node knows the job or agent that was named."""


class NoNodeError(WorkrsError):
    """None of the nodes could be reached."""

    def __init__(self, failures: Sequence[str]) -> None:
        """Name what each of them answered, if anything."""
        super().__init__(
            f"{'; '.join(failures)}. Is the cluster up? Name its nodes with --node HOST:PORT"
        )
        self.failures = tuple(failures)


def exit_code(error: WorkrsError) -> int:
    """Return the code that a command ends with after *error*."""
    match error:
        case ConfigError(__cause__=OSError(errno=number)) if number in _NO_ROOM:
            # Nothing is to be changed in what was typed.
            return FAILED
        case ConfigError() | IdError() | OlderDiskError():
            return WRONG_USE
        case BusFullError() | BusMessageError():
            # Of what was to be said, not of the node.
            return FAILED
        case BusError() | NoNodeError():
            return UNREACHABLE
        case TimedOutError():
            return TIMED_OUT
        case _:
            return FAILED
