"""What runs jobs: containers of an engine, or plain processes where there is none.

1. Every effect belongs to one (job, epoch). Nothing of another agent is ever touched.
2. Whatever `start` leaves behind when it raises or is cancelled, it removes itself, or the
   next `sweep` does. The same holds for every other call: a cancelled one may have happened.
3. `freeze`, `thaw`, `kill` and `remove` are idempotent and do not mind a program that ended.
4. A program that runs is always known to the warden: it is told before the program's first
   instruction, and again only after the last process of it is gone.
5. A snapshot is consistent: memory, files and output are those of one instant.

Not promised: that a snapshot can be restored on other hardware. `start` finds that out and
raises RestoreError.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from workrs.domain.errors import ContainerError
from workrs.domain.host import HostFacts
from workrs.domain.ids import Epoch, Instant, JobId
from workrs.domain.job import JobSpec

EXIT_RESUME = 85
"""The program saved its state in /job and asks to be started again from it."""


class RestoreError(ContainerError):
    """A program could not be brought back from its snapshot: use the one before."""


class ImageError(ContainerError):
    """The job's image is not on this engine and cannot be had."""


class Rung(StrEnum):
    """How much of a running program a runtime can save, best first."""

    MEMORY = "memory"
    """Memory and files of one instant, by CRIU."""
    FILES = "files"
    """The files in /job; the program starts again and finds them."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a program last wrote to /job/progress."""

    fraction: float
    """0 to 1."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a program at one instant, in a local folder.

    The folder (0700) holds `job/`, the program's files; `stdout`, what it had printed; and on
    the memory rung `image/`, CRIU's images. Who asked for the snapshot removes the folder.
    """

    path: Path
    rung: Rung
    """`memory` or `files`: what was in fact saved."""
    image: str
    """Id of the container image, or empty for a plain process."""
    command: tuple[str, ...]
    host: HostFacts
    progress: Progress | None = None
    frozen_s: float = 0.0
    """How long the program stood still for it."""
    steps_s: Mapping[str, float] = field(default_factory=dict)
    """Where that time went, by the step's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """One start of a job's program."""

    job: JobId
    epoch: Epoch
    attempt: int
    """From 1. It grows with every start of the job, wherever that was."""
    spec: JobSpec
    """With image and command; functions are looked up by the node."""
    deadline: Instant
    """CLOCK_BOOTTIME at which the warden freezes the program unless told otherwise."""
    input_file: Path | None = None
    """The input that `input_url` names, fetched and verified. Copied, never moved."""
    restore_from: Snapshot | None = None
    """Verified. Its folder may be removed once `start` has returned or raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a program ended and what it left."""

    code: int
    """0 to 255; 128 + N for a program that signal N ended."""
    oom_killed: bool = False
    result: bytes | Path = b""
    """What lies in /job/out (one file as it is, several as a tar), else all of stdout.
    In memory up to INLINE_MAX_BYTES, else a file that stays until `remove`."""
    result_bytes: int = 0
    stderr_tail: str = ""
    """The last 4 KiB at most."""
    problem: str = ""
    """Why the runtime ended the program itself, for the job's author; else empty."""


class Attempt(Protocol):
    """One started program."""

    @property
    def job(self) -> JobId:
        """The job it runs for."""
        ...

    @property
    def epoch(self) -> Epoch:
        """The epoch it was started at."""
        ...

    @property
    def steps_s(self) -> Mapping[str, float]:
        """Seconds that each step of the start took, by name."""
        ...

    async def wait(self) -> Exit:
        """Return when the program has ended. May be called again, and be cancelled freely.

        Raises:
            ContainerError: the engine lost it.
        """
        ...

    async def progress(self) -> Progress | None:
        """Return what /job/progress says now; None when nothing readable."""
        ...

    async def log_tail(self, limit_bytes: int) -> bytes:
        """Return the end of what the program printed to stdout and stderr."""
        ...

    async def freeze(self) -> None:
        """Stop all of its processes; on return none runs.

        Raises:
            ContainerError: it may still be running.
        """
        ...

    async def thaw(self) -> None:
        """Let a frozen program go on, whoever froze it. Extend the warden's deadline first."""
        ...

    async def kill(self) -> None:
        """End all of its processes, frozen or not; on return none runs.

        Raises:
            ContainerError: one survived.
        """
        ...

    async def checkpoint(self, path: Path) -> Snapshot:
        """Save the program's state into the new folder *path*, and let it go on.

        A frozen program stays frozen. Of a program that has ended the files are saved, with
        all it printed: that is how an EXIT_RESUME goes on. On the files rung of a program that
        runs, `stdout` is left empty, because the program repeats what it printed since it last
        saved its state.

        Raises:
            ContainerError: it could not be saved; the program runs on, *path* is gone.
        """
        ...

    async def remove(self) -> None:
        """Kill it and remove all it left: container, mounts, files, results."""
        ...


class ContainerRuntime(Protocol):
    """Starts programs, each isolated as well as this machine can."""

    @property
    def name(self) -> str:
        """`docker` or `process`."""
        ...

    @property
    def rung(self) -> Rung:
        """The best snapshot it can both take and restore here, as probed."""
        ...

    @property
    def host(self) -> HostFacts:
        """The machine the programs run on."""
        ...

    async def images(self) -> tuple[str, ...]:
        """Return names and ids of the images that need not be fetched; () when any runs."""
        ...

    async def start(self, request: StartRequest) -> Attempt:
        """Start a program, from its beginning or from `request.restore_from`.

        A memory snapshot that this machine cannot restore is refused rather than restored as
        files, since a program that never asked for it would find itself begun twice.

        Raises:
            ImageError: the image is missing, or not one that may run here.
            RestoreError: the snapshot does not fit this machine or CRIU failed.
            ContainerError: it did not start.
        """
        ...

    async def sweep(self) -> int:
        """Kill and remove all that former incarnations of this agent left; return how many.

        Called once, before the first `start`, after the former warden has ended.
        """
        ...

    async def close(self) -> None:
        """Remove all attempts and let go of the engine. Idempotent."""
        ...


class Warden(Protocol):
    """Freezes programs at their lease's deadline, also when the agent hangs or is stopped.

    It holds them frozen as long as the deadline has passed: one that is thawed by mistake is
    frozen again within 0.2 s. When the agent is gone, it kills them.

    Instants are CLOCK_BOOTTIME in seconds. The calls do not wait.
    """

    def watch(self, job: JobId, epoch: Epoch, targets: tuple[str, ...], deadline: Instant) -> None:
        """Guard what *targets* name: `cgroup:/path`, `group:PGID`. Replaces earlier ones.

        Raises:
            ContainerError: it cannot be told; the program must not start.
        """
        ...

    def extend(self, job: JobId, epoch: Epoch, deadline: Instant) -> None:
        """Move the deadline. Never thaws; a frozen program is thawed by the agent."""
        ...

    def may_run(self, job: JobId, epoch: Epoch) -> bool:
        """Return whether the deadline it was last told has not passed."""
        ...

    def stand_back(self, job: JobId, epoch: Epoch) -> None:
        """Freeze nothing until `step_in`, 60 s at most: CRIU works on the frozen program.

        CRIU runs code of its own inside the program; frozen meanwhile, it would wait for ever.
        """
        ...

    def step_in(self, job: JobId, epoch: Epoch) -> None:
        """Guard it again."""
        ...

    def unwatch(self, job: JobId, epoch: Epoch) -> None:
        """Forget it: all of its processes are gone."""
        ...
