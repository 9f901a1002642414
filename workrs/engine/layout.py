"""Where an engine of ours keeps what, and the configuration it is started with. Pure.

1. What outlives an engine (images) is below `data`, what does not is below `run`.
2. Paths of sockets are short whatever `data` is: Linux allows 107 bytes.
3. One folder is one engine: the name is derived from the folder's path.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from workrs.oci import RUNTIME_NAME, RUNTIME_PATH

RUN_ROOT = Path("/run/workrs/engines")

_UNUSED_CONTAINERD_PLUGINS = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLayout:
    """The paths of one engine."""

    data: Path
    """Kept between runs: images, logs. Absolute."""
    run: Path
    """Gone with the engine: sockets, state, configuration."""

    @classmethod
    def of(cls, data: Path, run_root: Path = RUN_ROOT) -> "EngineLayout":
        """Return the layout of the engine that keeps its images in *data*."""
        data = data.absolute()
        name = hashlib.sha256(str(data).encode()).hexdigest()[:12]
        return cls(data=data, run=run_root / name)

    @property
    def socket(self) -> Path:
        """The engine's API."""
        return self.run / "docker.sock"

    @property
    def url(self) -> str:
        """The engine's API as Docker's clients want it."""
        return f"unix://{self.socket}"

    @property
    def containerd_socket(self) -> Path:
        """The API of the engine's containerd."""
        return self.run / "containerd.sock"

    @property
    def exec_root(self) -> Path:
        """The engine's runtime state."""
        return self.run / "exec"

    @property
    def containerd_state(self) -> Path:
        """One folder per container below `…v2.task/moby`."""
        return self.run / "containerd"

    @property
    def runc_root(self) -> Path:
        """What to give to `runc --root` for containers of this engine."""
        return self.exec_root / "runtime-runc" / "moby"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.run / "owner.lock"

    @property
    def cgroup(self) -> str:
        """Parent of all cgroups of the engine, in every hierarchy."""
        return f"/workrs-engine-{self.run.name}"


def dockerd_config(
    layout: EngineLayout, *, storage_driver: str | None = None, has_trust_key: bool = False
) -> str:
    """Return the engine's daemon.json.

    Args:
        layout: where everything goes.
        storage_driver: the engine's choice if None.
        has_trust_key: whether the engine is older than 25 and so has a key, from which its id
            comes; all engines of a machine would share the one in /etc/docker.

    No bridge and no firewall rules, because jobs have no network and an engine that is already on
    the machine has its own. The cgroup driver is cgroupfs even beside systemd, so that one folder
    per hierarchy holds everything there is to clean up.
    """
    optional = {}
    if storage_driver:
        optional["storage-driver"] = storage_driver
    if has_trust_key:
        optional["deprecated-key-path"] = str(layout.data / "key.json")
    return json.dumps(
        {
            **optional,
            "hosts": [layout.url],
            "containerd": str(layout.containerd_socket),
            "data-root": str(layout.data / "docker"),
            "exec-root": str(layout.exec_root),
            "pidfile": str(layout.run / "docker.pid"),
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "ip-forward": False,
            "ip-masq": False,
            "userland-proxy": False,
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": layout.cgroup,
            "runtimes": {RUNTIME_NAME: {"path": str(RUNTIME_PATH)}},
            # The supervisor kills the containers first, so there is nothing to wait for.
            "shutdown-timeout": 1,
            "log-level": "warn",
        },
        indent=2,
    )


def containerd_config(layout: EngineLayout) -> str:
    """Return the configuration of the engine's containerd.

    dockerd would start one itself, but not where the system's own is running: it would then use
    that one, and two engines would share a namespace in it.
    """
    return "\n".join(
        [
            "version = 2",
            f"root = {json.dumps(str(layout.data / 'containerd'))}",
            f"state = {json.dumps(str(layout.containerd_state))}",
            f"disabled_plugins = {json.dumps(_UNUSED_CONTAINERD_PLUGINS)}",
            "[grpc]",
            f"address = {json.dumps(str(layout.containerd_socket))}",
            "[debug]",
            'level = "warn"',
            "",
        ]
    )
