"""What a hostile program tries in its container, and which wall it runs into.

Each attack is a Python program that ends with 0 if it got through. `loosen` says how the
container would have to be made for that: the options that `container_options` returns are updated
with it. A wall that several attacks need is named in each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LIBC = "import ctypes as c; l = c.CDLL(None, use_errno=True); "
UNCONFINED = ["seccomp=unconfined", "apparmor=unconfined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attempt, and what stands in its way."""

    wall: str
    """The control, in the words of docs/security.md."""
    code: str
    loosen: Mapping[str, object] = field(default_factory=dict)
    """Options without that control."""
    unmask: bool = False
    """Without the engine's own covers over parts of /proc, which no option of ours takes off."""


def attacks(*, port: int, pid: int) -> dict[str, Attack]:
    """Return all attacks by name.

    Args:
        port: of a server on this machine's loopback, which no container may reach.
        pid: of a process of this machine, which no container may see.
    """
    return {**_at_the_host(port, pid), **_at_the_kernel(), **_at_the_files()}


def _at_the_host(port: int, pid: int) -> dict[str, Attack]:
    seen = {"pid_mode": "host"}
    traced = {**seen, "cap_drop": [], "cap_add": ["SYS_PTRACE"], "security_opt": UNCONFINED}
    return {
        "reach a server of the host": Attack(
            wall="no network",
            code=f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)",
            loosen={"network_mode": "host"},
        ),
        "find a network interface": Attack(
            wall="no network",
            code="import os; assert set(os.listdir('/sys/class/net')) - {'lo'}",
            loosen={"network_mode": "host"},
        ),
        "see a process of the host": Attack(
            wall="processes of its own", code=f"import os; os.kill({pid}, 0)", loosen=seen
        ),
        "trace a process of the host": Attack(
            wall="processes of its own",
            code=LIBC
            + f"assert l.ptrace(16, {pid}, 0, 0) == 0, c.get_errno(); import os; "
            + f"os.waitpid({pid}, 0x40000000); assert l.ptrace(17, {pid}, 0, 0) == 0",
            loosen=traced,
        ),
    }


def _at_the_kernel() -> dict[str, Attack]:
    default_capabilities: dict[str, object] = {"cap_drop": []}
    mounting = {"cap_drop": [], "cap_add": ["SYS_ADMIN"], "security_opt": UNCONFINED}
    return {
        "open a raw socket": Attack(
            wall="no capabilities",
            code="import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
            loosen=default_capabilities,
        ),
        "make a device": Attack(
            wall="no capabilities",
            code="import os; os.mknod('/job/disk', 0o60666, os.makedev(7, 0))",
            loosen=default_capabilities,
        ),
        "change the root": Attack(
            wall="no capabilities", code="import os; os.chroot('/job')", loosen=default_capabilities
        ),
        "change the user": Attack(
            wall="no capabilities", code="import os; os.setuid(1000)", loosen=default_capabilities
        ),
        "mount": Attack(
            wall="no capabilities",
            code=LIBC + "assert l.mount(b'a', b'/job', b'tmpfs', 0, 0) == 0",
            loosen=mounting,
        ),
        "unmount its inputs": Attack(
            wall="no capabilities",
            code=LIBC + "assert l.umount2(b'/job/in', 2) == 0",
            loosen=mounting,
        ),
        "raise a limit": Attack(
            wall="file size",
            code="import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (1 << 40, 1 << 40))",
            loosen={"ulimits": []},
        ),
        "gain privileges": Attack(
            wall="no new privileges",
            code="assert 'NoNewPrivs:\\t0' in open('/proc/self/status').read()",
            loosen={"security_opt": []},
        ),
        "keep a key in the kernel": Attack(
            wall="default seccomp profile",
            code=LIBC + "assert l.syscall(248, b'user', b'x', b'y', 1, -2) > 0",
            loosen={"security_opt": UNCONFINED},
        ),
        "become root of a namespace": Attack(
            wall="default seccomp profile",
            code=LIBC + "assert l.unshare(0x10000000) == 0",
            loosen={"security_opt": UNCONFINED},
        ),
    }


def _at_the_files() -> dict[str, Attack]:
    def write_only(path: str) -> str:
        # Opened and closed: where the wall is down, this machine must stay as it is.
        return f"import os; os.close(os.open({path!r}, os.O_WRONLY))"

    def fill(folder: str) -> str:
        return (
            f"import os; names = [{folder!r} + '/' + str(n) for n in range(4)]\n"
            "try:\n    for name in names: open(name, 'wb').write(bytes(20 << 20))\n"
            "finally:\n    [os.unlink(name) for name in names if os.path.exists(name)]"
        )

    return {
        "write to the image": Attack(
            wall="read-only root",
            code="open('/etc/x', 'w').write('x')",
            loosen={"read_only": False},
        ),
        "write to /proc/sys": Attack(
            wall="/proc covered",
            code=write_only("/proc/sys/kernel/core_pattern"),
            unmask=True,
        ),
        "drop the host's caches": Attack(
            wall="/proc covered",
            code=write_only("/proc/sys/vm/drop_caches"),
            unmask=True,
        ),
        "write a large file": Attack(
            wall="file size",
            code="import os; open('/tmp/x', 'wb').write(bytes(30 << 20)); os.unlink('/tmp/x')",
            loosen={"ulimits": []},
        ),
        "open many files": Attack(
            wall="open files",
            code="kept = [open('/dev/null') for _ in range(1100)]",
            loosen={"ulimits": []},
        ),
        "fill /tmp": Attack(wall="size of /tmp", code=fill("/tmp"), loosen={"tmpfs": {"/tmp": ""}}),
        "fill /dev/shm": Attack(
            wall="size of /dev/shm", code=fill("/dev/shm"), loosen={"shm_size": 256 << 20}
        ),
    }
