"""Docker Engines that the project starts and stops itself, for the demo, the tests and `up`.

1. An engine lives at most as long as the process that started it, however that one ends.
2. After a stop nothing of it is left but its data folder: no process, container, mount,
   network namespace or cgroup.
3. An engine that is already on the machine is neither used nor touched.

Needs root, and the programs that the set-up installs.
"""

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from workrs.domain.errors import ContainerError
from workrs.engine.layout import EngineLayout

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0


class EngineError(ContainerError):
    """An engine of ours did not start or stop."""


class OwnEngine:
    """A running Docker Engine with our OCI runtime, owned by this process."""

    def __init__(self, data: Path, *, storage_driver: str | None = None) -> None:
        """Begin to start an engine that keeps its images in *data*; `wait_ready` finishes that.

        Args:
            data: made if it is missing; one folder serves one engine at a time.
            storage_driver: the engine's choice if None: overlay2, and vfs where that cannot be.

        Raises:
            EngineError: this process cannot start engines, and why.
        """
        self.layout = EngineLayout.of(data)
        why = missing()
        if why:
            raise EngineError(why)
        layout = self.layout
        self._supervisor = subprocess.Popen(
            [
                *(sys.executable, "-m", "workrs.engine.supervise"),
                *(layout.data, layout.run, storage_driver or ""),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A Ctrl-C is for the caller, which then stops the engine in order.
            start_new_session=True,
        )

    @property
    def url(self) -> str:
        """What a Docker client takes as `base_url` or `DOCKER_HOST`."""
        return self.layout.url

    @property
    def runc_root(self) -> Path:
        """What to give to `runc --root` for this engine's containers."""
        return self.layout.runc_root

    def is_alive(self) -> bool:
        """Return whether the engine has not ended."""
        return self._supervisor.poll() is None

    def wait_ready(self, timeout_s: float = _START_TIMEOUT_S) -> Self:
        """Wait until the engine answers.

        Raises:
            EngineError: it does not come up; the text has the daemon's last lines.
        """
        line = _read_line(_pipe(self._supervisor.stdout), timeout_s)
        if line != "ready":
            self.stop()
            raise EngineError(line or f"no engine at {self.url} after {timeout_s:g} s")
        return self

    def stop(self) -> None:
        """Stop the engine and everything in it; idempotent.

        Raises:
            EngineError: something of it could not be stopped.
        """
        self.stop_soon()
        try:
            self._supervisor.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"the engine at {self.url} does not stop") from error
        finally:
            _pipe(self._supervisor.stdout).close()

    def stop_soon(self) -> None:
        """Ask the engine to stop, without waiting for it."""
        # Nothing is ever written to it, so closing has nothing to flush and cannot fail.
        _pipe(self._supervisor.stdin).close()

    def __enter__(self) -> Self:
        """Wait until the engine answers."""
        return self.wait_ready()

    def __exit__(
        self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        """Stop the engine."""
        self.stop()


@contextlib.contextmanager
def own_engines(
    count: int, root: Path, *, storage_driver: str | None = None
) -> Iterator[tuple[OwnEngine, ...]]:
    """Run *count* engines side by side, each with its images in a folder of *root*.

    They start and stop in parallel. The folders stay, so that images need not be built again.

    Raises:
        EngineError: one of them did not start; the others have been stopped.
    """
    engines: list[OwnEngine] = []
    try:
        for number in range(1, count + 1):
            engine = OwnEngine(root / f"engine-{number}", storage_driver=storage_driver)
            engines.append(engine)
        for engine in engines:
            engine.wait_ready()
        yield tuple(engines)
    finally:
        for engine in engines:
            engine.stop_soon()
        for engine in engines:
            engine.stop()


def missing() -> str | None:
    """Return why this process cannot start engines of its own, or None if it can."""
    if os.geteuid() != 0:
        return "starting a container engine needs root; type: sudo ./run …"
    absent = [program for program in ("dockerd", "containerd", "runc") if not shutil.which(program)]
    if absent:
        return f"not installed: {', '.join(absent)}; type: ./run setup"
    return None


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _read_line(pipe: IO[bytes], timeout_s: float) -> str:
    """Return what comes in until a line ends, the pipe ends or the time is over."""
    deadline = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
            break
        chunk = os.read(pipe.fileno(), 4096)
        if not chunk:
            break
        line += chunk
    return line.decode(errors="replace").strip()
