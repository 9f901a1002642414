"""A runtime without processes, on the loop's clock, for simulations and tests of the agent.

Its programs are named by the first word of a spec's command:

    echo TEXT            prints TEXT and a line end, and ends with 0
    exit CODE            ends with CODE
    out NAME TEXT        leaves a file in /job/out
    count N STEP_S       counts to N, a number every STEP_S; reports progress; prints N at the end
    save                 ends with 85 the first time, and prints `resumed` the second
    sleep                never ends

`count` goes on from a snapshot: on the memory rung where it was, on the files rung as well,
since it saves its state after every number.
"""

# ruff: noqa: ASYNC240 (a few bytes, in tests)

import asyncio
from pathlib import Path

from workrs.domain.errors import ContainerError
from workrs.domain.host import HostFacts
from workrs.domain.ids import Epoch, Instant, JobId
from workrs.ports.runtime import (
    EXIT_RESUME,
    Exit,
    ImageError,
    Progress,
    RestoreError,
    Rung,
    Snapshot,
    StartRequest,
    Warden,
)

HOST = HostFacts(arch="amd64", cpu="fake", kernel="0", criu="0")
MISSING_IMAGE = "missing:1"
"""The one image that a FakeRuntime has not."""
_STATE = "state"


class FakeWarden:
    """Remembers what it was told."""

    def __init__(self) -> None:
        """Watch nothing."""
        self.watched: dict[tuple[JobId, Epoch], tuple[tuple[str, ...], Instant]] = {}
        self.due: set[tuple[JobId, Epoch]] = set()
        """Jobs whose deadline a test declares passed."""

    def watch(self, job: JobId, epoch: Epoch, targets: tuple[str, ...], deadline: Instant) -> None:
        """Note it."""
        self.watched[job, epoch] = (targets, deadline)

    def extend(self, job: JobId, epoch: Epoch, deadline: Instant) -> None:
        """Note the new deadline of what is watched."""
        if (job, epoch) in self.watched:
            self.watched[job, epoch] = (self.watched[job, epoch][0], deadline)
            self.due.discard((job, epoch))

    def may_run(self, job: JobId, epoch: Epoch) -> bool:
        """Return whether no test said that it is due."""
        return (job, epoch) in self.watched and (job, epoch) not in self.due

    def stand_back(self, job: JobId, epoch: Epoch) -> None:
        """Do nothing: it freezes nothing anyway."""

    def step_in(self, job: JobId, epoch: Epoch) -> None:
        """Do nothing."""

    def unwatch(self, job: JobId, epoch: Epoch) -> None:
        """Forget it."""
        self.watched.pop((job, epoch), None)


class FakeAttempt:
    """One started program."""

    def __init__(self, runtime: "FakeRuntime", request: StartRequest, count: int) -> None:
        """Begin to run it."""
        self.job = request.job
        self.epoch = request.epoch
        self.steps_s: dict[str, float] = {}
        self.frozen = False
        self._runtime = runtime
        self._request = request
        self._count = count
        self._progress: Progress | None = None
        self._go = asyncio.Event()
        self._go.set()
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name=f"fake[{self.job}]")

    async def _run(self) -> None:
        try:
            code, result = await self._program()
        except asyncio.CancelledError:
            code, result = 137, b""
        if not self._exit.done():
            self._exit.set_result(Exit(code=code, result=result, result_bytes=len(result)))

    async def _program(self) -> tuple[int, bytes]:
        match self._request.spec.command:
            case ("echo", text):
                return 0, f"{text}\n".encode()
            case ("exit", code):
                return int(code), b""
            case ("out", _, text):
                return 0, text.encode()
            case ("save",):
                return (0, b"resumed\n") if self._request.restore_from else (EXIT_RESUME, b"")
            case ("count", limit, step_s):
                while self._count < int(limit):
                    await asyncio.sleep(float(step_s))
                    await self._go.wait()
                    self._count += 1
                    self._progress = Progress(fraction=self._count / int(limit))
                return 0, f"{limit}\n".encode()
            case _:
                await asyncio.get_running_loop().create_future()
                raise AssertionError

    async def wait(self) -> Exit:
        """Return when it has ended."""
        return await asyncio.shield(self._exit)

    async def progress(self) -> Progress | None:
        """Return the share counted so far."""
        return self._progress

    async def log_tail(self, limit_bytes: int) -> bytes:
        """Return the last number."""
        return f"{self._count}\n".encode()[-limit_bytes:]

    async def freeze(self) -> None:
        """Stop counting."""
        self.frozen = True
        self._go.clear()

    async def thaw(self) -> None:
        """Go on counting."""
        self.frozen = False
        self._go.set()

    async def kill(self) -> None:
        """End it."""
        self._task.cancel()
        # A task that was cancelled before its first step never ran its own handler.
        await asyncio.wait([self._task])
        if not self._exit.done():
            self._exit.set_result(Exit(code=137))

    async def checkpoint(self, path: Path) -> Snapshot:
        """Save the count."""
        if path.exists():
            raise ContainerError(f"{path} is there already")
        (path / "job").mkdir(parents=True)
        (path / "job" / _STATE).write_text(str(self._count))
        (path / "stdout").touch()
        ended = self._exit.done()
        rung = Rung.FILES if ended else self._runtime.rung
        if rung is Rung.MEMORY:
            (path / "image").mkdir()
            (path / "image" / "pages-1.img").write_bytes(str(self._count).encode() * 1000)
        return Snapshot(
            path=path,
            rung=rung,
            image=self._request.spec.image or "",
            command=self._request.spec.command,
            host=self._runtime.host,
            progress=self._progress,
        )

    async def remove(self) -> None:
        """Kill and forget it."""
        await self.kill()
        self._runtime.attempts.pop((self.job, self.epoch), None)
        self._runtime.warden.unwatch(self.job, self.epoch)


class FakeRuntime:
    """Runs the programs above."""

    name = "fake"

    def __init__(self, *, warden: Warden, rung: Rung = Rung.MEMORY, host: HostFacts = HOST) -> None:
        """Run nothing yet."""
        self.warden = warden
        self.rung = rung
        self.host = host
        self.attempts: dict[tuple[JobId, Epoch], FakeAttempt] = {}
        """What runs or has ended and was not removed."""
        self.fail_starts: list[ContainerError] = []
        """Raised by the next starts, first one first."""

    async def images(self) -> tuple[str, ...]:
        """Return nothing: all images but one are there."""
        return ()

    async def start(self, request: StartRequest) -> FakeAttempt:
        """Start a program."""
        await asyncio.sleep(0)
        if self.fail_starts:
            raise self.fail_starts.pop(0)
        if request.spec.image == MISSING_IMAGE:
            raise ImageError(f"image {MISSING_IMAGE} is not here")
        if (request.job, request.epoch) in self.attempts:
            raise ContainerError(f"{request.job} was started before")
        count = 0
        saved = request.restore_from
        if saved is not None:
            if saved.rung is Rung.MEMORY and (
                self.rung is not Rung.MEMORY or saved.host.cpu != self.host.cpu
            ):
                raise RestoreError(f"{request.job}: this machine cannot restore its memory")
            count = int((saved.path / "job" / _STATE).read_text())
        self.warden.watch(request.job, request.epoch, (f"fake:{request.job}",), request.deadline)
        attempt = FakeAttempt(self, request, count)
        self.attempts[request.job, request.epoch] = attempt
        return attempt

    async def sweep(self) -> int:
        """Find nothing: what it runs ends with its process."""
        return 0

    async def close(self) -> None:
        """Remove all attempts."""
        for attempt in list(self.attempts.values()):
            await attempt.remove()
