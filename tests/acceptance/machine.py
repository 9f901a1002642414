"""Machines with a systemd of their own, on this one, for the tests of docs/operations.md.

A machine is a set of namespaces whose first process is the system's own systemd. Its root is an
overlay: it reads what this machine has installed, and what it writes is in memory and gone with it.
The checkout is at /opt/workrs, as the page has it. A bridge in a network namespace joins machines.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.agreement import until

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
_CGROUPS = Path("/sys/fs/cgroup")
RUN_S = 120.0
"""A unit's start or stop on a busy machine, and waits that a script has in itself."""
BOOT_S = 180.0
_MASKED = (
    "tmp.mount systemd-udevd.service systemd-udev-trigger.service systemd-logind.service "
    "systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-firstboot.service "
    "getty.target console-getty.service systemd-networkd.service systemd-modules-load.service "
    "systemd-timesyncd.service systemd-sysctl.service"
)
_BOOT = """
set -e
mount -t tmpfs -o mode=755 tmpfs {base}
mkdir {base}/up {base}/work {base}/root {base}/up2 {base}/work2
r={base}/root
mount -t overlay overlay -o lowerdir=/,upperdir={base}/up,workdir={base}/work $r
mount -t proc proc $r/proc
mount -t sysfs -o ro sysfs $r/sys
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 $r/sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 tmpfs $r/sys/fs/cgroup
    for c in {controllers}; do
        mkdir $r/sys/fs/cgroup/$c
        mount -t cgroup -o $c cgroup $r/sys/fs/cgroup/$c
    done
    mkdir $r/sys/fs/cgroup/systemd $r/sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup $r/sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 $r/sys/fs/cgroup/unified
fi
mount -t tmpfs -o mode=755 tmpfs $r/dev
for d in null zero full random urandom tty; do cp -a /dev/$d $r/dev/; done
mkdir $r/dev/pts $r/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts $r/dev/pts
mount -t tmpfs tmpfs $r/dev/shm
ln -s pts/ptmx $r/dev/ptmx
ln -s /proc/self/fd $r/dev/fd
for d in run tmp var/lib/docker var/lib/containerd; do
    mkdir -p $r/$d
    mount -t tmpfs -o mode=755 tmpfs $r/$d
done
chmod 1777 $r/tmp
mkdir -p $r/opt/workrs
mount -t overlay overlay -o lowerdir={checkout},upperdir={base}/up2,workdir={base}/work2 \\
    $r/opt/workrs
rm -rf $r/etc/systemd/system/*.wants $r/etc/machine-id $r/etc/workrs $r/var/lib/workrs
tr -d - </proc/sys/kernel/random/uuid >$r/etc/machine-id
ln -sf /lib/systemd/system/multi-user.target $r/etc/systemd/system/default.target
for u in {masked}; do ln -sf /dev/null $r/etc/systemd/system/$u; done
ip link set lo up
hostname {name}
cd $r
mkdir -p old
pivot_root . old
umount -l /old
mount --make-rshared /
exec env -i container=workrs PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    {systemd} --log-target=null --show-status=0 \\
    systemd.unified_cgroup_hierarchy={unified} </dev/null
"""


def why_not() -> str:
    """Return why there can be no machines here, or nothing."""
    if os.geteuid() != 0:
        return "a systemd of its own needs root"
    if not SYSTEMD.exists():
        return "systemd is not installed: ./run setup"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One that has booted."""

    name: str
    address: str
    init: int
    """Process id of its systemd, seen from here."""

    def run(self, script: str, *, timeout_s: float = RUN_S) -> str:
        """Run a shell script there as root; return what it prints, or fail with all of it."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        enter = ["nsenter", "-t", str(self.init), "-m", "-p", "-u", "-i", "-n", "-C", "--"]
        clean = ["env", "-i", f"PATH={path}", "HOME=/root", "sh", "-e"]
        return run([*enter, *clean], script, where=self.name, timeout_s=timeout_s)


def run(
    command: list[str],
    script: str,
    *,
    where: str,
    cwd: Path | None = None,
    timeout_s: float = RUN_S,
) -> str:
    """Give a shell a script; return what it prints, or fail with all of it."""
    ran = subprocess.run(
        command,
        input=script,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        cwd=cwd,
    )
    assert ran.returncode == 0, f"on {where}, exit code {ran.returncode}:\n{script}\n{ran.stdout}"
    return ran.stdout


