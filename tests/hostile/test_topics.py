"""Goal: no kind of client says what is another's, hears what is another's, or takes its place.

Method: a real Mosquitto as a secure node configures it, and an observer that may hear all. Each
attack is made again at a broker whose control is taken away, and must get through there.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from broker.mosquitto import mosquitto
from broker.mosquitto_config import own_socket, render, write_trust
from tests.hostile.members import NODES, Cluster, free_blocks, make_cluster
from workrs.adapters.mqtt import connect
from workrs.domain.errors import BusError
from workrs.ports.bus import (
    PAYLOAD_MAX_BYTES,
    Address,
    Bus,
    BusDeniedError,
    Message,
    Subscription,
)
from workrs.trust.kind import PASSWORD_PORT_OFFSET, PORT_OFFSETS, Kind
from workrs.wire.topics import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from workrs.trust.credential import Credential

Edit = "Callable[[str], str]"
AS_IT_IS: Edit = str
NODE = ["node/n1/job/pump_1", "node/n1/spec/pump_1", "node/n1/state", "node/n1/terms"]
NODE += ["node/n1/offer/a1", "node/n1/order/a1", "node/n1/agent/a1", "node/n1/function/f"]
NODE += ["relay/n3/a1/claim/pump_1", "relay/n3/a1/beat", "down/pump/1", "down/fan/1/out"]


def agents(name: str) -> list[str]:
    verbs = ("claim/pump_1", "outcome/pump_1", "checkpoint/pump_1", "release/pump_1", "beat")
    return [f"up/{name}/{verb}" for verb in (*verbs, "progress/pump_1", "log/pump_1")]


def devices(name: str) -> list[str]:
    return [f"up/{name}/submit/1", f"up/{name}/run/f/1", f"up/{name}/cancel/1"]


FORGED = {
    "pump": [*NODE, *agents("pump"), *agents("a1"), *devices("fan"), "up/pump/order/1", "echo/a1"],
    "sensor": [*NODE, *agents("sensor"), *agents("a1"), *devices("fan"), "up/op/order/1"],
    "a1": [*NODE, *agents("a2"), *devices("a1"), *devices("pump"), "up/a1/order/1", "echo/a2"],
    "op": [*NODE, *agents("op"), *agents("a1"), *devices("pump"), "up/a1/order/1"],
    "n2": [*NODE, *agents("a1"), *devices("pump"), "up/op/order/1", "up/n2/order/1", "echo/a1"],
}
OWN = {
    "pump": "up/pump/cancel/mark",
    "sensor": "up/sensor/cancel/mark",
    "a1": "up/a1/release/mark",
    "op": "up/op/order/mark",
    "n2": "node/n2/job/mark",
}
HEARD = {
    "pump": {"down/pump/1", "node/n1/state"},
    "sensor": {"down/sensor/1", "node/n1/state"},
    "a1": {
        *("node/n1/job/pump_1", "node/n1/terms"),
        *("node/n1/offer/a1", "node/n1/order/a1", "node/n1/agent/a1"),
    },
    "n2": set[str](),
}
"""Of `SAID`, what each may hear. An operator may hear all."""
SAID = {*NODE, "down/sensor/1", "node/n1/offer/a2", "up/pump/submit/1", "up/a1/outcome/pump_1"}


@dataclass(frozen=True, slots=True)
class Door:
    """A running broker of node n1, and how to come in."""

    cluster: Cluster
    first: Address
    own: Address

    def at(self, who: str, *, port_of: str = "") -> Address:
        """Return where somebody comes in; with *port_of*, at the port of another kind."""
        member = self.cluster.members[port_of or who]
        offset = PORT_OFFSETS[member.kind] if member.password is None else PASSWORD_PORT_OFFSET
        return Address(host=self.first.host, port=self.first.port + offset)

    @asynccontextmanager
    async def enter(
        self, who: str, *, client_id: str = "", will: Message | None = None, port_of: str = ""
    ) -> AsyncIterator[Bus]:
        """Connect as a member."""
        member: Credential = self.cluster.members[who]
        async with connect(
            address=self.at(who, port_of=port_of),
            client_id=client_id or member.name,
            username=member.name if member.password else None,
            password=member.password,
            tls=member.client_context(),
            will=will,
        ) as bus:
            yield bus

    @asynccontextmanager
    async def observe(self) -> AsyncIterator[Bus]:
        """Connect as the daemon, which may hear and say all."""
        async with connect(address=self.own, client_id="observer") as bus:
            await bus.subscribe(Subscription(pattern=f"{ROOT}/#", qos=1))
            yield bus


@dataclass(frozen=True, slots=True)
class Plant:
    """A cluster whose node n1 has a broker now and then."""

    cluster: Cluster
    first: Address

    @asynccontextmanager
    async def door(
        self, folder: Path, edit: Edit = AS_IT_IS, *, acl: bool = True
    ) -> AsyncIterator[Door]:
        """Run the broker of n1.

        Args:
            folder: for the broker's files.
            edit: changes the configuration.
            acl: without it everybody may say and hear everything.
        """
        trust = self.cluster.trust()
        write_trust(folder, trust)
        if not acl:
            for kind in Kind:
                rules = "topic readwrite #\npattern readwrite #\n"
                (folder / f"acl-{kind.value}").write_text(rules)
        config = edit(render(node="n1", listener=self.first, trust=folder))
        async with mosquitto(name="n1", config=config, folder=folder):
            yield Door(self.cluster, self.first, own_socket(folder))


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Make the certificates once: a broker for each test is enough work."""
    ports = free_blocks(len(NODES))
    cluster = make_cluster(tmp_path_factory.mktemp("plant"), ports=ports)
    cluster.revoke("fan")
    return Plant(cluster, Address(host="127.0.0.1", port=ports[0]))


