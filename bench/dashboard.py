"""What the dashboard costs: first picture, CPU, memory, and how soon a key is answered.

    .venv/bin/python bench/dashboard.py [--agents 500] [--jobs 10000] [--seconds 30] [--json FILE]

A made-up cluster is published through a real Mosquitto: what it retains at first, then what its
nodes say in every second (heartbeats, progress, checkpoints, ends, new jobs). `workrs tui` runs in
a pseudo-terminal of 160x50, as a person starts it. CPU is user and system time of its process.

On a busy machine the times until something is seen are longer; CPU and memory are not.
"""

import argparse
import asyncio
import fcntl
import json
import os
import pty
import re
import resource
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tui.scene import Said, Scene
from workrs.adapters.mqtt import connect
from workrs.cli.cluster import free_ports
from workrs.ports.bus import Address, Bus, BusUnreachableError, Message

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SIZE = (50, 160)
SEQUENCE = re.compile(r"\x1b\[[0-9;?<>]*[a-zA-Z]")
CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
persistence false
max_queued_messages 0
max_inflight_messages 1000
log_type error
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The figures."""

    agents: int
    jobs: int
    first_picture_s: float
    """From the start of the program to something on the screen."""
    whole_picture_s: float
    """The same, to all jobs in the first lines."""
    cpu_share: float
    """Of one core, while the cluster works; 0.1 is a tenth."""
    idle_cpu_share: float
    """The same while nobody says anything but nodes their state."""
    memory_mib: float
    key_median_ms: float
    key_most_ms: float
    messages_per_s: float
    load: float
    """Of the machine, over the last minute: above its cores it is busy."""


class Terminal:
    """A pseudo-terminal with a program in it; what it writes is noted with its time."""

    def __init__(self, words: list[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        self.started = time.monotonic()
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True
        )
        os.close(slave)
        self.written = ""
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            select.select([self._master], [], [])
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:
                return
            with self._news:
                self.written += data.decode(errors="replace")
                self._news.notify_all()

    def wait(self, pattern: str, timeout_s: float = 20.0) -> float:
        """Return when what was written since the last call has *pattern*."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            # Only words are looked for: the sequences between them would part them.
            while not re.search(pattern, SEQUENCE.sub("", self.written), re.DOTALL):
                if not self._news.wait(deadline - time.monotonic()):
                    raise SystemExit(f"no {pattern!r} within {timeout_s} s: {self.written[-2000:]}")
            self.written = ""
        return time.monotonic()

    def press(self, key: str, pattern: str) -> float:
        """Press a key; return the milliseconds until the screen has *pattern*."""
        with self._news:
            self.written = ""
        begun = time.monotonic()
        os.write(self._master, key.encode())
        return (self.wait(pattern) - begun) * 1000

    def cpu_s(self) -> float:
        """Return the CPU time of the program so far."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / TICKS

    def memory_mib(self) -> float:
        """Return its resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE / 2**20


async def say(bus: Bus, said: list[Said]) -> None:
    for place, each in enumerate(said, start=1):
        bus.publish(Message(each.topic, each.payload, retain=True))
        if place % 500 == 0:
            await bus.flush()
    await bus.flush()


async def measure(address: Address, asked: argparse.Namespace) -> Found:
    async with connect(address=address, client_id="bench-nodes", keepalive_s=60) as bus:
        scene = Scene(agents=asked.agents, jobs=asked.jobs, speed=0.01)
        await say(bus, list(scene.begin()))
        words = [sys.executable, "-m", "workrs.cli.main", "tui", "--node", str(address)]
        terminal = Terminal([*words, "--user", "bench"])
        try:
            first = await asyncio.to_thread(terminal.wait, "overview")
            whole = await asyncio.to_thread(terminal.wait, r"[1-9][\d.,]*k? queued")
            whole_s = whole - terminal.started
            idle = await run_s(bus, terminal, scene, 10, quiet=True)
            busy = await run_s(bus, terminal, scene, asked.seconds, quiet=False)
            keys = [await asyncio.to_thread(terminal.press, "j", ".") for _ in range(20)]
            for key, name in (("2", "jobs"), ("3", "agents"), ("4", "events"), ("1", "overview")):
                keys.append(await asyncio.to_thread(terminal.press, key, rf"\[{name}\]"))
            return Found(
                agents=asked.agents,
                jobs=asked.jobs,
                first_picture_s=round(first - terminal.started, 2),
                whole_picture_s=round(whole_s, 2),
                cpu_share=round(busy[0], 3),
                idle_cpu_share=round(idle[0], 3),
                memory_mib=round(terminal.memory_mib(), 1),
                key_median_ms=round(statistics.median(keys), 1),
                key_most_ms=round(max(keys), 1),
                messages_per_s=round(busy[1], 1),
                load=round(os.getloadavg()[0], 1),
            )
        finally:
            terminal.process.send_signal(signal.SIGTERM)
            terminal.process.wait(10)


async def run_s(
    bus: Bus, terminal: Terminal, scene: Scene, seconds: int, *, quiet: bool
) -> tuple[float, float]:
    """Return the CPU share, and messages a second, while the scene plays."""
    said = 0
    begun, cpu = time.monotonic(), terminal.cpu_s()
    for second in range(seconds):
        step = list(scene.step())
        if quiet:
            step = [each for each in step if each.topic.endswith("/state")]
        said += len(step)
        await say(bus, step)
        while time.monotonic() < begun + second + 1:
            await asyncio.sleep(0.02)
    took_s = time.monotonic() - begun
    return (terminal.cpu_s() - cpu) / took_s, said / took_s


async def wait_for(address: Address) -> None:
    for _ in range(200):
        try:
            async with connect(address=address, client_id="bench-wait"):
                return
        except BusUnreachableError:
            await asyncio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    (port,) = free_ports(1)
    address = Address(host="127.0.0.1", port=port)
    with tempfile.TemporaryDirectory(prefix="workrs-bench-") as folder:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(CONFIG.format(port=port))
        broker = subprocess.Popen(["mosquitto", "-c", config], stderr=subprocess.DEVNULL)
        try:
            asyncio.run(wait_for(address))
            found = asyncio.run(measure(address, asked))
        finally:
            broker.terminate()
            broker.wait(10)
    for name, value in asdict(found).items():
        print(f"{name:<18}{value}")
    if asked.json:
        asked.json.write_text(json.dumps(asdict(found), indent=2) + "\n")


if __name__ == "__main__":
    main()
