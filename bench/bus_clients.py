"""What one message costs each MQTT client, in CPU: the choice behind the bus port.

Goal: a node carries some 6,000 messages a second (in and out, QoS 1, 450 bytes) on less than
half a core together with its own work, so CPU per message decides, not throughput.

Method: a tuned Mosquitto; each client alone in a process of its own, whose CPU time (user and
system, all threads) is read at the beginning and the end of the work; the other side is always
the same process. Clients take turns within a round and the median of the rounds is printed:
figures of one run compare with each other, not with those of another machine or hour.

  out    publishes as fast as its acknowledgements allow
  in     receives and acknowledges as fast as it can
  mixed  receives at a given rate and answers each message: what a node does

    python bench/bus_clients.py [--rounds 3] [--only bus,bus+uvloop] [--json FILE]

gmqtt, paho-mqtt and aiomqtt are tried if they are installed. `mixed` of a client that cannot
keep the rate shows the rate it reached.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import sys
import tempfile
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.bus_libraries import WINDOW, Aiomqtt, BusClient, Client, make
from broker.mosquitto import mosquitto
from broker.mosquitto_config import render
from workrs.ports.bus import Address

PAYLOAD_BYTES = 450
MIXED_S = 4.0
CLIENTS = ("bus", "bus+uvloop", "gmqtt", "gmqtt+uvloop", "paho", "aiomqtt")
NEEDS = {"bus": "mqtt5", "gmqtt": "gmqtt", "paho": "paho", "aiomqtt": "aiomqtt"}


async def publish_all(client: Client, topic: str, count: int) -> None:
    """Publish *count* messages, at most a window of them unacknowledged."""
    payload = b"x" * PAYLOAD_BYTES
    for n in range(count):
        client.publish(topic, payload)
        if n % WINDOW == WINDOW - 1:
            await client.settled()
    await client.settled()


async def client_out(client: Client, address: Address, count: int) -> dict[str, float]:
    """Be the client under test that publishes."""
    await client.open(address, "bench/nothing", lambda _payload: None)
    cpu, wall = process_time(), perf_counter()
    await publish_all(client, "bench/out", count)
    return {"cpu_us": (process_time() - cpu) / count * 1e6, "rate": count / (perf_counter() - wall)}


async def client_in(client: Client, address: Address, count: int) -> dict[str, float]:
    """Be the client under test that receives, from a publisher in another process."""
    left, loop = count, asyncio.get_running_loop()
    done = asyncio.Event()

    def heard(_payload: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            loop.call_soon_threadsafe(done.set)

    await client.open(address, "bench/in", heard)
    feeder = await start_side("feed", address, count)
    cpu, wall = process_time(), perf_counter()
    await done.wait()
    result = {
        "cpu_us": (process_time() - cpu) / count * 1e6,
        "rate": count / (perf_counter() - wall),
    }
    await feeder.wait()
    return result


async def client_mixed(client: Client, address: Address, rate: int) -> dict[str, float]:
    """Be the client under test that answers: *rate* messages in and as many out a second."""
    handled, loop = 0, asyncio.get_running_loop()
    in_thread = not isinstance(client, Aiomqtt)

    def heard(payload: bytes) -> None:
        nonlocal handled
        handled += 1
        if in_thread:
            client.publish("bench/answer", payload)
        else:
            loop.call_soon_threadsafe(client.publish, "bench/answer", payload)

    await client.open(address, "bench/ask", heard)
    asker = await start_side("ask", address, rate)
    assert asker.stdout is not None
    await asker.stdout.readline()
    cpu, wall, before = process_time(), perf_counter(), handled
    line = await asker.stdout.readline()
    spent_s, elapsed_s, messages = process_time() - cpu, perf_counter() - wall, handled - before
    await asker.wait()
    return {
        "cpu_us": spent_s / max(1, 2 * messages) * 1e6,
        "rate": 2 * messages / elapsed_s,
        "core_percent": 100 * spent_s / elapsed_s,
        **json.loads(line),
    }


async def side_feed(address: Address, count: int) -> None:
    """Publish *count* messages for `in`."""
    client = BusClient()
    await client.open(address, "bench/nothing", lambda _payload: None)
    await publish_all(client, "bench/in", count)
    await client.close()


async def side_ask(address: Address, rate: int) -> None:
    """Ask at a steady rate for `mixed`, and time the answers."""
    answers_s: list[float] = []
    asked = deque[float]()

    def heard(_payload: bytes) -> None:
        answers_s.append(perf_counter() - asked.popleft())

    client = BusClient()
    await client.open(address, "bench/answer", heard)
    payload = b"x" * PAYLOAD_BYTES
    print(flush=True)
    loop = asyncio.get_running_loop()
    started = loop.time()
    sent = 0
    while (elapsed := loop.time() - started) < MIXED_S:
        due = int(elapsed * rate)
        # A client that cannot keep up is not buried: at most a window is unanswered.
        while sent < due and len(asked) < WINDOW:
            asked.append(perf_counter())
            client.publish("bench/ask", payload)
            sent += 1
        await asyncio.sleep(0.001)
    answers_s.sort()
    report = {
        "p50_ms": 1e3 * answers_s[len(answers_s) // 2],
        "p99_ms": 1e3 * answers_s[len(answers_s) * 99 // 100],
    }
    print(json.dumps(report), flush=True)
    await client.close()


async def start_side(role: str, address: Address, number: int) -> asyncio.subprocess.Process:
    """Start the other side in a process of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--child", role, "--port", str(address.port)),
        *("--number", str(number)),
        stdout=asyncio.subprocess.PIPE,
    )


