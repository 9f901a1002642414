"""Goal: a service manager is told of work that goes on, and of nothing else.

Method: a socket of the test's own; the pauses between two looks are noted, not waited for.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from workrs.adapters import service_manager
from workrs.adapters.service_manager import STATUS_S, ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.setblocking(False)
        yield made


def heard(listener: socket.socket) -> list[str]:
    """Return what was said so far."""
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


def report(
    listener: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    watchdog_s: float | None,
    looks: list[str],
) -> tuple[list[str], list[float]]:
    """Return what is said over some looks, and the pauses before each."""
    pauses: list[float] = []
    left = iter(looks)

    async def pause(seconds: float) -> None:
        if len(pauses) == len(looks):
            raise asyncio.CancelledError
        pauses.append(seconds)

    async def story() -> None:
        serves = asyncio.Event()
        serves.set()
        manager = ServiceManager(listener.getsockname(), watchdog_s=watchdog_s)
        monkeypatch.setattr(service_manager.asyncio, "sleep", pause)
        monkeypatch.setattr(service_manager.faulthandler, "enable", lambda: None)
        with pytest.raises(asyncio.CancelledError):
            await manager.report(serves, look=lambda: next(left), status=lambda: "fine")

    asyncio.run(story())
    return heard(listener), pauses


def test_a_sign_is_given_three_times_in_the_watchdogs_time_while_work_goes_on(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, pauses = report(listener, monkeypatch, 0.9, ["", "it stands", ""])
    assert said == [
        "READY=1\nSTATUS=fine",
        "WATCHDOG=1\nSTATUS=fine",
        "STATUS=it stands",
        "WATCHDOG=1\nSTATUS=fine",
    ]
    assert pauses == pytest.approx([0.3] * 3)


@pytest.mark.parametrize("watchdog_s", [None, 3600.0])
def test_the_status_is_told_often_enough_for_people(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, watchdog_s: float | None
) -> None:
    assert report(listener, monkeypatch, watchdog_s, ["", ""])[1] == [STATUS_S, STATUS_S]


def test_it_is_taken_out_of_the_environment() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "2000000", "PATH": "/bin"}
    found = ServiceManager.take(environ)
    assert found is not None
    assert found.watchdog_s == 2.0
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
    ],
)
def test_a_watchdog_that_is_meant_for_another_process_or_for_none_is_not_served(
    environ: dict[str, str], watchdog_s: float | None
) -> None:
    found = ServiceManager.take({"NOTIFY_SOCKET": "@x", **environ})
    assert found is not None
    assert found.watchdog_s == watchdog_s


@pytest.mark.parametrize("name", ["", "vsock:2:1"])
def test_without_a_socket_that_it_knows_there_is_no_manager(name: str) -> None:
    assert ServiceManager.take({"NOTIFY_SOCKET": name} if name else {}) is None


def test_a_manager_that_is_gone_or_has_no_room_is_not_waited_for(tmp_path: Path) -> None:
    ServiceManager(str(tmp_path / "nobody")).stopping()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(str(tmp_path / "full"))
        manager = ServiceManager(str(tmp_path / "full"))
        for _ in range(10_000):
            manager.stopping()
