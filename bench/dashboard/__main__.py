"""What the dashboard costs: first picture, CPU, memory, and how soon a key is answered.

    .venv/bin/python -m bench.dashboard [--agents 500] [--jobs 10000] [--seconds 30] [--trace]

A made-up cluster is published through a real Mosquitto: what it retains at first, then what its
nodes say in every second: at 500 agents and 10,000 jobs some 750 heartbeats (each agent every other
second, by each of three nodes), 1,000 reports of progress, 300 records with checkpoints, ends and
new jobs, 2,040 messages in all. `workrs tui` runs in a pseudo-terminal of 160x50, as a person
starts it. CPU is user and system time of its process. Keys are pressed under the same load, apart
by times that go with no rhythm of the screen; each is timed from the byte that is written into the
terminal until what it does is read back: the cursor's mark on another line, or another view's name
among the tabs and what is in that view.

On a busy machine the times until something is seen are longer; CPU and memory are not. How long a
key waited for a core alone is therefore told apart, and never taken off its time but in the lines
that say so. `--trace` runs the program with `slices.py`, which costs a little, and tells of each
key beyond TRACED_MS which pieces of work it met.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.dashboard import slices
from bench.dashboard.terminal import Press, Terminal
from tui.scene import Said, Scene
from workrs.adapters.mqtt import connect
from workrs.cli.cluster import free_ports
from workrs.ports.bus import Address, Bus, BusUnreachableError, Message

MOVES = 200
VIEWS = (
    ("2", r"\[jobs\].*━━━"),
    ("3", r"\[agents\].*edge-\d"),
    ("4", r"\[events\].*(claimed|checkpoint)"),
    ("5", r"\[graphs\].*/min"),
)
"""Keys that show another view, and what is to be read then."""
ROUNDS = 6
KEYS_S = 60
"""How long the cluster works on while keys are pressed."""
TRACED_MS = 25.0
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
    moves: int
    """Keys that moved the cursor."""
    key_median_ms: float
    key_p95_ms: float
    key_p99_ms: float
    key_most_ms: float
    key_most_but_core_ms: float
    """The slowest, if each had found a core at once."""
    keys_over_50: int
    views: int
    """Keys that showed another view."""
    view_median_ms: float
    view_most_ms: float
    view_most_but_core_ms: float
    messages_per_s: float
    load: float
    """Of the machine, over the last minute: above its cores it is busy."""


async def say(bus: Bus, said: list[Said]) -> None:
    for place, each in enumerate(said, start=1):
        bus.publish(Message(each.topic, each.payload, retain=True))
        if place % 500 == 0:
            await bus.flush()
    await bus.flush()


async def measure(address: Address, asked: argparse.Namespace, notes: Path) -> Found:
    async with connect(address=address, client_id="bench-nodes", keepalive_s=60) as bus:
        scene = Scene(agents=asked.agents, jobs=asked.jobs, speed=0.01)
        await say(bus, list(scene.begin()))
        program = [slices.__file__, str(notes)] if asked.trace else ["-m", "workrs.cli.main"]
        words = ["tui", "--node", str(address), "--user", "bench"]
        terminal = Terminal([sys.executable, *program, *words])
        try:
            first = await asyncio.to_thread(terminal.wait, "overview")
            whole = await asyncio.to_thread(terminal.wait, r"[1-9][\d.,]*k? queued")
            idle = await run_s(bus, terminal, scene, 10, quiet=True)
            busy = await run_s(bus, terminal, scene, asked.seconds, quiet=False)
            pressing = asyncio.create_task(press_keys(terminal))
            await run_s(bus, terminal, scene, KEYS_S, quiet=False)
            moves, views = await pressing
        finally:
            terminal.process.send_signal(signal.SIGTERM)
            terminal.process.wait(10)
    if asked.trace:
        print(*slices.explain(notes, [*moves, *views], TRACED_MS), sep="\n")
        print(*slices.heaviest(notes), sep="\n")
    took = sorted(each.took_ms for each in moves)
    return Found(
        agents=asked.agents,
        jobs=asked.jobs,
        first_picture_s=round(first - terminal.started, 2),
        whole_picture_s=round(whole - terminal.started, 2),
        cpu_share=round(busy.cpu_share, 3),
        idle_cpu_share=round(idle.cpu_share, 3),
        memory_mib=round(busy.memory_mib, 1),
        moves=len(moves),
        key_median_ms=round(statistics.median(took), 1),
        key_p95_ms=round(took[round(len(took) * 0.95) - 1], 1),
        key_p99_ms=round(took[round(len(took) * 0.99) - 1], 1),
        key_most_ms=round(took[-1], 1),
        key_most_but_core_ms=round(max(each.took_ms - each.core_ms for each in moves), 1),
        keys_over_50=sum(each > 50 for each in took),
        views=len(views),
        view_median_ms=round(statistics.median(each.took_ms for each in views), 1),
        view_most_ms=round(max(each.took_ms for each in views), 1),
        view_most_but_core_ms=round(max(each.took_ms - each.core_ms for each in views), 1),
        messages_per_s=round(busy.messages_per_s, 1),
        load=round(os.getloadavg()[0], 1),
    )


async def press_keys(terminal: Terminal) -> tuple[list[Press], list[Press]]:
    """Return moves of the cursor, and changes of the view."""
    views, moves = [], []
    for place in range(ROUNDS * len(VIEWS)):
        views.append(await asyncio.to_thread(terminal.press, *VIEWS[place % len(VIEWS)]))
        await asyncio.sleep(0.31 + place % 7 * 0.017)
    await asyncio.to_thread(terminal.press, *VIEWS[0])
    await asyncio.to_thread(terminal.move, "j")
    for place in range(MOVES):
        await asyncio.sleep(0.13 + place % 7 * 0.017)
        moves.append(await asyncio.to_thread(terminal.move, "j" if place % 40 < 20 else "k"))
    return moves, views


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the program took while the scene played."""

    cpu_share: float
    memory_mib: float
    messages_per_s: float


async def run_s(bus: Bus, terminal: Terminal, scene: Scene, seconds: int, *, quiet: bool) -> Spent:
    """Play the scene, and look what that costs."""
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
    return Spent(
        cpu_share=(terminal.cpu_s() - cpu) / took_s,
        memory_mib=terminal.memory_mib(),
        messages_per_s=said / took_s,
    )


async def wait_for(address: Address) -> None:
    for _ in range(200):
        try:
            async with connect(address=address, client_id="bench-wait"):
                return
        except BusUnreachableError:
            await asyncio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.dashboard", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What reads the screen shares this process with what plays the cluster.
    sys.setswitchinterval(0.0005)
    (port,) = free_ports(1)
    address = Address(host="127.0.0.1", port=port)
    with tempfile.TemporaryDirectory(prefix="workrs-bench-") as folder:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(CONFIG.format(port=port))
        broker = subprocess.Popen(["mosquitto", "-c", config], stderr=subprocess.DEVNULL)
        try:
            asyncio.run(wait_for(address))
            found = asyncio.run(measure(address, asked, Path(folder) / "slices"))
        finally:
            broker.terminate()
            broker.wait(10)
    for name, value in asdict(found).items():
        print(f"{name:<22}{value}")
    if asked.json:
        asked.json.write_text(json.dumps(asdict(found), indent=2) + "\n")


if __name__ == "__main__":
    main()
