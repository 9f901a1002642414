"""Goal: a secure cluster serves its honest members, whatever the others send at it meanwhile.

Method: three real nodes and an agent with credentials; large inputs, results and checkpoints, which
travel by the nodes' stores; then junk of every kind, said by every kind of member on the topics
that it may use. Each refusal is counted; what was honest comes through; no daemon has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from device_client import Device
from tests.acceptance.agreement import until
from tests.hostile.junk import JUNK, SECRET
from tests.hostile.members import NODES, Cluster, free_blocks, make_cluster
from workrs.adapters.mqtt import connect
from workrs.cli.cluster import free_ports
from workrs.domain.errors import BusError
from workrs.ports.bus import Address, Bus, Message, Subscription
from workrs.trust.kind import PASSWORD_PORT_OFFSET, PORT_OFFSETS
from workrs.wire import codec, topics
from workrs.wire.message import NodeState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERBS = {
    "pump": ["submit/{n}", "run/f/{n}", "cancel/{n}", "submit/No-{n}", "run/no-such/{n}"],
    "sensor": ["submit/{n}", "run/f/{n}", "cancel/{n}"],
    "a1": ["claim/pump_{n}", "outcome/pump_{n}", "checkpoint/pump_{n}", "release/x", "beat"],
    "op": ["order/{n}", "submit/{n}"],
}


@dataclass
class Fleet:
    """Processes of a secure cluster, and what they said."""

    cluster: Cluster
    logs: Path
    processes: dict[str, subprocess.Popen[bytes]]

    def start(self, name: str, *words: str) -> None:
        command = [sys.executable, "-m", "workrs.cli.main", *words]
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def said(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.logs.iterdir())

    def address(self, who: str, node: str = "n1") -> Address:
        member = self.cluster.members[who]
        at = next(at for at in self.cluster.directory.register.nodes if at.node == node)
        offset = PORT_OFFSETS[member.kind] if member.password is None else PASSWORD_PORT_OFFSET
        return Address(host=at.host, port=at.port + offset)

    async def as_member(self, who: str, story: object) -> None:
        """Connect as a member and run *story* with the bus."""
        member = self.cluster.members[who]
        async with connect(
            address=self.address(who),
            client_id=member.name,
            username=member.name if member.password else None,
            password=member.password,
            tls=member.client_context(),
        ) as bus:
            await story(bus)  # type: ignore[operator]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with running(tmp_path) as found:
        yield found


@contextmanager
def running(root: Path) -> Iterator[Fleet]:
    ports = free_blocks(len(NODES))
    cluster = make_cluster(root / "c", ports=ports)
    fleet = Fleet(cluster, root / "logs", {})
    fleet.logs.mkdir()
    with ExitStack() as stack:
        stack.callback(end, fleet)
        for name, port in zip(NODES, free_ports(3), strict=True):
            folder = str(cluster.directory.node_folder(name))
            where = ["--state", str(root / name), "--blobs", f"127.0.0.1:{port}"]
            fleet.start(name, "node", "--credential", folder, "--init", *where)
        member = str(cluster.members["a1"].path)
        words = ["--credential", member, "--runtime", "process", "--state", str(root / "a1")]
        key = root / "checkpoint.key"
        subprocess.run(
            [sys.executable, "-m", "workrs.cli.main", "key", "make", str(key)], check=True
        )
        fleet.start("a1", "agent", *words, "--checkpoint-key", str(key))
        until("three nodes", lambda: fleet.said().count("node_running") == len(NODES), 60)
        until("the agent", lambda: "agent_running" in fleet.said(), 60)
        yield fleet


def end(fleet: Fleet) -> None:
    """Tell all to stop; whoever does not is killed, and the test has failed."""
    for process in fleet.processes.values():
        process.terminate()
    deaf = []
    for name, process in fleet.processes.items():
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            deaf.append(name)
            process.kill()
            process.wait()
    assert not deaf, f"told to stop in vain: {deaf}"


def spec(code: str, **fields: object) -> dict[str, object]:
    return {
        "image": "none",
        "command": ["python3", "-c", code],
        "checkpoint": {"mode": "off"},
        **fields,
    }


LARGE = "import os; print(len(open(os.environ['WORKRS_JOB_DIR'] + '/in/input').read()) * 'y')"
SAVED = """\
import os, time
while not os.path.exists({leave!r}):
    with open(os.environ["WORKRS_JOB_DIR"] + "/n", "a") as file:
        file.write("x")
    time.sleep(0.1)
