"""Goal: however a command that talks to a node ends, it ends with the code that docs/cli.md names.

Method: every such command against a listener that says nothing, or nonsense, at a moment that the
test chooses: when the command has connected.
"""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.cli_node import ROOT
from tests.mosquitto_fixture import HOST
from workrs.cli.main import COMMANDS, load

WORDS: dict[str, tuple[str, ...]] = {
    "agents": (),
    "cancel": ("x",),
    "drain": ("a", "--wait", "--within", "5m"),
    "events": ("-f",),
    "function": ("list",),
    "jobs": (),
    "logs": ("x", "-f"),
    "nodes": (),
    "result": ("x", "--wait"),
    "retry": ("x",),
    "show": ("x",),
    "submit": ("--image", "i", "--command", "c", "--wait"),
    "top": ("--once",),
    "undrain": ("a",),
    "watch": ("x",),
}
"""The commands that ask a node, as something that waits where they can."""
ELSEWHERE = {"tui", "revoke", "agent"}
"""Those with --node that are tried elsewhere: a screen, a cluster's folder, a daemon."""


def test_every_command_that_asks_a_node_is_here() -> None:
    helps = {name: load(name).options().parser.format_help() for name in COMMANDS}
    assert {name for name, text in helps.items() if " --node " in text} - ELSEWHERE == set(WORDS)


@contextmanager
def asking(name: str, *more: str) -> Iterator[tuple["subprocess.Popen[bytes]", socket.socket]]:
    """Yield the command once it has connected, and the connection."""
    with closing(socket.create_server((HOST, 0))) as listener:
        listener.settimeout(60)
        at = f"{HOST}:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "workrs.cli.main", name, *WORDS[name], *more, "--node", at],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        with closing(listener.accept()[0]) as peer:
            yield process, peer


@pytest.mark.parametrize("name", WORDS)
def test_ctrl_c_ends_it_quietly_with_130(name: str) -> None:
    with asking(name) as (process, _):
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (130, b"", b"")


NONSENSE = {"http": b"HTTP/1.1 400 Bad Request\r\n\r\n", "nothing": b""}


@pytest.mark.parametrize("said", NONSENSE)
@pytest.mark.parametrize("name", ["jobs", "drain", "function", "logs", "nodes", "submit", "top"])
def test_what_is_no_node_is_no_node_with_3(name: str, said: str) -> None:
    with asking(name) as (process, peer):
        peer.sendall(NONSENSE[said])
        peer.close()
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, b""), error
    assert error.startswith(b"workrs: no broker at 127.0.0.1:")
    assert error.count(b"\n") == 1


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("export", "--help")], ids=str)
def test_a_reader_that_is_gone_is_no_failure(words: tuple[str, ...]) -> None:
    program = f"{sys.executable} -m workrs.cli.main {' '.join(words)}"
    script = f"{{ {program}; echo $? >&2; }} | true"
    done = subprocess.run(["sh", "-c", script], check=False, capture_output=True, cwd=ROOT)
    assert done.stderr == b"0\n"


def test_a_full_disk_is_told_with_1(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "workrs.cli.main", "--version"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
        )
    assert (done.returncode, b"No space left" in done.stderr) == (1, True)
