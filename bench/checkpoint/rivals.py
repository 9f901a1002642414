"""What else checkpoints a container: raw runc, Docker's own call, Podman.

Each starts the same program from the same image, saves it while it runs on, and brings it back
after a kill. All write to one folder, so that one file system serves all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Protocol

from bench.checkpoint.packages import environment
from bench.checkpoint.program import Pulse, command, until
from edge_agent.runtimes import job_mount
from edge_agent.runtimes.host import tool_path
from workrs.engine import cgroup

NAME = "workrs-bench"
_PODMAN_CACHE = Path("/var/lib/containers")
"""Where root's Podman notes what it loaded, whatever its options."""
_REFUSED_MAX = 60
_REFUSED_S = 1.0


class Rival(Protocol):
    """One way to save a program."""

    name: str

    def start(self, mib: int) -> Pulse:
        """Start a program of *mib*, and return when its memory is full."""
        ...

    def checkpoint(self) -> None:
        """Save it, and let it run on."""
        ...

    def kill(self) -> None: ...

    def restore(self) -> bool:
        """Start it from what was saved; False: not yet, ask again."""
        ...

    def remove(self) -> None:
        """Remove it and what was saved, also after any of these calls has failed."""
        ...


def run(*words: str | Path, env: dict[str, str] | None = None, check: bool = True) -> str:
    """Run a program and return what it printed; end the bench with its words if it fails."""
    ran = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False
    )
    if check and ran.returncode:
        raise SystemExit(f"{' '.join(map(str, words))[:300]}: {ran.stderr.strip()[-600:]}")
    return ran.stdout.strip()


def silently(*words: str | Path, env: dict[str, str]) -> None:
    """Run a program whose children keep its output, which therefore must not be a pipe of ours."""
    ran = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=env,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(f"{' '.join(map(str, words))[:300]}: exit status {ran.returncode}")


class Runc:
    """runc and CRIU, with nothing above them."""

    name = "runc"

    def __init__(self, folder: Path, archive: Path) -> None:
        """Unpack the image in *archive* as a bundle's root."""
        self._bundle = folder / "bundle"
        self._saved = folder / "saved"
        self._job = folder / "job"
        self._runc = ("runc", "--root", str(folder / "state"))
        for path in (self._bundle / "rootfs", self._job):
            path.mkdir(parents=True)
        with tarfile.open(archive) as image:
            layer = image.extractfile("layer.tar")
            with tarfile.open(fileobj=layer) as tar:
                tar.extractall(self._bundle / "rootfs", filter="fully_trusted")
        run("runc", "spec", "--bundle", self._bundle)

    def start(self, mib: int) -> Pulse:
        path = self._bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"] |= {"terminal": False, "cwd": "/job", "args": list(command(mib=mib))}
        config["process"]["env"] = ["PATH=/usr/local/bin:/usr/bin:/bin"]
        config["linux"]["cgroupsPath"] = f"/{NAME}-raw"
        config["mounts"] = [one for one in config["mounts"] if one["destination"] != "/job"]
        config["mounts"].append(
            {"destination": "/job", "source": str(self._job), "type": "bind", "options": ["rbind"]}
        )
        path.write_text(json.dumps(config))
        silently(*self._runc, "run", "--detach", "--bundle", self._bundle, NAME, env=tool_path())
        return Pulse(self._job / "pulse")

    def checkpoint(self) -> None:
        self._saved.mkdir()
        run(*self._runc, "checkpoint", "--leave-running", *self._images(), NAME, env=tool_path())

    def kill(self) -> None:
        run(*self._runc, "delete", "--force", NAME)

    def restore(self) -> bool:
        silently(
            *(*self._runc, "restore", "--detach", "--bundle", self._bundle, *self._images(), NAME),
            env=tool_path(),
        )
        return True

    def _images(self) -> tuple[str | Path, ...]:
        # File locks as with ours, since it costs CRIU a look at every lock of the system.
        image, work = self._saved / "image", self._saved / "work"
        return ("--file-locks", "--image-path", image, "--work-path", work)

    def remove(self) -> None:
        run(*self._runc, "delete", "--force", NAME, check=False)
        shutil.rmtree(self._saved, ignore_errors=True)
        (self._job / "pulse").unlink(missing_ok=True)


class Docker:
    """The engine's own call, which needs its experimental flag."""

    name = "docker"

    def __init__(self, folder: Path, url: str, image: str) -> None:
        self._docker = ("docker", "--host", url)
        self._image = image
        self._job = folder / "job"
        self._job.mkdir(parents=True)

    def start(self, mib: int) -> Pulse:
        self._run("--name", NAME, "--volume", f"{self._job}:/job", words=command(mib=mib))
        return Pulse(self._job / "pulse")

    def _run(self, *options: str, words: tuple[str, ...]) -> str:
        fixed = ("run", "--detach", "--network", "none", "--runtime", "runc")
        return run(*self._docker, *fixed, *options, self._image, *words)

    def run_empty(self) -> float:
        """Return how long it takes to run a program that does nothing."""
        begin = time.perf_counter()
        container = self._run(words=("sleep", "1000"))
        took_s = time.perf_counter() - begin
        run(*self._docker, "rm", "--force", container)
        return took_s

    def checkpoint(self) -> None:
        run(*self._docker, "checkpoint", "create", "--leave-running", NAME, "saved")

    def kill(self) -> None:
        run(*self._docker, "kill", NAME)
        run(*self._docker, "wait", NAME)

    def restore(self) -> bool:
        words = (*self._docker, "start", "--checkpoint", "saved", NAME)
        ran = subprocess.run(words, capture_output=True, text=True, check=False)
        # The engine stumbles over what `checkpoint create` left in its content store, until
        # that is collected.
        if ran.returncode and "already exists" not in ran.stderr:
            raise SystemExit(f"docker start: {ran.stderr.strip()}")
        return ran.returncode == 0

    def remove(self) -> None:
        run(*self._docker, "rm", "--force", NAME, check=False)
        (self._job / "pulse").unlink(missing_ok=True)


