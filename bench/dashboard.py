"""What the dashboard costs: first picture, CPU, memory, and how soon a key is answered.

    .venv/bin/python bench/dashboard.py [--agents 500] [--jobs 10000] [--seconds 30] [--json FILE]

A made-up cluster is published through a real Mosquitto: what it retains at first, then what its
nodes say in every second: at 500 agents and 10,000 jobs some 750 heartbeats (each agent every other
second, by each of three nodes), 1,000 reports of progress, 300 records with checkpoints, ends and
new jobs, 2,040 messages in all. `workrs tui` runs in a pseudo-terminal of 160x50, as a person
starts it. CPU is user and system time of its process. Keys are pressed under the same load, apart
by times that go with no rhythm of the screen; each is timed until what it does is painted: the
cursor's mark on another line, or another view's name among the tabs.

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
CURSOR = re.compile(r"\x1b\[(\d+);1H(?:\x1b\[[\d;]*m)*\N{LEFT HALF BLOCK}")
"""The mark of a list's cursor, and of the list's heading, with the line it is painted on."""
HEADING = 3
MOVES = 60
KEYS_S = 20
"""How long the cluster works on while keys are pressed."""
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
    key_p95_ms: float
    key_most_ms: float
    view_most_ms: float
    """Of keys that show another view, the slowest."""
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
        self._line = 0
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

    def move(self, key: str) -> float:
        """Press a key that moves the cursor; return the milliseconds until it is seen to."""
        with self._news:
            # Where it is by now: a list in another order takes it along.
            before = self._cursor()
            self.written = ""
            begun = time.monotonic()
            os.write(self._master, key.encode())
            while self._cursor() == before:
                if not self._news.wait(5):
                    raise SystemExit(f"{key!r} moved nothing: {self.written[-500:]!r}")
        return (time.monotonic() - begun) * 1000

    def _cursor(self) -> int:
        """Return the line the cursor was painted on last."""
        for found in CURSOR.finditer(self.written):
            self._line = int(found[1]) if int(found[1]) > HEADING else self._line
        return self._line

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
            pressing = asyncio.create_task(press_keys(terminal))
            await run_s(bus, terminal, scene, KEYS_S, quiet=False)
            moves, views = await pressing
            moves.sort()
            return Found(
                agents=asked.agents,
                jobs=asked.jobs,
                first_picture_s=round(first - terminal.started, 2),
                whole_picture_s=round(whole_s, 2),
                cpu_share=round(busy[0], 3),
                idle_cpu_share=round(idle[0], 3),
                memory_mib=round(terminal.memory_mib(), 1),
                key_median_ms=round(statistics.median(moves), 1),
                key_p95_ms=round(moves[round(len(moves) * 0.95) - 1], 1),
                key_most_ms=round(moves[-1], 1),
                view_most_ms=round(max(views), 1),
                messages_per_s=round(busy[1], 1),
                load=round(os.getloadavg()[0], 1),
            )
        finally:
            terminal.process.send_signal(signal.SIGTERM)
            terminal.process.wait(10)


async def press_keys(terminal: Terminal) -> tuple[list[float], list[float]]:
    """Return the milliseconds of moves of the cursor, and of changes of the view."""
    views, moves = [], []
    for key, name in (("2", "jobs"), ("3", "agents"), ("4", "events"), ("5", "graphs")) * 2:
        views.append(await asyncio.to_thread(terminal.press, key, rf"\[{name}\]"))
        await asyncio.sleep(0.31)
    await asyncio.to_thread(terminal.press, "2", r"\[jobs\]")
    await asyncio.to_thread(terminal.move, "j")
    for place in range(MOVES):
        await asyncio.sleep(0.13 + place % 7 * 0.017)
        moves.append(await asyncio.to_thread(terminal.move, "j" if place % 40 < 20 else "k"))
    return moves, views


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
