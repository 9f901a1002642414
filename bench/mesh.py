"""How fast three bridged brokers are: one hop, a vote and back, and the return of a broker.

Goal: know what the mesh adds to a job's latency, and how long a node's clients miss its peers'
records after its broker was killed.

Method: three Mosquittos as a node runs them (`broker.mosquitto`), on loopback. A hop is a
publication at one broker until a reader at another has it; a vote is a claim at n1, answered
at n2 by a retained record, until a reader at n1 has that. For the return n1 is killed and
started again after an outage, and a reader there waits for 2,000 retained records of 500 bytes.

    python bench/mesh.py [--tries 5] [--restart-timeout "1 2"] [--outage 0,8]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent.parent))

from broker.mosquitto import mosquitto
from broker.mosquitto_config import Peer, render
from workrs.adapters.mqtt import connect
from workrs.domain.errors import BusError
from workrs.ports.bus import Address, Bus, Message, Subscription
from workrs.wire.topics import ROOT

NAMES = ("n1", "n2", "n3")
ROUNDS = 2_000
RECORDS = 1_000
"""Retained records of each peer."""


def configurations(restart_timeout: str) -> dict[str, tuple[Address, str]]:
    """Return address and configuration by node, on ports that are free now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in NAMES]
    addresses = {
        name: Address(host="127.0.0.1", port=probe.getsockname()[1])
        for name, probe in zip(NAMES, probes, strict=True)
    }
    for probe in probes:
        probe.close()
    result = {}
    for name in NAMES:
        peers = [Peer(name=peer, address=addresses[peer]) for peer in NAMES if peer != name]
        text = render(node=name, listener=addresses[name], peers=peers)
        text = re.sub(r"(?m)^restart_timeout .*", f"restart_timeout {restart_timeout}", text)
        result[name] = (addresses[name], text)
    return result


async def wait_for(bus: Bus, ask: Message) -> None:
    """Repeat *ask* until anything arrives."""
    while True:
        bus.publish(ask)
        try:
            async with asyncio.timeout(0.2):
                await bus.receive()
                return
        except TimeoutError:
            continue


def show(what: str, samples_s: list[float]) -> None:
    """Print the spread of some durations."""
    samples_s.sort()
    p50, p99 = samples_s[len(samples_s) // 2], samples_s[len(samples_s) * 99 // 100]
    print(f"{what:34} p50 {1e3 * p50:8.2f} ms   p99 {1e3 * p99:8.2f} ms   n={len(samples_s)}")


async def measure_hops(n1: Address, n2: Address) -> None:
    """Print the latency of one hop, and of a claim with its vote."""
    async with (
        connect(address=n1, client_id="a1") as here,
        connect(address=n2, client_id="v2") as there,
    ):
        await here.subscribe(Subscription(pattern=f"{ROOT}/node/n2/job/j"))
        await there.subscribe(Subscription(pattern=f"{ROOT}/relay/n1/a1/claim/j"))

        async def vote() -> None:
            while True:
                for message in await there.receive():
                    seen_s[message.payload] = perf_counter()
                    there.publish(Message(f"{ROOT}/node/n2/job/j", message.payload, retain=True))

        seen_s: dict[bytes, float] = {}
        voter = asyncio.create_task(vote())
        await wait_for(here, Message(f"{ROOT}/up/a1/claim/j", b""))
        hop_s, vote_s = [], []
        for n in range(ROUNDS):
            payload = f"{n:450d}".encode()
            sent_s = perf_counter()
            here.publish(Message(f"{ROOT}/up/a1/claim/j", payload))
            while payload not in [message.payload for message in await here.receive()]:
                pass
            hop_s.append(seen_s[payload] - sent_s)
            vote_s.append(perf_counter() - sent_s)
        voter.cancel()
    show("hop (n1 to n2)", hop_s)
    show("claim at n1, vote of n2 back at n1", vote_s)


async def measure_return(options: argparse.Namespace, outage_s: float) -> None:
    """Print how long a killed broker's clients wait for all records of its peers."""
    samples_s = []
    for _ in range(options.tries):
        nodes = configurations(options.restart_timeout)
        with tempfile.TemporaryDirectory() as folder:
            async with AsyncExitStack() as stack:
                brokers = {}
                for name, (_, text) in nodes.items():
                    brokers[name] = await stack.enter_async_context(
                        mosquitto(name=name, config=text, folder=Path(folder) / name)
                    )
                for name in ("n2", "n3"):
                    await fill(name, nodes[name][0])
                await wait_all(nodes["n1"][0])
                pid = brokers["n1"].pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(outage_s)
                back_s = perf_counter()
                await brokers["n1"].start()
                await wait_all(nodes["n1"][0])
                samples_s.append(perf_counter() - back_s)
    show(f"all back after {outage_s:g} s outage", samples_s)


async def fill(name: str, address: Address) -> None:
    """Publish a node's retained records."""
    async with connect(address=address, client_id="fill") as bus:
        for n in range(RECORDS):
            bus.publish(Message(f"{ROOT}/node/{name}/job/{n}", b"x" * 500, retain=True))
        await bus.flush()


async def wait_all(address: Address) -> None:
    """Wait until both peers' records are at a broker."""
    topics: set[str] = set()
    async with connect(address=address, client_id="reader") as bus:
        await bus.subscribe(Subscription(pattern=f"{ROOT}/node/+/job/#"))
        while len(topics) < 2 * RECORDS:
            topics |= {message.topic for message in await bus.receive()}


async def measure(options: argparse.Namespace) -> None:
    """Run everything."""
    nodes = configurations(options.restart_timeout)
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            for name, (_, text) in nodes.items():
                await stack.enter_async_context(
                    mosquitto(name=name, config=text, folder=Path(folder) / name)
                )
            await measure_hops(nodes["n1"][0], nodes["n2"][0])
    for outage_s in options.outage.split(","):
        await measure_return(options, float(outage_s))


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--restart-timeout", default="1 2")
    parser.add_argument("--outage", default="0,8", help="seconds, separated by commas")
    try:
        asyncio.run(measure(parser.parse_args()))
    except BusError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
