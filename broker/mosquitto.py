"""The node's own Mosquitto: its process, and its return after a crash.

1. The process never outlives its daemon: the kernel kills it when the daemon dies, however
   that happens (`setpriv --pdeathsig`). Clients of a killed daemon find a closed port and
   move to the next node at once, instead of talking to a broker that nobody answers behind.
2. When it ends without being told to, it is started again, after 0.1 s at first and 1 s at
   most. It comes back empty; whoever connects refills it.
3. Files are made 0600 in a folder made 0700, before anything is written to them.

A broker that somebody else runs needs nothing of this module: its address is enough.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from broker.connected import Connected
from workrs.adapters import log
from workrs.domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_log = log.get(__name__)

_START_TIMEOUT_S: Final = 30.0
"""It takes 0.1 s; on a machine that swaps, many times that, and a node that gave up would end."""
_RELOAD_TIMEOUT_S: Final = 10.0
_READS: Final = "Reloading config."
_STOP_TIMEOUT_S: Final = 2.0
_RESTART_PAUSE_MIN_S: Final = 0.1
_RESTART_PAUSE_MAX_S: Final = 1.0
"""Brokers that were killed together again and again must still be back, and serve, within 5 s."""
_SETTLED_S: Final = 10.0
"""A broker that ran for that long before it ended is restarted without a longer pause."""
_LINES_KEPT: Final = 20
_EXPECTED_LINES: Final = (
    "Error creating bridge",  # every second while a peer is down
    "Warning: Mosquitto should not be run as root",  # it runs as the node's user
    "Warning: Unable to set TCP_NODELAY",  # on the daemon's own socket, which has no Nagle
    "Warning: ACL pattern",  # one that is the same for all members of a kind: no name in it
)


@asynccontextmanager
async def mosquitto(
    *, name: str, config: str, folder: Path, program: str | None = None
) -> AsyncIterator[MosquittoProcess]:
    """Run a broker while the context lasts; it listens when the context is entered.

    Let a task of the owner's group run `MosquittoProcess.keep` meanwhile: without it nobody
    reads the broker's log or starts it again.

    Args:
        name: the node's name, for logs.
        config: what `broker.mosquitto_config.render` returned.
        folder: where to keep the configuration; made if absent.
        program: path of `mosquitto`, if it is not where systems put it.

    Raises:
        ConfigError: it is not installed, or does not start with this configuration; its
            last lines are in the text.
    """
    process = MosquittoProcess(name=name, config=config, folder=folder, program=program)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


class MosquittoProcess:
    """The broker's process. Made by `mosquitto`, which also ends it."""

    def __init__(self, *, name: str, config: str, folder: Path, program: str | None) -> None:
        self.restarts = 0
        """How often it was started again."""
        self.connected = Connected()
        self._name = name
        self._config = config
        self._folder = folder
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._last_lines: list[str] = []
        self._readings = 0
        """How often it said that it reads its files again."""
        self._changed = asyncio.Condition()
        """Told of each restart and each reading."""

    @property
    def pid(self) -> int | None:
        """Process id, or None while it is not running."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def wait_restarted(self, *, since: int) -> int:
        """Wait until `restarts` is above *since*; return it. It listens by then, empty."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.restarts > since)
            return self.restarts

    async def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            ConfigError: it is not installed, or ended instead; its last lines are in the text.
        """
        config_file = write_private(self._folder, "mosquitto.conf", self._config)
        self._process = await asyncio.create_subprocess_exec(
            *command(self._program),
            "-c",
            str(config_file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            # A Ctrl-C at the terminal is for the daemon, which ends its broker in good order.
            start_new_session=True,
        )
        self._last_lines.clear()
        self.connected.forget()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                is_running = await self._read_log(until=" running")
        except TimeoutError:
            is_running = False
        except asyncio.CancelledError:
            await self.stop()
            raise
        if not is_running:
            await self.stop()
            lines = "; ".join(self._last_lines) or "it said nothing"
            raise ConfigError(f"the broker of {self._name} did not start: {lines}")
        _log.event("broker_started", node=self._name, pid=self.pid)

    async def keep(self) -> None:
        """Hand its log on, and start it again whenever it ends; runs until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = _RESTART_PAUSE_MIN_S
        while True:
            started_at = loop.time()
            await self._read_log()
            assert self._process is not None
            status = await self._process.wait()
            if loop.time() - started_at > _SETTLED_S:
                pause_s = _RESTART_PAUSE_MIN_S
            _log.warning("broker_died", node=self._name, status=status, pause_s=pause_s)
            while True:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _RESTART_PAUSE_MAX_S)
                try:
                    await self.start()
                except (ConfigError, OSError) as error:
                    _log.warning("broker_start_failed", node=self._name, reason=error)
                else:
                    break
            async with self._changed:
                self.restarts += 1
                self._changed.notify_all()

    async def reload(self) -> None:
        """Have it read certificates, lists of the revoked and passwords again; return as it does.

        It does so between two events of its only thread, so who is let in after this returned is
        let in by the new files. Not before somebody was may it be told again: Mosquitto (2.0.11
        and later) forgets a signal that comes while it reads. Two lists of the revoked within
        some milliseconds left the second unread. One that was started again has read them, too.
        """
        readings, restarts = self._readings, self.restarts
        while True:
            process = self._process
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGHUP)
            with suppress(TimeoutError):
                async with asyncio.timeout(_RELOAD_TIMEOUT_S), self._changed:
                    await self._changed.wait_for(
                        lambda: (self._readings, self.restarts) != (readings, restarts)
                    )
                    return
            _log.warning("broker_reload_late", node=self._name, after_s=_RELOAD_TIMEOUT_S)

    def end(self) -> None:
        """End it, and every connection with it; `keep` starts it again at once."""
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL for one that does not listen to that (or is frozen)."""
        process = self._process
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is None:
                process.send_signal(number)
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await asyncio.shield(process.wait())
            except TimeoutError:
                continue
            break

    async def _read_log(self, *, until: str | None = None) -> bool:
        """Log its lines until one ends with *until* (True), or it ends (False)."""
        assert self._process is not None
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._last_lines = [*self._last_lines, line][-_LINES_KEPT:]
            self.connected.read(line)
            is_trouble = line.startswith(("Error", "Warning"))
            is_expected = line.startswith(_EXPECTED_LINES)
            level = logging.WARNING if is_trouble and not is_expected else logging.DEBUG
            _log.event("broker_said", level=level, node=self._name, line=line)
            if line == _READS:
                async with self._changed:
                    self._readings += 1
                    self._changed.notify_all()
            if until is not None and line.endswith(until):
                return True
        return False


def command(program: str | None = None) -> list[str]:
    """Return the command that runs Mosquitto so that it dies with this process.

    Raises:
        ConfigError: a program is not installed; the text says what to install.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
    found = [shutil.which(name, path=path) for name in ("setpriv", program or "mosquitto")]
    match found:
        case [str(setpriv), str(broker)]:
            return [setpriv, "--pdeathsig", "KILL", "--", broker]
        case [None, _]:
            raise ConfigError("setpriv is not installed (it is part of util-linux)")
        case _:
            raise ConfigError("mosquitto is not installed: apt-get install mosquitto")


def write_private(folder: Path, name: str, text: str, *, sync: bool = False) -> Path:
    """Write a file only its owner can read, at once as a whole, and return its path.

    Args:
        folder: where; made if absent.
        name: of the file.
        text: what is in it.
        sync: have its contents on disk before it gets its name.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target, draft = folder / name, folder / f".{name}.new"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    draft.replace(target)
    return target