def child(role: str, name: str, address: Address, number: int) -> None:
    """Run one process of the bench."""

    async def run() -> None:
        if role == "feed":
            await side_feed(address, number)
        elif role == "ask":
            await side_ask(address, number)
        else:
            scenario = {"out": client_out, "in": client_in, "mixed": client_mixed}[role]
            client = make(name)
            result = await scenario(client, address, number)
            print(json.dumps(result), flush=True)
            await client.close()

    if name.endswith("+uvloop"):
        import uvloop

        uvloop.run(run())
    else:
        asyncio.run(run())


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all rounds and return medians by scenario and client."""
    names = [n for n in options.only.split(",") if find_spec(NEEDS[n.partition("+")[0]])]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = Address(host="127.0.0.1", port=probe.getsockname()[1])
    samples: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = render(node="bench", listener=address)
        async with mosquitto(name="bench", config=config, folder=Path(folder)) as broker:
            keeper = asyncio.create_task(broker.keep())
            for _ in range(options.rounds):
                for role in ("out", "in", "mixed"):
                    for name in names:
                        slow = name in ("paho", "aiomqtt")
                        count = options.rate if role == "mixed" else 5_000 if slow else 40_000
                        result = await run_child(role, name, address, count)
                        samples.setdefault(role, {}).setdefault(name, []).append(result)
            keeper.cancel()
    return {
        role: {
            name: {key: statistics.median(r[key] for r in results) for key in results[0]}
            for name, results in clients.items()
        }
        for role, clients in samples.items()
    }


async def run_child(role: str, name: str, address: Address, number: int) -> dict[str, float]:
    """Run one client through one scenario."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--child", role, "--client", name),
        *("--port", str(address.port), "--number", str(number)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    result: dict[str, float] = json.loads(out) if out else {"cpu_us": float("nan")}
    return result


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=3_000, help="mixed: messages in a second")
    parser.add_argument("--only", default=",".join(CLIENTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--client", default="bus", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        address = Address(host="127.0.0.1", port=options.port)
        child(options.child, options.client, address, options.number)
        return
    report = asyncio.run(measure(options))
    for role, clients in report.items():
        print(f"\n{role:14} {'CPU us/message':>15} {'messages/s':>11}  more")
        for name, result in clients.items():
            more = " ".join(
                f"{k}={v:.2f}" for k, v in result.items() if k not in ("cpu_us", "rate")
            )
            print(f"  {name:12} {result['cpu_us']:15.1f} {result.get('rate', 0.0):11,.0f}  {more}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
