"""A real node and an agent of a few lines, for tests of the command line.

The agent runs nothing: it claims what it is offered and proposes an outcome at once.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.mosquitto_fixture import HOST, free_port
from workrs.adapters.mqtt import connect
from workrs.cli.json_schema import SCHEMAS
from workrs.domain.dispatch import AgentProfile
from workrs.domain.job import Outcome, StoredSpec, Verdict, outcome_with_result
from workrs.domain.record import Incarnation, Record
from workrs.ports.bus import Address, Bus, Message, Subscription
from workrs.wire import codec, topics
from workrs.wire.message import AgentView, Beat, Claim, Held, Offer, Order, OutcomeProposal

ROOT = Path(__file__).parents[1]
AGENT = "instant-1"
BEAT_S = 2.0
"""Well within a node's ttl, after which a silent agent is gone."""


def run(*words: str, given: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program as a person does; what it says with --json must be what its schema says."""
    done = subprocess.run(
        [sys.executable, "-m", "workrs.cli.main", *words],
        check=False,
        capture_output=True,
        input=given,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, **environ},
    )
    if "--json" in words and done.stdout:
        hold_against_schema(words[0], done.stdout)
    return done


def hold_against_schema(command: str, printed: bytes) -> None:
    """Fail unless each line that *command* printed is what its schema says, and no more."""
    schema = _closed(SCHEMAS[command])
    for line in printed.splitlines():
        jsonschema.validate(json.loads(line), schema)


def _closed(schema: Any) -> Any:
    """Return the schema without room for keys that it does not name."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {name: _closed(part) for name, part in schema.items()}
    return {**found, "additionalProperties": False} if "required" in found else found


@contextmanager
def running_node(state: Path) -> Iterator[str]:
    """Yield HOST:PORT of a node that has its files in *state*."""
    at = f"{HOST}:{free_port()}"
    words = ["node", "--name", "n1", "--listen", at, "--blobs", f"{HOST}:{free_port()}"]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workrs.cli.main", *words, "--state", state, "--init"],
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
    try:
        pause = threading.Event()
        for _ in range(200):
            assert process.poll() is None, (state / "log").read_text()
            if run("jobs", "--node", at).returncode == 0:
                break
            pause.wait(0.05)
        else:
            pytest.fail((state / "log").read_text())
        yield at
        assert process.poll() is None, (state / "log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (state / "log").read_text()


class InstantAgent:
    """Claims what it is offered; the outcome is the job's own input, or what its image says."""

    starts = itertools.count(1)

    def __init__(self, bus: Bus, is_seen: threading.Event) -> None:
        self.bus = bus
        self.is_seen = is_seen
        """Set when a node shows this incarnation: from then on commands find the agent."""
        self.incarnation = Incarnation(next(self.starts), "ab" * 8)
        self.stored: dict[str, StoredSpec] = {}
        self.counter = 0
        self.ordered = 0
        self.kept: list[Held] = []
        """What it never ends."""

    async def work(self) -> None:
        kinds = ("offer", "order", "agent")
        mine = [Subscription(pattern=topics.node("+", kind, AGENT)) for kind in kinds]
        await self.bus.subscribe(*mine, Subscription(pattern=topics.node("+", "job", "#")))
        self.beat()
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    messages = await self.bus.receive()
            except TimeoutError:
                self.beat()
                continue
            for message in messages:
                found = topics.parse_node(message.topic)
                if found and found.kind == "offer":
                    self.claim(codec.decode(Offer, message.payload))
                elif found and found.kind == "order":
                    # Odd numbers drain: see docs/protocol.md, "Orders".
                    self.ordered = max(self.ordered, codec.decode(Order, message.payload).number)
                    self.beat()
                elif found and found.kind == "agent" and message.payload:
                    view = codec.decode(AgentView, message.payload)
                    if view.incarnation == self.incarnation:
                        self.is_seen.set()
                elif found and found.kind == "job" and message.payload:
                    self.propose(codec.decode(Record, message.payload))

    def beat(self, *held: Held) -> None:
        self.counter += 1
        draining = self.ordered % 2 == 1
        profile = AgentProfile(slots=8, arch="amd64", memory_mb=1024, cpus=2.0, draining=draining)
        beat = Beat(
            incarnation=self.incarnation,
            connection=1,
            counter=self.counter,
            held=(*self.kept, *held),
            profile=profile,
            ordered=self.ordered,
        )
        self.bus.publish(Message(topics.beat(AGENT), codec.encode(beat)))

    def claim(self, offer: Offer) -> None:
        self.stored[offer.job] = offer.stored
        claim = Claim(incarnation=self.incarnation, epoch=offer.epoch, digest=offer.digest)
        self.bus.publish(Message(topics.up(AGENT, "claim", offer.job), codec.encode(claim)))

    def propose(self, record: Record) -> None:
        stored = self.stored.get(record.job)
        mine = record.holder and record.holder.incarnation == self.incarnation
        if stored is None or not mine or record.accepted or record.decided:
            return
        if stored.spec.image == "never":
            if all(each.job != record.job for each in self.kept):
                self.kept.append(Held(record.job, record.epoch, 1))
                self.beat()
            return
        if stored.spec.image == "fails":
            value = Outcome(verdict=Verdict.FAILED, exit_code=3, reason="exit 3: no such thing")
        else:
            data = stored.spec.input_bytes() or b""
            value = outcome_with_result(Verdict.SUCCEEDED, data, exit_code=0)
        self.beat(Held(record.job, record.epoch, 1))
        proposal = OutcomeProposal(incarnation=self.incarnation, epoch=record.epoch, outcome=value)
        self.bus.publish(Message(topics.up(AGENT, "outcome", record.job), codec.encode(proposal)))


@contextmanager
def agent(at: str) -> Iterator[None]:
    """Run an agent in a thread of its own while the context lasts; a node sees it by then."""
    loop = asyncio.new_event_loop()
    seen = threading.Event()
    host, _, port = at.rpartition(":")

    async def live() -> None:
        address = Address(host=host, port=int(port))
        async with connect(address=address, client_id=AGENT) as bus:
            await InstantAgent(bus, seen).work()

    task = loop.create_task(live())

    def serve() -> None:
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert seen.wait(60), "no node shows the agent"
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


def told(done: subprocess.CompletedProcess[bytes]) -> str:
    text = done.stderr.decode()
    assert "Traceback" not in text, text
    return text