@contextmanager
def machines(addresses: dict[str, str], network: str, folder: Path) -> Iterator[dict[str, Machine]]:
    """Boot machines by name and address, joined by a bridge at 10.0.0.254 in *network*."""
    _sh(
        f"ip netns add {network}\nip -n {network} link set lo up\n"
        f"ip -n {network} link add br0 type bridge\nip -n {network} link set br0 up\n"
        f"ip -n {network} addr add 10.0.0.254/24 dev br0\n"
    )
    booted: dict[str, Machine] = {}
    outers: list[subprocess.Popen[bytes]] = []
    try:
        outers.extend(_boot(name, folder) for name in addresses)
        for (name, address), outer in zip(addresses.items(), outers, strict=True):
            init = until("the boot", lambda outer=outer: _systemd_below(outer), BOOT_S)  # type: ignore[misc]
            _sh(
                f"ip -n {network} link add v{name} type veth peer name eth0 netns {init}\n"
                f"ip -n {network} link set v{name} master br0 up\n"
                f"nsenter -t {init} -n ip addr add {address}/24 dev eth0\n"
                f"nsenter -t {init} -n ip link set eth0 up\n"
            )
            booted[name] = Machine(name=name, address=address, init=init)
        yield booted
    finally:
        for outer in outers:
            outer.kill()  # and with it all that is in its namespaces
            outer.wait()
        _sh(f"ip netns del {network}")
        for name in addresses:
            until("its cgroups' end", lambda name=name: _sweep(name))  # type: ignore[misc]


def _boot(name: str, folder: Path) -> subprocess.Popen[bytes]:
    base = folder / name
    base.mkdir()
    layers = [str(ROOT), *(["/opt/workrs"] if Path("/opt/workrs").is_dir() else [])]
    text = _BOOT.format(
        base=base,
        name=name,
        checkout=":".join(layers),
        controllers=" ".join(_controllers()),
        masked=_MASKED,
        systemd=SYSTEMD,
        unified=int((_CGROUPS / "cgroup.controllers").exists()),
    )
    text = text.replace("rm -rf $r/etc/systemd", f"{_patch_venv()}rm -rf $r/etc/systemd", 1)
    spaces = "--mount --pid --fork --uts --ipc --net --cgroup --propagation private --kill-child"
    enter = f"{_enter_cgroups(name)}exec unshare {spaces} sh -c {shlex.quote(text)}"
    return subprocess.Popen(["sh", "-ec", enter], stdin=subprocess.DEVNULL, start_new_session=True)


def _patch_venv() -> str:
    """Return how the virtual environment is told its new place.

    An interpreter below /root or /home, as a developer's may be, is replaced by the system's of
    the same version: a unit with ProtectHome does not see it.
    """
    there = "$r/opt/workrs/.venv"
    packages = f"{there}/lib/python3*/site-packages"
    named = f"$(grep -lIs '{ROOT}' {packages}/*.pth {packages}/__editable__*)"
    lines = [f"sed -i 's#{ROOT}#/opt/workrs#g' {there}/bin/workrs {named}"]
    system = f"/usr/bin/python3.{sys.version_info.minor}"
    if sys.base_prefix.startswith(("/root", "/home")) and Path(system).exists():
        lines += [
            f"ln -sf {system} {there}/bin/python",
            f"sed -i 's#^home = .*#home = /usr/bin#' {there}/pyvenv.cfg",
        ]
    return "\n".join(lines) + "\n"


def _controllers() -> list[str]:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    named = [line.split(":")[1] for line in lines]
    return [c for name in named if name and "=" not in name for c in name.split(",")]


def _hierarchies() -> list[Path]:
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [path for path in _CGROUPS.iterdir() if (path / "cgroup.procs").exists()]


def _enter_cgroups(name: str) -> str:
    lines = []
    for path in _hierarchies():
        own = path / f"workrs-machine-{os.getpid()}-{name}"
        lines.append(f"mkdir -p {own}")
        if (path / "cpuset.mems").exists():
            lines += [f"cat {path}/cpuset.{what} >{own}/cpuset.{what}" for what in ("cpus", "mems")]
        lines.append(f"echo $$ >{own}/cgroup.procs")
    return "\n".join(lines) + "\n"


def _sweep(name: str) -> bool:
    """Remove the cgroups of a machine; return whether none is left."""
    left = False
    for path in _hierarchies():
        own = path / f"workrs-machine-{os.getpid()}-{name}"
        for folder, _, _ in os.walk(own, topdown=False) if own.exists() else ():
            try:
                Path(folder).rmdir()
            except OSError:
                left = True
    return not left


def _systemd_below(outer: subprocess.Popen[bytes]) -> int:
    """Return the process id of the systemd that has come up, or 0."""
    assert outer.poll() is None, "a machine did not boot"
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    for child in children:
        if _command_of(child) == "systemd":
            command = ["nsenter", "-t", child, "-m", "-p", "--", "systemctl", "is-system-running"]
            said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
            return int(child) if said.strip() in ("running", "degraded") else 0
    return 0


def _command_of(pid: str) -> str:
    """Return what a process runs; nothing of one that has just ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _sh(script: str) -> None:
    sh = shutil.which("sh") or "sh"
    run([sh, "-e"], script, where="this machine")
