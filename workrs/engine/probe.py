"""What this machine and its container engines can do, and what to type for the rest.

`probe_machine` and `engine_facts.probe_engine` look; `findings` and `rungs` judge what was seen,
without looking again, so their answers can be shown, sent and tested. All values are plain
enough for `dataclasses.asdict` and JSON.
"""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from workrs.engine.cgroup import hierarchies
from workrs.oci import PREFIX_BIN, RUNTIME_NAME, RUNTIME_PATH
from workrs.ports.runtime import Rung

_SEARCHED = f"{PREFIX_BIN}:{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
_CAP_SYS_RESOURCE = 24
_CHECK_TIMEOUT_S = 20

SETUP = "sudo ./run setup"
DAEMON_JSON = f'{{"runtimes": {{"{RUNTIME_NAME}": {{"path": "{RUNTIME_PATH}"}}}}}}'
"""What a foreign engine's daemon.json must contain for the memory rung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriuFacts:
    """The CRIU that `runc` would find."""

    path: str = ""
    """Empty if there is none."""
    version: str = ""
    problem: str = ""
    """What `criu check` complains about; empty if it passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What was found on this machine."""

    is_root: bool
    programs: dict[str, str]
    """Path of each program that is looked for; empty if it is not installed."""
    criu: CriuFacts
    cgroup_version: int
    """1, 2, or 0 if no hierarchy is mounted."""
    has_sys_resource: bool
    """Whether root may read the limits of another user's process."""
    python: str
    kernel: str
    has_runtime: bool
    """Whether our OCI runtime is where engines are told to find it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What a container engine tells of itself, and what can be seen of it from here."""

    url: str
    problem: str = ""
    """Why it does not answer; the rest is then empty."""
    version: str = ""
    runtimes: tuple[str, ...] = ()
    is_local: bool = False
    """Whether its processes and files are those of this machine."""
    is_rootless: bool = False
    remaps_users: bool = False
    runc_root: str = ""
    """For `runc --root`; empty if it was not found."""
    found_by: str = ""
    """Where `runc_root` was read."""
    is_shared: bool = True
    """Whether its state lies on a shared mount, which a restore needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `workrs doctor`."""

    name: str
    ok: bool
    why: str
    fix: str = ""
    """What to type if it is not; empty if nothing helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one rung of the checkpoint ladder can be stood on."""

    rung: Rung
    ok: bool
    why: str
    fix: str = ""


def find_program(name: str) -> str:
    """Return the path of *name*, ours first, also where PATH lacks sbin; empty if it is absent."""
    return shutil.which(name, path=_SEARCHED) or ""


def probe_machine() -> MachineFacts:
    """Look at this machine. Takes 0.1 s, of which `criu check` is the most."""
    names = ("mosquitto", "dockerd", "containerd", "runc", "busybox")
    return MachineFacts(
        is_root=os.geteuid() == 0,
        programs={name: find_program(name) for name in names},
        criu=_probe_criu(),
        cgroup_version=_cgroup_version(),
        has_sys_resource=_has_capability(_CAP_SYS_RESOURCE),
        python=platform.python_version(),
        kernel=platform.release(),
        has_runtime=RUNTIME_PATH.is_file(),
    )


def findings(machine: MachineFacts) -> tuple[Finding, ...]:
    """Judge what a node and an agent need, in the order of importance."""
    return (
        Finding(name="python", ok=True, why=machine.python),
        _program(machine, "mosquitto", lost="no node can run"),
        _program(machine, "dockerd", lost="no engine of our own, one that is here can be used"),
        _program(machine, "runc", lost="no containers of our own engine, no memory checkpoints"),
        _program(machine, "busybox", lost="no `workrs image build`"),
        _criu_finding(machine),
        Finding(
            name="runtime",
            ok=machine.has_runtime,
            why=str(RUNTIME_PATH) if machine.has_runtime else "memory is never restored",
            fix="" if machine.has_runtime else SETUP,
        ),
        Finding(
            name="root",
            ok=machine.is_root,
            why="engines of our own, memory checkpoints" if machine.is_root else "a plain user",
            fix="" if machine.is_root else "run it with sudo",
        ),
        Finding(
            name="cgroup",
            ok=machine.cgroup_version > 0,
            why=f"version {machine.cgroup_version}" if machine.cgroup_version else "not mounted",
        ),
        Finding(
            name="users",
            ok=machine.has_sys_resource,
            why="containers of other users can be checkpointed"
            if machine.has_sys_resource
            else "no CAP_SYS_RESOURCE here: only containers of root can be checkpointed",
        ),
    )