async def heard_until(bus: Bus, mark: str) -> set[str]:
    """Return the topics heard before *mark*."""
    found: set[str] = set()
    async with asyncio.timeout(20):
        while mark not in found:
            found |= {message.topic.removeprefix(f"{ROOT}/") for message in await bus.receive()}
    return found - {mark}


async def say(bus: Bus, topics: Iterable[str]) -> None:
    """Publish on all of them, whatever is refused."""
    for topic in topics:
        bus.publish(Message(f"{ROOT}/{topic}", b"forged"))
    with contextlib.suppress(BusDeniedError):
        await bus.flush()


both = pytest.mark.parametrize("acl", [True, False], ids=["as-it-is", "without-permissions"])


@both
def test_what_is_forged_reaches_nobody(tmp_path: Path, plant: Plant, *, acl: bool) -> None:
    async def story() -> None:
        async with plant.door(tmp_path, acl=acl) as it, it.observe() as observer:
            for who, forged in FORGED.items():
                async with it.enter(who) as bus:
                    await say(bus, forged)
                    await say(bus, [OWN[who]])
                    heard = await heard_until(observer, OWN[who])
                assert heard == (set() if acl else set(forged)), who

    asyncio.run(story())


@both
def test_a_forged_will_reaches_nobody(tmp_path: Path, plant: Plant, *, acl: bool) -> None:
    wills = {"pump": "up/a1/beat", "a1": "up/a2/beat", "n2": "node/n1/state", "op": "up/op/beat"}

    async def story() -> set[str]:
        async with plant.door(tmp_path, acl=acl) as it, it.observe() as observer:
            for who, topic in wills.items():
                with contextlib.suppress(BusError):
                    async with it.enter(who, will=Message(f"{ROOT}/{topic}", b"gone")) as bus:
                        bus.abort()
            if not acl:
                return await heard_all(observer, set(wills.values()))
            async with it.enter("a1") as bus:
                await say(bus, [OWN["a1"]])
                return await heard_until(observer, OWN["a1"])

    assert asyncio.run(story()) == (set() if acl else set(wills.values()))


async def heard_all(bus: Bus, wanted: set[str]) -> set[str]:
    """Return the topics heard, once all *wanted* are among them."""
    found: set[str] = set()
    async with asyncio.timeout(20):
        while not wanted <= found:
            found |= {message.topic.removeprefix(f"{ROOT}/") for message in await bus.receive()}
    return found


@both
def test_a_wildcard_shows_nothing_of_others(tmp_path: Path, plant: Plant, *, acl: bool) -> None:
    async def story() -> None:
        async with plant.door(tmp_path, acl=acl) as it, it.observe() as observer:
            for who, allowed in HEARD.items():
                async with it.enter(who) as bus:
                    with contextlib.suppress(BusError):
                        await bus.subscribe(Subscription(pattern=f"{ROOT}/#", qos=1))
                    await say(observer, SAID)
                    heard = await heard_all(bus, allowed if acl else SAID)
                    heard |= await heard_now(bus)
                assert heard == (allowed if acl else SAID), who

    asyncio.run(story())


async def heard_now(bus: Bus) -> set[str]:
    """Return the topics heard before the broker has answered once more."""
    with contextlib.suppress(BusError):
        await bus.subscribe(Subscription(pattern=f"{ROOT}/echo/nobody", qos=1))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            return {message.topic.removeprefix(f"{ROOT}/") for message in await bus.receive()}
    return set()


