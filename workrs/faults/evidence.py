"""When programs of jobs really ran: their own testimony, and what the kernel shows.

1. A `beads` job of the process runtime writes a line outside of its folder at every step.
2. Containers cannot write outside; their cgroups are looked at instead: one that has
   processes, is not frozen and not being killed runs. A look every LOOK_S, so a shorter run
   may be missed.

Neither asks an agent. Times are seconds on the trace's clock.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import docker
from docker.errors import DockerException

from workrs.domain.errors import WorkrsError

LOOK_S: Final = 0.05
_FREEZER: Final = (Path("/sys/fs/cgroup/freezer/workrs"), Path("/sys/fs/cgroup/workrs"))
_SIGKILL_BIT: Final = 1 << (signal.SIGKILL - 1)
ASK_S: Final = 0.3
STRANGER_S: Final = 15.0
"""A container that no engine of ours has named by then belongs to somebody else."""


class RunKey(NamedTuple):
    """One start of a job's program."""

    job: str
    epoch: int
    agent: str


@dataclass(slots=True)
class Run:
    """When it was seen running, in order."""

    key: RunKey
    seen_s: list[float] = field(default_factory=list)

    @property
    def first_s(self) -> float:
        """When it was seen first."""
        return self.seen_s[0]

    @property
    def last_s(self) -> float:
        """When it was seen last."""
        return self.seen_s[-1]


def _agent_of(folder: str) -> str:
    """Return the agent below whose state folder a process's job folder lies."""
    parts = folder.split("/")
    with suppress(ValueError):
        return parts[parts.index("cluster") + 1]
    return ""


def forget_testimony(folder: Path, jobs: frozenset[str]) -> None:
    """Remove what programs of *jobs* wrote."""
    for job in jobs:
        (folder / job).unlink(missing_ok=True)


def read_testimony(folder: Path, zero_s: float, job: str = "*") -> list[Run]:
    """Return the runs that programs wrote of, by their files in *folder*.

    Args:
        folder: the site's evidence.
        zero_s: CLOCK_MONOTONIC when the trace's clock was 0.
        job: whose; all by default.
    """
    runs: dict[RunKey, Run] = {}
    for path in sorted(folder.glob(job)):
        for line in path.read_text().splitlines():
            at, job, epoch, _attempt, _step, job_folder = line.split(" ", 5)
            key = RunKey(job, int(epoch), _agent_of(job_folder))
            runs.setdefault(key, Run(key)).seen_s.append(float(at) - zero_s)
    return list(runs.values())


class BlindError(WorkrsError):
    """A witness has broken: what it did not see does not mean that nothing was there."""


class ContainerEyes:
    """Looks at the containers of the stage's engines, in threads while `running` lasts.

    Looking and asking whose container it is are apart: a busy engine takes seconds to
    answer, and what was seen must keep the time at which it was seen.
    """

    def __init__(self, engines: Sequence[str], clock: Callable[[], float]) -> None:
        """Look at *engines*; none: there is nothing to see."""
        self._engines = tuple(engines)
        self._clock = clock
        self._names: dict[str, RunKey] = {}
        self._seen: dict[str, list[float]] = {}
        """By the id of the container."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._broken: list[str] = []

    def runs(self) -> list[Run]:
        """Return what was seen so far of containers that an engine has named.

        Raises:
            BlindError: a thread that looks has died.
        """
        if self._broken:
            raise BlindError(f"containers are no longer watched: {self._broken[0]}")
        found: dict[RunKey, Run] = {}
        with self._lock:
            for container, seen_s in self._seen.items():
                key = self._names.get(container)
                if key is not None:
                    found.setdefault(key, Run(key)).seen_s.extend(seen_s)
        for run in found.values():
            run.seen_s.sort()
        return list(found.values())

    def forget(self, jobs: frozenset[str]) -> None:
        """Drop what was seen of *jobs*."""
        with self._lock:
            for container, key in list(self._names.items()):
                if key.job in jobs:
                    self._seen.pop(container, None)

    @contextmanager
    def running(self) -> Iterator["ContainerEyes"]:
        """Look while the context lasts."""
        if not self._engines:
            yield self
            return
        duties = [("container-eyes", self._look)]
        duties += [("container-names", partial(self._ask, engine)) for engine in self._engines]
        threads = [
            threading.Thread(target=self._keep, args=(name, duty), name=name)
            for name, duty in duties
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _keep(self, name: str, duty: Callable[[], None]) -> None:
        """Do what a thread is for; should it break, have whoever asks next fail of it."""
        try:
            duty()
        except Exception as error:  # noqa: BLE001 (whatever it is, nothing is seen any more)
            self._broken.append(f"{name}: {error!r}")

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            at_s = self._clock()
            found = list(_unfrozen())
            with self._lock:
                for container in found:
                    self._seen.setdefault(container, []).append(at_s)

    def _ask(self, engine: str) -> None:
        client = docker.DockerClient(base_url=engine)
        try:
            while not self._ended.wait(ASK_S):
                new_s = self._clock() - STRANGER_S
                with self._lock:
                    unnamed = any(
                        seen_s[0] > new_s
                        for container, seen_s in self._seen.items()
                        if container not in self._names
                    )
                if unnamed:
                    self._learn(client)
        finally:
            client.close()

    def _learn(self, client: docker.DockerClient) -> None:
        with suppress(DockerException, OSError):  # a busy engine's silence is an OSError
            for container in client.containers.list(all=True, ignore_removed=True):
                labels: Mapping[str, str] = container.labels
                if container.id and "workrs.job" in labels:
                    epoch = int(labels.get("workrs.epoch", "0"))
                    key = RunKey(labels["workrs.job"], epoch, labels.get("workrs.agent", ""))
                    with self._lock:
                        self._names[container.id] = key


def _unfrozen() -> Iterator[str]:
    """Yield ids of containers below our agents' cgroups that can run: not frozen, not dying."""
    for root in _FREEZER:
        folders: list[Path] = []
        with suppress(FileNotFoundError):  # an agent's group vanished while it was listed
            folders.extend(root.glob("*/*"))
        for folder in folders:
            with suppress(OSError):
                container = folder.name.removeprefix("docker-").removesuffix(".scope")
                pids = (folder / "cgroup.procs").read_text().split()
                if pids and not _is_frozen(folder) and any(can_run(int(pid)) for pid in pids):
                    yield container


def can_run(pid: int) -> bool:
    """Return whether a process has memory and no SIGKILL on its way.

    On cgroup version 1 a frozen program is killed by SIGKILL and then thawed, so that it can
    die of it; it comes to no instruction of its own any more.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return "VmRSS" in status and not pending & _SIGKILL_BIT


def _is_frozen(folder: Path) -> bool:
    state = folder / "freezer.state"
    if state.exists():
        return state.read_text().strip() != "THAWED"
    return "frozen 1" in (folder / "cgroup.events").read_text()
