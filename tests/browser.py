"""Headless Chromium, driven by its own debugging protocol: what a person at a page sees and does.

No driver in between: the protocol is a few JSON messages, and aiohttp, which speaks them, is here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from asyncio.subprocess import DEVNULL
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.mosquitto_fixture import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

WAIT_S = 60.0
_IS_WHOLE = "document.readyState === 'complete'"


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds, for WAIT_S at most."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():  # noqa: ASYNC110 (what is waited for is another process)
            await asyncio.sleep(0.1)


class NavigatedError(Exception):
    """The page has just become another one."""


_NAVIGATED = ("navigated", "Cannot find default execution context", "context was destroyed")
"""What the browser answers to a question while one page takes the place of another."""


class Browser:
    """One page of a headless Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0
        self.asked: list[str] = []
        """Addresses that the page has asked for, once `Network` is enabled."""
        self.complaints: list[str] = []
        """What the page broke of its policy, or threw, once `Log` and `Runtime` are enabled."""

    async def do(self, method: str, **arguments: Any) -> Any:
        """Call a method of the debugging protocol; return its result."""
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": arguments})
        async with asyncio.timeout(WAIT_S):
            while True:
                said = await self._socket.receive_json()
                self._note(said)
                if said.get("id") == self._count:
                    why = said.get("error", {}).get("message", "")
                    if any(words in why for words in _NAVIGATED):
                        raise NavigatedError
                    assert "error" not in said, said
                    return said["result"]

    def _note(self, said: dict[str, Any]) -> None:
        match said.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(said["params"]["request"]["url"])
            case "Log.entryAdded":
                entry = said["params"]["entry"]
                # Below a warning is what the browser tells of itself: a button kept the focus.
                if entry["source"] != "network" and entry["level"] in ("warning", "error"):
                    self.complaints.append(entry["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(said["params"]["exceptionDetails"]))
            case _:
                pass

    async def watch(self) -> None:
        """Note what the page asks for and complains of."""
        for domain in ("Network", "Page", "Log", "Runtime"):
            await self.do(f"{domain}.enable")

    async def close(self) -> None:
        """Close the page."""
        await self._socket.send_json({"id": 0, "method": "Page.close"})

    async def value(self, expression: str) -> Any:
        """Evaluate an expression in the page, or in the one that takes its place meanwhile."""
        async with asyncio.timeout(WAIT_S):
            while True:
                with suppress(NavigatedError):
                    found = await self.do(
                        "Runtime.evaluate", expression=expression, awaitPromise=True
                    )
                    return found["result"].get("value")
                await asyncio.sleep(0.05)

    async def open(self, url: str) -> None:
        """Go to an address, and wait until the page is there."""
        # Answered once the new document has taken the former's place.
        done = await self.do("Page.navigate", url=url)
        assert "errorText" not in done, done
        await self.until(f"location.href.startsWith({json.dumps(url.partition('#')[0])})")
        await self.until(_IS_WHOLE)

    async def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""

        async def is_so() -> bool:
            return bool(await self.value(expression))

        await until(is_so)

    async def text(self) -> str:
        """Return what can be read on the page."""
        return str(await self.value("document.body.innerText"))

    async def until_text(self, wanted: str) -> None:
        """Wait until something can be read on the page, and the page is there to its end."""
        is_read = f"document.body.innerText.includes({json.dumps(wanted)})"
        await self.until(f"{_IS_WHOLE} && {is_read}")

    async def until_there(self, selector: str) -> None:
        """Wait until the page is there to its end, with an element that matches."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{_IS_WHOLE} && {found} !== null")

    async def press(self, selector: str) -> None:
        """Click the first element that matches, as a person does: once it is there to be seen."""
        await self.until_there(selector)
        place = await self.value(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2].join() }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        x, y = (float(each) for each in place.split(","))
        for kind in ("mousePressed", "mouseReleased"):
            await self.do(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def press_for(self, selector: str, wanted: str) -> None:
        """Click until something can be read, as a person does where a page loads itself anew.

        A click that falls into that moment, or beside what just moved, is nobody's.
        """
        async with asyncio.timeout(WAIT_S):
            while True:
                with suppress(NavigatedError):
                    await self.press(selector)
                with suppress(TimeoutError):
                    async with asyncio.timeout(WAIT_S / 4):
                        await self.until_text(wanted)
                        return

    async def type(self, selector: str, text: str) -> None:
        """Write into a field."""
        await self.until_there(selector)
        await self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.do("Input.insertText", text=text)

    async def key(self, key: str, code: int) -> None:
        """Press a key, by its name and its number."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.do(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    async def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a field."""
        await self.until_there(selector)
        page = await self.do("DOM.getDocument")
        node = await self.do("DOM.querySelector", nodeId=page["root"]["nodeId"], selector=selector)
        await self.do(
            "DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(each) for each in files]
        )

    async def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Be a window of this size, or a phone."""
        await self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.do("Emulation.setEmulatedMedia", features=[scheme])

    async def scripts(self, *, on: bool) -> None:
        """Let pages run scripts, or not."""
        await self.do("Emulation.setScriptExecutionDisabled", value=not on)

    async def picture(self, path: Path, *, whole: bool = True) -> int:
        """Take a picture; return how many bytes it has."""
        taken = await self.do("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return path.write_bytes(base64.b64decode(taken["data"]))  # noqa: ASYNC240 (a moment)


@asynccontextmanager
async def browse(folder: Path, *words: str) -> AsyncIterator[Browser]:
    """Run a browser with a profile of its own in *folder*, and further options."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("chromium is not installed: ./run setup")
    argv = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    argv += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "--window-size=1200,760"]
    process = await asyncio.create_subprocess_exec(*argv, *words, "about:blank", stderr=DEVNULL)
    try:
        told = folder / "DevToolsActivePort"

        async def is_up() -> bool:
            return told.exists() and "\n" in told.read_text()

        await until(is_up)
        port = told.read_text().splitlines()[0]
        async with aiohttp.ClientSession() as session:
            pages: list[dict[str, str]] = []

            async def has_page() -> bool:
                """The port is open before the first page is."""
                async with session.get(f"http://{HOST}:{port}/json") as answer:
                    pages[:] = [each for each in await answer.json() if each["type"] == "page"]
                return bool(pages)

            await until(has_page)
            debugger = pages[0]["webSocketDebuggerUrl"]
            async with session.ws_connect(debugger, max_msg_size=0) as socket:
                yield Browser(socket)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a browser, which may have ended by itself, or listen to nothing any more."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(WAIT_S / 2):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
