"""Network namespaces that need no sweeping: nothing names them, so nothing can be left.

1. A namespace is an open descriptor of this process. The kernel removes it, with its
   interfaces and rules, when this process and the last one that runs in it have ended,
   however they ended.
2. Nothing of the machine's own network is read or changed: interfaces are made inside.
3. `inside` moves one thread, and with it the threads and processes that it starts there.
   A socket stays for ever where it was made.
"""

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from workrs.domain.errors import WorkrsError

_PROGRAMS: Final = ("ip", "nft", "nsenter")
_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_HERE: Final = "/proc/thread-self/ns/net"
_NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET of sched.h. `os.unshare` and `os.setns` came with Python 3.12."""
_COMMAND_S: Final = 10.0

_libc = ctypes.CDLL(None, use_errno=True)


class NetworkFaultError(WorkrsError):
    """The kernel or a program refused a change of the network: the fault is not injected."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network of its own. Made by `new_namespace`."""

    descriptor: int

    @property
    def path(self) -> str:
        """Return the file by which other programs find it, as long as this process lives."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    @property
    def prefix(self) -> tuple[str, ...]:
        """Return the words before a command that is to run in it. They exec, never fork."""
        return (_program("nsenter"), f"--net={self.path}", "--")

    def run(self, *words: str, given: str = "") -> str:
        """Run a program in it with *given* as its input; return what it printed.

        Raises:
            NetworkFaultError: It failed, or took too long; the text is its own.
        """
        command = [*self.prefix, _program(words[0]), *words[1:]]
        try:
            done = subprocess.run(
                command,
                input=given,
                capture_output=True,
                text=True,
                timeout=_COMMAND_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NetworkFaultError(f"{' '.join(words)}: took {error.timeout:g} s") from error
        if done.returncode != 0:
            raise NetworkFaultError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have the calling thread live in it while the context lasts."""
        before = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self.descriptor)
            yield
        finally:
            _enter(before)
            os.close(before)

    def close(self) -> None:
        """Let go of it. What still runs in it keeps it."""
        os.close(self.descriptor)


def new_namespace() -> Namespace:
    """Make a namespace with nothing but its loopback interface, which is up.

    Raises:
        NetworkFaultError: This user or this kernel may not.
    """
    made: list[int] = []

    def make() -> None:
        if _libc.unshare(_NEW_NETWORK) == 0:
            made.append(os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC))

    # `unshare` moves the thread that calls it, so one is spent on it.
    thread = threading.Thread(target=make, name="namespace.maker")
    thread.start()
    thread.join()
    if not made:
        raise NetworkFaultError("this user or this kernel makes no network namespaces")
    found = Namespace(made[0])
    found.run("ip", "link", "set", "lo", "up")
    return found


def lacking() -> str:
    """Return why there can be no namespaces and no packet filter here; empty if there can."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        probe = new_namespace()
    except NetworkFaultError as error:
        return str(error)
    try:
        probe.run("nft", "-f", "-", given=_PROBE)
    except NetworkFaultError:
        return "the kernel's nf_tables cannot filter at a bridge, or cannot redirect"
    finally:
        probe.close()
    return ""


_PROBE: Final = """
table bridge probe {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip saddr . ip daddr { 10.0.0.1 . 10.0.0.2 } numgen random mod 1000 < 100 drop
  }
}
table ip probe {
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    tcp dport 1 redirect to :2
  }
}
"""


def _program(name: str) -> str:
    return shutil.which(name, path=_PATH) or name


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _NEW_NETWORK) != 0:
        number = ctypes.get_errno()
        raise NetworkFaultError(f"cannot enter a namespace: {os.strerror(number)}")
