"""A real Mosquitto per test module: free port, its own configuration, log shown on failure.

A test module imports the fixture by name. Its tests share the broker, so each takes topics
and client ids of its own.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from workrs.cli.cluster import free_ports
from workrs.ports.bus import Address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
DENIED = "denied/"
"""Below this nobody may publish on the shared broker."""

_CONFIG = """\
listener {port} {host}
allow_anonymous true
acl_file {acl}
set_tcp_nodelay true
persistence false
max_inflight_messages 1000
max_queued_messages 0
log_dest stdout
user {user}
"""
_ACL = f"topic readwrite #\npattern readwrite #\ntopic deny {DENIED}#\n"


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens at and nobody else is given."""
    return free_ports(1)[0]


def wait_for_listener(process: subprocess.Popen[bytes], address: Address) -> None:
    """Wait until the process accepts connections at *address*, for 60 s at most."""
    pause = threading.Event()
    for _ in range(6_000):
        assert process.poll() is None, "the process ended before it listened"
        try:
            socket.create_connection((address.host, address.port), timeout=1).close()
        except OSError:
            pause.wait(0.01)
        else:
            return
    pytest.fail(f"nobody listens at {address}")


@pytest.fixture(scope="module")
def mosquitto_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Run one Mosquitto and yield where it listens."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    folder: Path = tmp_path_factory.mktemp("mosquitto")
    address = Address(host=HOST, port=free_port())
    acl = folder / "acl"
    acl.write_text(_ACL)
    acl.chmod(0o600)
    config = folder / "mosquitto.conf"
    config.write_text(_CONFIG.format(port=address.port, host=address.host, acl=acl, user="root"))
    log = folder / "mosquitto.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [program, "-c", str(config)], stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        wait_for_listener(process, address)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        print(log.read_text(errors="replace")[-4_000:])  # noqa: T201 -- pytest shows it on failure
