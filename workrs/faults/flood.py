"""Many devices in one process that submit as fast as they can and read nothing they are told.

    python -m workrs.faults.flood --node HOST:PORT … [--devices 1000] [--nice]

Each has a connection of its own and a new job with every message. One that is disconnected comes
back after RETURN_S. Every line on standard input is answered by one line of JSON on standard
output: what was done since the last. With `--nice` it runs at the lowest priority (nice 19), so
that what is measured beside it is the nodes' work and not a want of CPU. Not in the idle class:
beside others of that class it got too little to keep its connections, and was no flood.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence

import uvloop

from workrs.adapters.mqtt import connect
from workrs.cli.connection import address
from workrs.domain.errors import BusError
from workrs.ports.bus import Address, Bus, Message, Subscription
from workrs.wire import topics

RETURN_S = 1.0
WINDOW = 20
"""Messages of one device under way. It is what MQTT libraries allow by default."""
JOIN_AT_ONCE = 50
SPEC = b'{"image": "none", "command": ["true"], "retention_s": 1}'


async def device(name: str, nodes: Sequence[Address], tally: Counter[str]) -> None:
    """Be one device until cancelled."""
    numbers = itertools.count()
    for turn in itertools.count():
        try:
            async with connect(address=nodes[turn % len(nodes)], client_id=name) as bus:
                await bus.subscribe(Subscription(pattern=topics.down(name, "#"), qos=0))
                tally["joined"] += 1
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_hear(bus, tally))
                    tasks.create_task(_send(bus, name, numbers, tally))
        except* BusError:
            tally["lost"] += 1
        await asyncio.sleep(RETURN_S)


async def _send(bus: Bus, name: str, numbers: "itertools.count[int]", tally: Counter[str]) -> None:
    while True:
        for number in itertools.islice(numbers, WINDOW):
            bus.publish(Message(topics.up(name, "submit", f"j{number}"), SPEC))
        await bus.flush()
        tally["sent"] += WINDOW


async def _hear(bus: Bus, tally: Counter[str]) -> None:
    while True:
        for message in await bus.receive():
            for word in (b"accepted", b"rejected", b"barred"):
                tally[word.decode()] += word in message.payload


async def _join(asked: argparse.Namespace, tally: Counter[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(asked.devices):
            turn = number % len(asked.node)
            nodes = [*asked.node[turn:], *asked.node[:turn]]
            group.create_task(device(f"{asked.prefix}-{number:04d}", nodes, tally))
            if number % JOIN_AT_ONCE == 0:
                await asyncio.sleep(0.05)


async def _flood(asked: argparse.Namespace) -> None:
    tally: Counter[str] = Counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(_join(asked, tally))
        while await asyncio.to_thread(sys.stdin.readline):
            sys.stdout.write(json.dumps(tally) + "\n")
            sys.stdout.flush()
            tally.clear()
        os._exit(0)


def main() -> int:
    """Read the arguments and flood until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", action="append", type=address, required=True)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--prefix", default="flood")
    parser.add_argument("--nice", action="store_true")
    asked = parser.parse_args()
    if asked.nice:
        os.nice(19)
    uvloop.run(_flood(asked))
    return 0


if __name__ == "__main__":
    sys.exit(main())
