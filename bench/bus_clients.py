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
import logging
import os
import socket
import statistics
import sys
import tempfile
from collections import deque
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from broker.mosquitto import mosquitto, render
from workrs.adapters.mqtt import connect
from workrs.ports.bus import Address, Bus, BusClosedError, Message, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD_BYTES = 450
WINDOW = 900
"""Unacknowledged messages a publisher lets add up (gmqtt raises at the receive maximum)."""
MIXED_S = 4.0
CLIENTS = ("bus", "bus+uvloop", "gmqtt", "gmqtt+uvloop", "paho", "aiomqtt")
NEEDS = {"bus": "mqtt5", "gmqtt": "gmqtt", "paho": "paho", "aiomqtt": "aiomqtt"}


class Client:
    """A client as this bench sees it; *heard* is called with each payload."""

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        raise NotImplementedError

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, soon."""
        raise NotImplementedError

    async def settled(self) -> None:
        """Wait until everything published is acknowledged."""
        raise NotImplementedError

    async def close(self) -> None:
        """Disconnect."""


class BusClient(Client):
    """The project's own, through the port."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        self._bus: Bus = await self._stack.enter_async_context(
            connect(address=address, client_id=f"bench-{os.getpid()}")
        )
        await self._bus.subscribe(Subscription(pattern=pattern))
        self.publish = lambda topic, payload: self._bus.publish(Message(topic, payload))  # type: ignore[method-assign]
        self.settled = self._bus.flush  # type: ignore[method-assign]
        self._pump = asyncio.create_task(self._receive(heard))

    async def _receive(self, heard: Callable[[bytes], None]) -> None:
        try:
            while True:
                for message in await self._bus.receive():
                    heard(message.payload)
        except BusClosedError:
            return

    async def close(self) -> None:
        """Disconnect."""
        self._pump.cancel()
        await self._stack.aclose()


class Gmqtt(Client):
    """gmqtt 0.8: pure Python, asyncio."""

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        from gmqtt import Client as Library  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415

        self._client = Library(f"bench-{os.getpid()}")
        self._client.on_message = lambda _c, _topic, payload, _qos, _props: heard(payload) or 0  # type: ignore[func-returns-value]
        await self._client.connect(address.host, address.port)
        subscribed = asyncio.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.subscribe(pattern, qos=1)
        await subscribed.wait()

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, soon."""
        self._client.publish(topic, payload, qos=1)

    async def settled(self) -> None:
        """Wait until all is acknowledged."""
        await self._client._persistent_storage.wait_empty()  # noqa: SLF001 -- it has no other

    async def close(self) -> None:
        """Disconnect."""
        await self._client.disconnect()


class Paho(Client):
    """paho-mqtt 2: pure Python, a thread; TCP_NODELAY set from outside, as it never does."""

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        from paho.mqtt import client as paho  # noqa: PLC0415
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        self._out = 0
        self._acknowledged = 0
        client = self._client = paho.Client(
            CallbackAPIVersion.VERSION2, f"bench-{os.getpid()}", protocol=paho.MQTTv5
        )
        client.max_inflight_messages_set(WINDOW)
        client.on_message = lambda _c, _u, message: heard(bytes(message.payload))
        client.on_publish = self._acknowledge
        client.on_subscribe = lambda _c, _u, _mid, _codes, _p: _wake(loop, ready)
        client.on_connect = lambda _c, _u, _flags, _code, _p: _subscribe(client, pattern)
        client.on_socket_open = lambda _c, _u, sock: _without_delay(sock)
        client.connect(address.host, address.port)
        client.loop_start()
        await ready.wait()

    def _acknowledge(self, *_: object) -> None:
        self._acknowledged += 1

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, soon."""
        self._out += 1
        self._client.publish(topic, payload, qos=1)

    async def settled(self) -> None:
        """Wait until all is acknowledged."""
        while self._acknowledged < self._out:  # noqa: ASYNC110 -- counted in another thread
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def _quiet() -> logging.Logger:
    """Return a logger without aiomqtt's warning about each pending call."""
    logger = logging.getLogger("bench.quiet")
    logger.disabled = True
    return logger


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


def _subscribe(client: Any, pattern: str) -> None:
    client.subscribe(pattern, qos=1)


def _without_delay(sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Aiomqtt(Client):
    """aiomqtt 2: paho under asyncio; a publication is a task of its own until acknowledged."""

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        import aiomqtt  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415

        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(100)
        self._client = aiomqtt.Client(
            address.host,
            address.port,
            identifier=f"bench-{os.getpid()}",
            protocol=aiomqtt.ProtocolVersion.V5,
            max_inflight_messages=WINDOW,
            max_concurrent_outgoing_calls=WINDOW,
            logger=_quiet(),
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        await self._client.__aenter__()
        await self._client.subscribe(pattern, qos=1)
        self._pump = asyncio.create_task(self._receive(heard))

    async def _receive(self, heard: Callable[[bytes], None]) -> None:
        async for message in self._client.messages:
            heard(message.payload)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, soon."""
        task = asyncio.create_task(self._publish(topic, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, topic: str, payload: bytes) -> None:
        async with self._slots:
            await self._client.publish(topic, payload, qos=1)

    async def settled(self) -> None:
        """Wait until all is acknowledged."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Disconnect."""
        self._pump.cancel()
        await self._client.__aexit__(None, None, None)


def make(name: str) -> Client:
    """Return the client of that name."""
    return {"bus": BusClient, "gmqtt": Gmqtt, "paho": Paho, "aiomqtt": Aiomqtt}[
        name.partition("+")[0]
    ]()


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
        import uvloop  # noqa: PLC0415

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