def without(word: str) -> Edit:
    return lambda config: "\n".join(
        line for line in config.splitlines() if not line.startswith(word)
    )


def any_authority(config: str) -> str:
    """Let every port take certificates of devices."""
    for kind in Kind:
        config = config.replace(f"authority-{kind.value}.pem", "authority-device.pem")
        config = config.replace(f"revoked-{kind.value}.pem", "revoked-device.pem")
    return config


@pytest.mark.parametrize(
    ("who", "port_of", "edit"),
    [
        pytest.param("fan", "pump", without("crlfile"), id="revoked"),
        pytest.param("pump", "a1", any_authority, id="device-at-the-agents-port"),
        pytest.param("pump", "op", any_authority, id="device-at-the-operators-port"),
        pytest.param("pump", "n2", any_authority, id="device-at-the-nodes-port"),
        pytest.param("foreign", "a1", None, id="of-another-cluster"),
        pytest.param("old", "a1", None, id="expired"),
    ],
)
def test_who_may_not_come_in_does_not(
    tmp_path: Path, plant: Plant, who: str, port_of: str, edit: Edit | None
) -> None:
    async def tries(folder: Path, change: Edit) -> bool:
        async with plant.door(folder, change) as it:
            with contextlib.suppress(BusError, OSError):
                async with it.enter(who, port_of=port_of):
                    return True
            async with it.enter("a2"):
                return False

    assert not asyncio.run(tries(tmp_path / "shut", AS_IT_IS))
    if edit is not None:  # of a date or a foreign signature TLS itself lets nobody off
        assert asyncio.run(tries(tmp_path / "open", edit)), "the control taken away"


@pytest.mark.parametrize("bound", [True, False], ids=["as-it-is", "without-bound-ids"])
def test_nobody_takes_anothers_place(tmp_path: Path, plant: Plant, *, bound: bool) -> None:
    edit = AS_IT_IS if bound else without("use_username_as_clientid")

    async def is_ended() -> bool:
        async with plant.door(tmp_path, edit) as it, it.enter("a1") as victim:
            await victim.subscribe(Subscription(pattern=f"{ROOT}/node/+/offer/a1", qos=1))
            async with it.enter("a2", client_id="a1"), it.observe() as observer:
                await say(observer, ["node/n1/offer/a1"])
                try:
                    async with asyncio.timeout(10):
                        await victim.receive()
                except BusError:
                    return True
            return False

    assert asyncio.run(is_ended()) is not bound


def test_two_with_one_credential_are_one_client(tmp_path: Path, plant: Plant) -> None:
    """A stolen credential is no second voice: each connection ends the one before."""

    async def story() -> None:
        async with plant.door(tmp_path) as it, it.enter("a1") as first, it.enter("a1") as second:
            with pytest.raises(BusError):
                async with asyncio.timeout(10):
                    await first.receive()
            await say(second, [OWN["a1"]])

    asyncio.run(story())


@pytest.mark.parametrize("bounded", [True, False], ids=["as-it-is", "without-the-limit"])
def test_a_packet_above_the_limit_reaches_nobody(
    tmp_path: Path, plant: Plant, *, bounded: bool
) -> None:
    edit = AS_IT_IS if bounded else without("max_packet_size")
    large = tmp_path / "large"
    large.write_bytes(b" " * (PAYLOAD_MAX_BYTES * 2))
    topic = f"{ROOT}/up/pump/submit/large"

    def attack(it: Door) -> str:
        at, file = it.at("pump"), str(it.cluster.members["pump"].path)
        words = ["--cafile", file, "--cert", file, "--key", file, "-V", "5", "-q", "1", "-r"]
        where = ["-h", at.host, "-p", str(at.port), "-t", topic, "-f", str(large)]
        subprocess.run(["mosquitto_pub", *words, *where], check=False, timeout=30)
        # Retained, and asked for by a reader without a limit of its own.
        reader = ["mosquitto_sub", "--unix", it.own.host, "-t", topic, "-C", "1", "-W", "2"]
        ran = subprocess.run([*reader, "-F", "%l"], check=False, capture_output=True, timeout=30)
        return ran.stdout.decode().strip()

    async def story() -> str:
        async with plant.door(tmp_path / "door", edit) as it:
            return await asyncio.to_thread(attack, it)

    assert asyncio.run(story()) == ("" if bounded else str(PAYLOAD_MAX_BYTES * 2))