def rungs(machine: MachineFacts, engine: EngineFacts | None) -> tuple[Verdict, ...]:
    """Judge each rung of the ladder, the best first; the last one always holds.

    Args:
        machine: what was found on the machine the agent runs on.
        engine: the agent's engine; None for the process runtime.
    """
    if engine is None:
        memory = Verdict(rung=Rung.MEMORY, ok=False, why="plain processes: only containers")
        files = Verdict(rung=Rung.FILES, ok=True, why="stop, copy /job, continue")
    else:
        why, fix = _memory_obstacle(machine, engine)
        memory = Verdict(rung=Rung.MEMORY, ok=not why, why=why or "CRIU through runc", fix=fix)
        why = _files_obstacle(engine)
        files = Verdict(rung=Rung.FILES, ok=not why, why=why or "freeze, copy /job, thaw")
    none = Verdict(rung=Rung.NONE, ok=True, why="a job that is taken over starts again")
    return (memory, files, none)


def best(verdicts: tuple[Verdict, ...]) -> Verdict:
    """Return the first that holds."""
    return next(verdict for verdict in verdicts if verdict.ok)


def _memory_obstacle(machine: MachineFacts, engine: EngineFacts) -> tuple[str, str]:
    """Return the first thing in the way and what to type; two empty texts if nothing is."""
    files = _files_obstacle(engine)
    state = Path(engine.runc_root).parent
    obstacles = (
        (bool(files), files, ""),
        (
            engine.is_rootless or engine.remaps_users,
            "the engine runs containers as other users of the machine",
            "",
        ),
        (not machine.is_root, "needs root", "run the agent with sudo"),
        (not machine.programs["runc"], "no runc", SETUP),
        (not machine.criu.path, "no criu", SETUP),
        (bool(machine.criu.problem), f"criu check: {machine.criu.problem}", SETUP),
        (not machine.has_runtime, f"no {RUNTIME_PATH}", SETUP),
        (
            RUNTIME_NAME not in engine.runtimes,
            f"the engine does not list the runtime {RUNTIME_NAME}",
            f"add to /etc/docker/daemon.json: {DAEMON_JSON} and type: systemctl reload docker",
        ),
        (not engine.runc_root, "the engine's exec-root was not found", ""),
        (
            not engine.is_shared,
            f"{state} is not on a shared mount, without which CRIU restores nothing",
            "mount --make-shared the mount it lies on, then start the engine again",
        ),
    )
    return next(((why, fix) for applies, why, fix in obstacles if applies), ("", ""))


def _files_obstacle(engine: EngineFacts) -> str:
    if engine.problem:
        return f"the engine does not answer: {engine.problem}"
    if not engine.is_local:
        return "the engine is on another machine, or in a virtual one"
    return ""


def _program(machine: MachineFacts, name: str, *, lost: str) -> Finding:
    path = machine.programs[name]
    return Finding(name=name, ok=bool(path), why=path or lost, fix="" if path else SETUP)


def _criu_finding(machine: MachineFacts) -> Finding:
    criu = machine.criu
    if not criu.path:
        return Finding(name="criu", ok=False, why="no memory checkpoints", fix=SETUP)
    if criu.problem:
        why = f"{criu.path} {criu.version}: {criu.problem}"
        return Finding(name="criu", ok=False, why=why, fix=SETUP)
    return Finding(name="criu", ok=True, why=f"{criu.path} {criu.version}")


def _probe_criu() -> CriuFacts:
    path = find_program("criu")
    if not path:
        return CriuFacts()
    _, output = _run(path, "--version")
    version = output.partition("Version:")[2].strip().splitlines()
    code, output = _run(path, "check")
    lines = [line for line in output.splitlines() if line.strip()]
    problem = "" if code == 0 else (lines[0] if lines else f"exit code {code}")
    return CriuFacts(path=path, version=version[0] if version else "", problem=problem)


def _run(*command: str) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_CHECK_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stdout + done.stderr


def _cgroup_version() -> int:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return 2
    return 1 if hierarchies() else 0


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False
