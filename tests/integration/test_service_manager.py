"""Goal: the service manager hears of a daemon what is true, from the daemon alone.

Method: a node and an agent with a NOTIFY_SOCKET of the test's own, which the kernel tells the
sender of each datagram; SIGSTOP, SIGCONT and SIGTERM.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mosquitto_fixture import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0
WATCHDOG_S = 0.6


class Manager:
    """Whom a daemon tells of itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)

    def hear(self, within_s: float = LIMIT_S) -> tuple[int, dict[str, str]] | None:
        """Return who says what next, or None if nobody does in that time."""
        if not select.select([self.socket], [], [], within_s)[0]:
            return None
        data, extra, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        pid = struct.unpack("iII", extra[0][2])[0]
        return pid, dict(line.split("=", 1) for line in data.decode().split("\n"))

    def hear_all(self, wanted: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
        """Return all that is said up to what is wanted."""
        heard = []
        while said := self.hear():
            heard.append(said[1])
            if wanted(said[1]):
                return heard
        raise AssertionError(heard)

    def is_silent(self) -> bool:
        """Return whether nothing comes in the time of several pings."""
        return self.hear(WATCHDOG_S * 2) is None


@contextmanager
def daemon(manager: Manager | None, *words: str, state: Path) -> Iterator[subprocess.Popen[bytes]]:
    environ = {**os.environ, "WORKRS_CONFIG": os.devnull}
    if manager is not None:
        environ |= {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": f"{WATCHDOG_S * 1e6:.0f}"}
    with (state.parent / f"{state.name}.log").open("ab") as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "workrs.cli.main", *words, "--state", str(state)],
            cwd=ROOT,
            env=environ,
            stdout=log,
            stderr=log,
        )
    try:
        yield program
    finally:
        program.send_signal(signal.SIGCONT)
        program.terminate()
        program.wait(LIMIT_S)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@workrs-{os.getpid()}"
    made = Manager(name)
    yield made
    made.socket.close()


def node_words(port: int) -> list[str]:
    at, blobs = f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"
    return ["node", "--name", "n1", "--listen", at, "--blobs", blobs, "--init"]


def test_a_node_says_that_it_is_ready_when_it_is_and_that_it_goes_on(
    manager: Manager, port: int, tmp_path: Path
) -> None:
    with daemon(manager, *node_words(port), state=tmp_path / "n1") as node:
        first = manager.hear()
        assert first is not None
        assert (first[0], first[1]["READY"]) == (node.pid, "1")
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S).close()
        assert "broker_joined" in (tmp_path / "n1.log").read_text()
        # Its broker is built for systemd, too, and must not have found the socket.
        for _ in range(5):
            said = manager.hear()
            assert said is not None
            assert (said[0], said[1]["WATCHDOG"]) == (node.pid, "1")
        assert said[1]["STATUS"] == "/ready: ok"

        node.send_signal(signal.SIGSTOP)
        until_stopped(node.pid)
        while manager.hear(0) is not None:
            pass
        assert manager.is_silent()
        node.send_signal(signal.SIGCONT)
        manager.hear_all(lambda said: "WATCHDOG" in said)

        node.send_signal(signal.SIGTERM)
        manager.hear_all(lambda said: said.get("STOPPING") == "1")
        assert node.wait(LIMIT_S) == 0


def test_an_agent_is_ready_once_a_node_answers_and_says_so_while_it_goes(
    manager: Manager, port: int, tmp_path: Path
) -> None:
    words = ["agent", "--name", "a1", "--runtime", "process", "--node", f"127.0.0.1:{port}"]
    with ExitStack() as stack:
        agent = stack.enter_context(daemon(manager, *words, state=tmp_path / "a1"))
        until_logged(tmp_path / "a1.log", "no_node")
        assert manager.hear(0) is None
        stack.enter_context(daemon(None, *node_words(port), state=tmp_path / "n1"))
        heard = manager.hear_all(lambda said: said.get("STATUS") == "/ready: ok")
        assert [said.get("READY") for said in heard[:2]] == ["1", None]
        manager.hear_all(lambda said: "WATCHDOG" in said)

        agent.send_signal(signal.SIGTERM)
        manager.hear_all(lambda said: said.get("STOPPING") == "1")
        assert agent.wait(LIMIT_S) == 0


def test_what_a_watchdog_aborts_says_where_it_stood(
    manager: Manager, port: int, tmp_path: Path
) -> None:
    with daemon(manager, *node_words(port), state=tmp_path / "n1") as node:
        manager.hear_all(lambda said: "READY" in said)
        node.send_signal(signal.SIGABRT)
        assert node.wait(LIMIT_S) == -signal.SIGABRT
    until_logged(tmp_path / "n1.log", "Fatal Python error: Aborted")
    assert "broker/__main__.py" in (tmp_path / "n1.log").read_text()


def until_stopped(pid: int) -> None:
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


def until_logged(log: Path, wanted: str) -> None:
    until(lambda: log.exists() and wanted in log.read_text())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)
