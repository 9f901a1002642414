"""Goal: the dashboard in a browser is there for its owner alone, and leaves nothing running.

Method: `workrs tui --web` as a process; a plain HTTP client for what must be refused, and headless
Chromium, driven by its own debugging protocol, for what a person sees.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.browser import WAIT_S, browse, until
from tests.mosquitto_fixture import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAINTED_BYTES = 9_000
"""Of a picture: an empty terminal has 4,000."""


class Served:
    """The running program."""

    def __init__(self, port: int) -> None:
        words = ["tui", "--web", "--port", str(port), "--user", "ann"]
        words += ["--node", f"{HOST}:{free_port()}"]  # nobody is there: it says so, and goes on
        self.port = port
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workrs.cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        self.address = found[0]

    def programs(self) -> list[int]:
        """Return the process ids of the pages' programs."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        found = [int(each) for each in children.read_text().split()] if children.exists() else []
        return [each for each in found if alive(each)]


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served(free_port())
    yield one
    one.process.send_signal(signal.SIGTERM)
    one.process.communicate(timeout=60)


def alive(pid: int) -> bool:
    """Return whether a process runs: one that nobody waits for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def status(url: str, **headers: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status


def test_without_its_key_from_elsewhere_or_by_another_name_there_is_nothing(
    served: Served,
) -> None:
    async def ask() -> None:
        root = f"http://{HOST}:{served.port}"
        assert await status(served.address) == 200
        assert await status(f"{root}/") == 404
        assert await status(f"{root}/{'0' * 32}/") == 404
        assert await status(f"{root}/ws") == 403  # no browser asks for it without an origin
        assert await status(served.address, Host="evil.example") == 403
        assert await status(served.address, Origin="http://evil.example") == 403
        assert await status(served.address, Origin="null") == 403
        assert await status(f"{served.address}ws") == 403
        assert await status(f"{served.address}static/%2e%2e/%2e%2e/server.py") in (403, 404)
        assert await status(f"{served.address}static/") in (403, 404)

    asyncio.run(ask())
    assert served.programs() == []


def test_the_page_names_no_other_host(served: Served) -> None:
    async def read() -> tuple[str, str]:
        async with aiohttp.ClientSession() as session, session.get(served.address) as answer:
            return await answer.text(), answer.headers["Content-Security-Policy"]

    text, policy = asyncio.run(read())
    hosts = set(re.findall(r"//([^/\"']+)", text))
    assert hosts == {f"{HOST}:{served.port}"}
    assert "frame-ancestors 'none'" in policy


def test_a_program_ends_with_its_page_and_with_the_server(served: Served) -> None:
    async def visit() -> None:
        origin = {"Origin": f"http://{HOST}:{served.port}"}
        address = served.address.replace("http:", "ws:") + "ws?width=80&height=24"
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(address, headers=origin) as socket:
                first = await asyncio.wait_for(socket.receive(), WAIT_S)
                assert first.type is aiohttp.WSMsgType.BINARY
                programs = served.programs()
                assert len(programs) == 1
            await until(lambda: _none_of(programs))
            async with session.ws_connect(address, headers=origin) as socket:
                await asyncio.wait_for(socket.receive(), WAIT_S)
                programs = served.programs()
                assert len(programs) == 1
                served.process.kill()
                await until(lambda: _none_of(programs))

    asyncio.run(visit())


async def _none_of(programs: list[int]) -> bool:
    return not any(map(alive, programs))


def test_a_person_sees_it_in_a_browser(served: Served, tmp_path: Path) -> None:
    async def look() -> None:
        async with browse(tmp_path / "profile") as page:
            await page.watch()
            await page.do("Page.navigate", url=served.address)

            async def is_drawn() -> bool:
                return bool(await page.value("document.body.classList.contains('-first-byte')"))

            await until(is_drawn)
            assert await page.value("document.querySelectorAll('.xterm, canvas').length") > 0
            assert len(served.programs()) == 1

            async def is_painted() -> bool:
                return await page.picture(tmp_path / "page.png") > PAINTED_BYTES

            await until(is_painted)
            own = f"http://{HOST}:{served.port}/"
            assert [url for url in page.asked if not url.startswith((own, "data:"))] == []
            programs = served.programs()
            middle = "document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest('.said')"
            assert await page.value(f"{middle} === null")  # nothing lies over the terminal
            os.kill(programs[0], signal.SIGTERM)
            await page.until(f"{middle}?.innerText.includes('It has ended')")
            await page.press(".ended a")
            await page.until("document.querySelector('.starting').innerText === 'starting …'")

            async def is_another() -> bool:
                return bool(served.programs()) and served.programs() != programs

            await until(is_another)
            await until(is_drawn)
            programs = served.programs()
            await page.close()
            await until(lambda: _none_of(programs))

    asyncio.run(look())
