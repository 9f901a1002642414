"""How a job's container is made: what it may, which is next to nothing.

No network, a read-only root, no capabilities, no new privileges, the engine's default seccomp
profile, limits on memory without swap, CPU, processes and file sizes; writable are /job, /tmp
and /dev/shm, each of limited size.

Two hardenings are left out because CRIU cannot restore a container that has them: an init
process of the engine's (its mount is missing then), and, where root lacks CAP_SYS_RESOURCE,
another user than root. Root without capabilities owns its own files and nothing else.
"""

from dataclasses import dataclass
from pathlib import Path

from docker.types import LogConfig, Mount, Ulimit

from edge_agent.runtimes.job_folder import JobFolder, contract_environment
from workrs.ports.runtime import StartRequest

LABEL_AGENT = "workrs.agent"
LABEL_OWNER = "workrs.owner"
"""The agent's name and a digest of its folder: what its sweep looks for."""
LABEL_JOB = "workrs.job"
LABEL_EPOCH = "workrs.epoch"
PIDS_MAX = 256
_FILES_MAX = 1024
_NANO_CPUS_MIN = 10_000_000
"""The kernel's smallest share: a hundredth of a core."""
_TMP_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """What does not depend on the job."""

    agent: str
    owner: str
    disk_bytes: int
    cgroup_parent: str
    runtime: str | None
    """Name of the OCI runtime; None: the engine's default."""
    limits_cpu: bool
    """Whether the engine can; one that cannot refuses a container that asks for it."""
    user: int
    """User and group id of the program."""


def container_options(
    request: StartRequest, folder: JobFolder, settings: ContainerSettings
) -> dict[str, object]:
    """Return the arguments for the SDK's `containers.create`."""
    memory_bytes = request.spec.memory_mb << 20
    options: dict[str, object] = {
        "image": request.spec.image,
        # As entry point, so that neither the image's own nor its default arguments are added.
        "entrypoint": list(request.spec.command),
        "environment": {"HOME": "/job", **request.spec.env, **contract_environment(request)},
        "working_dir": "/job",
        "user": f"{settings.user}:{settings.user}",
        "hostname": "job",
        "labels": {
            LABEL_AGENT: settings.agent,
            LABEL_OWNER: settings.owner,
            LABEL_JOB: request.job,
            LABEL_EPOCH: str(request.epoch),
        },
        "network_mode": "none",
        "ipc_mode": "private",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": False,
        "mem_limit": memory_bytes,
        "memswap_limit": memory_bytes,
        "pids_limit": PIDS_MAX,
        "ulimits": [
            Ulimit(name="fsize", soft=settings.disk_bytes, hard=settings.disk_bytes),
            Ulimit(name="nofile", soft=_FILES_MAX, hard=_FILES_MAX),
            Ulimit(name="core", soft=0, hard=0),
        ],
        "tmpfs": {"/tmp": f"size={_TMP_BYTES},mode=1777,nosuid,nodev"},  # noqa: S108 (its own)
        "mounts": [
            _bind(folder.job, "/job", read_only=False),
            _bind(folder.inputs, "/job/in", read_only=True),
        ],
        # The agent reads the streams itself, see docker_output.
        "log_config": LogConfig(type=LogConfig.types.NONE),
        "cgroup_parent": settings.cgroup_parent,
    }
    if settings.limits_cpu:
        options["nano_cpus"] = max(int(request.spec.cpus * 1e9), _NANO_CPUS_MIN)
    if settings.runtime is not None:
        options["runtime"] = settings.runtime
    return options


def _bind(source: Path, target: str, *, read_only: bool) -> Mount:
    return Mount(
        target=target,
        source=str(source.absolute()),
        type="bind",
        read_only=read_only,
        propagation="rprivate",
    )