print("saved")
"""


def test_large_inputs_results_and_checkpoints_travel_with_credentials(fleet: Fleet) -> None:
    size = 300_000
    for who in ("pump", "sensor"):
        with Device(credential=fleet.cluster.members[who].path) as device:
            device.submit(spec(LARGE, input="x" * size), job="large")
            assert device.result("large", timeout=90).value == b"y" * size + b"\n"
    with Device(credential=fleet.cluster.members["pump"].path) as device:
        leave = fleet.logs.parent / "leave"
        code = SAVED.format(leave=str(leave))
        device.submit(spec(code, checkpoint={"mode": "files", "interval_s": 1}), job="saved")
        until("a checkpoint", lambda: "checkpoint_kept job=pump_saved" in fleet.said(), 60)
        leave.touch()
        assert device.result("saved", timeout=90).text == "saved\n"
    assert asyncio.run(state(fleet)).blobs_url.startswith("https://127.0.0.1:")
    refused = [line for line in fleet.said().splitlines() if "blob_refused" in line]
    # A node may hear of a lease later than its holder, who then turns to another, or saves again.
    assert [line for line in refused if "that this node knows of" not in line] == []


async def state(fleet: Fleet) -> NodeState:
    """Return what n1 says of itself."""
    found: list[Message] = []

    async def story(bus: Bus) -> None:
        await bus.subscribe(Subscription(pattern=topics.node("n1", "state"), qos=1))
        async with asyncio.timeout(60):
            found.extend(await bus.receive())

    await fleet.as_member("op", story)
    return codec.decode(NodeState, found[-1].payload)


async def left_in_up(fleet: Fleet) -> list[str]:
    """Return the requests that the broker of n1 retains."""
    found: list[Message] = []

    async def story(bus: Bus) -> None:
        await bus.subscribe(Subscription(pattern=f"{topics.ROOT}/up/#", qos=1))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                found.extend(await bus.receive())

    await fleet.as_member("op", story)
    return [message.topic for message in found if message.retain]


async def throw_junk(fleet: Fleet, who: str) -> None:
    """Say all of it on all topics of one member, once and retained."""

    async def story(bus: Bus) -> None:
        for verb in VERBS[who]:
            for name, junk in JUNK.items():
                topic = f"{topics.ROOT}/up/{who}/{verb.format(n=name)}"
                bus.publish(Message(topic, junk))
                bus.publish(Message(topic, junk, retain=True))
        await bus.flush()

    await fleet.as_member(who, story)


def test_junk_of_every_member_is_counted_and_stops_nobody(fleet: Fleet) -> None:
    fleet.processes["a1"].terminate()
    fleet.processes["a1"].wait(60)
    before = asyncio.run(state(fleet)).dropped
    for who in VERBS:
        asyncio.run(throw_junk(fleet, who))
    with Device(credential=fleet.cluster.members["pump"].path) as device:
        device.submit(spec("print(1)"), job="honest")
        until("the honest job", lambda: device.state("honest").state in ("accepted", "queued"), 60)
    until("all of it refused", lambda: is_refused(fleet, before), 60)
    until("a clean up/", lambda: is_cleared(fleet), 60)
    assert [fleet.processes[name].poll() for name in NODES] == [None] * len(NODES)
    assert SECRET not in fleet.said()
    assert "Traceback" not in fleet.said()


def is_refused(fleet: Fleet, before: int) -> bool:
    """Return whether as much was counted as there is of junk that is no repetition."""
    try:
        return asyncio.run(state(fleet)).dropped - before >= len(JUNK) * len(VERBS)
    except (BusError, TimeoutError):
        return False  # a broker that has much to do: asked again


def is_cleared(fleet: Fleet) -> bool:
    """Return whether the broker of n1 retains no request."""
    try:
        return not asyncio.run(left_in_up(fleet))
    except BusError:
        return False


def test_a_request_that_is_said_again_is_the_same_job(fleet: Fleet) -> None:
    payload = json.dumps(spec("print('once')")).encode()
    topic = f"{topics.ROOT}/up/pump/submit/again"

    async def replay(bus: Bus) -> None:
        for _ in range(50):
            bus.publish(Message(topic, payload))
        await bus.flush()

    asyncio.run(fleet.as_member("pump", replay))
    until("its end", lambda: "outcome_decided job=pump_again" in fleet.said(), 60)
    starts = re.findall("job_started job=pump_again epoch=([0-9]+)", fleet.said())
    assert starts
    # More than one if its agent was too busy to keep the lease, and each at an epoch of its own.
    assert len(set(starts)) == len(starts)
    asyncio.run(fleet.as_member("pump", replay))
    with Device(credential=fleet.cluster.members["pump"].path) as device:
        device.submit(spec("print('later')"), job="later")
        assert device.result("later", timeout=60).text == "later\n"
    assert fleet.said().count("job_started job=pump_again") == len(starts)
    # A stranger's repeat of what it overheard does not even reach a node.
    with pytest.raises(BusError):
        asyncio.run(fleet.as_member("foreign", replay))