class Podman:
    """`podman container checkpoint --export`, at its fastest: not compressed."""

    name = "podman"

    def __init__(self, folder: Path, programs: Path, archive: Path) -> None:
        self._folder = folder
        self._job = folder / "job"
        self._job.mkdir(parents=True)
        self._found = _PODMAN_CACHE.exists()
        self._saved = folder / "saved.tar"
        # It takes no longer path than 50 bytes.
        self._run_root = Path(tempfile.mkdtemp(prefix="podman-", dir="/run"))
        self._env = environment(programs) | self._settings(programs)
        self._podman = (
            *("podman", "--root", str(folder / "store"), "--runroot", str(self._run_root)),
            *("--tmpdir", str(self._run_root / "tmp"), "--runtime", "runc"),
            *("--cgroup-manager", "cgroupfs", "--events-backend", "none"),
            *("--network-config-dir", str(folder / "network")),
        )
        loaded = run(*self._podman, "load", "--quiet", "--input", archive, env=self._env)
        self._image = loaded.partition(": ")[2]

    def _settings(self, programs: Path) -> dict[str, str]:
        """Write settings that keep Podman's hands off the system's."""
        containers = self._folder / "containers.conf"
        containers.write_text(
            f'[engine]\nconmon_path = ["{programs}/usr/bin/conmon"]\nlock_type = "file"\n'
        )
        storage = self._folder / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\n'
            f'graphroot = "{self._folder}/store"\nrunroot = "{self._run_root}"\n'
        )
        registries = self._folder / "registries.conf"
        registries.touch()
        policy = self._folder / ".config/containers/policy.json"
        policy.parent.mkdir(parents=True)
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        return {
            "HOME": str(self._folder),
            "CONTAINERS_CONF": str(containers),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
        }

    def start(self, mib: int) -> Pulse:
        run(
            *(*self._podman, "run", "--detach", "--name", NAME, "--network", "none"),
            # Its defaults are above what a root without CAP_SYS_RESOURCE may set.
            *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
            *(
                "--cgroup-parent",
                f"/{NAME}-podman",
                "--volume",
                f"{self._job}:/job",
                self._image,
                *command(mib=mib),
            ),
            env=self._env,
        )
        return Pulse(self._job / "pulse")

    def checkpoint(self) -> None:
        options = ("--leave-running", "--compress", "none", "--export", self._saved)
        run(*self._podman, "container", "checkpoint", *options, NAME, env=self._env)

    def kill(self) -> None:
        run(*self._podman, "rm", "--force", "--time", "0", NAME, env=self._env)

    def restore(self) -> bool:
        options = ("--import", self._saved, "--name", NAME)
        run(*self._podman, "container", "restore", *options, env=self._env)
        return True

    def remove(self) -> None:
        run(*self._podman, "rm", "--force", "--time", "0", NAME, env=self._env, check=False)
        self._saved.unlink(missing_ok=True)
        (self._job / "pulse").unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount what it leaves mounted, and remove what lies outside its folder."""
        cgroups = cgroup.folders_of(f"/{NAME}-podman")
        cgroup.kill(cgroups)
        cgroup.remove(cgroups)
        for path in (self._folder, self._run_root):
            job_mount.unmount_below(path)
        shutil.rmtree(self._run_root)
        if not self._found:
            shutil.rmtree(_PODMAN_CACHE, ignore_errors=True)


def measure(rival: Rival, mib: int) -> dict[str, float]:
    """Take one program through a checkpoint and a restore."""
    clock = time.perf_counter
    found: dict[str, float] = {}
    try:
        pulse = rival.start(mib)
        pulse.reset()
        os.sync()
        before = pulse.ticks
        begin = clock()
        rival.checkpoint()
        found[f"{rival.name}: checkpoint"] = clock() - begin
        pulse.next_tick()
        found[f"{rival.name}: stood still"] = pulse.longest_gap_s
        rival.kill()
        pulse.clear()
        os.sync()
        refused = 0
        begin = clock()
        while not rival.restore():
            refused += 1
            if refused > _REFUSED_MAX:
                raise SystemExit(f"{rival.name} does not restore")
            time.sleep(_REFUSED_S)  # noqa: TID251
            begin = clock()
        until(lambda: pulse.ticks > 0, what=f"{rival.name} restores")
        found[f"{rival.name}: restore"] = clock() - begin
        if pulse.ticks < before:
            raise SystemExit(f"{rival.name} started the program anew")
        if refused:
            found[f"{rival.name}: refused restores"] = refused
    finally:
        rival.remove()
    return found
