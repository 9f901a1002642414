"""Goal: who may not come in does not, nobody takes another's place, and nobody crowds others out.

Method: a real Mosquitto as a secure node configures it; each attack is played twice
(tests/hostile/twice.py). Attackers do not look at the node's certificate: what refuses them is
the node, never their own caution.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from broker import mosquitto_config
from tests.acceptance.agreement import until
from tests.hostile.door import (
    Door,
    Plant,
    Removal,
    as_it_is,
    careless,
    plant,
    say,
    stranger,
    without,
    without_question,
)
from tests.hostile.twice import played_twice
from workrs.adapters.mqtt import connect
from workrs.domain.errors import BusError
from workrs.ports.bus import PAYLOAD_MAX_BYTES, Bus, Subscription
from workrs.trust.kind import Kind
from workrs.wire.topics import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["plant"]  # a fixture is found by its name in the module

OWN = "up/a1/release/mark"


def any_authority(signer: Kind) -> Removal:
    """Let every port take certificates of one kind."""

    def remove(config: str, _folder: Path) -> str:
        for kind in Kind:
            config = config.replace(f"authority-{kind.value}.pem", f"authority-{signer.value}.pem")
            config = config.replace(f"revoked-{kind.value}.pem", f"revoked-{signer.value}.pem")
        return config

    return remove


def foreign_authority(plant: Plant) -> Removal:
    """Let the port of agents take certificates of the other cluster, too."""
    other = plant.cluster.directory.path.parent / "other" / "nodes" / "n1"

    def remove(config: str, folder: Path) -> str:
        for name in ("authority-agent.pem", "revoked-agent.pem"):
            with (folder / name).open("a") as file:
                file.write((other / name).read_text())
        return config

    return remove


async def is_let_in(it: Door, who: str, port_of: str) -> bool:
    with contextlib.suppress(BusError, OSError):
        if who != "nobody":
            async with it.enter(who, port_of=port_of):
                return True
        at = it.at("a1", port_of=port_of)
        async with connect(address=at, client_id="nobody", tls=stranger()):
            return True
    return False


@played_twice
@pytest.mark.parametrize(
    ("who", "port_of", "removal"),
    [
        pytest.param("fan", "pump", without("crlfile"), id="revoked"),
        pytest.param("pump", "a1", any_authority(Kind.DEVICE), id="device-at-the-agents-port"),
        pytest.param("pump", "op", any_authority(Kind.DEVICE), id="device-at-the-operators-port"),
        pytest.param("pump", "n2", any_authority(Kind.DEVICE), id="device-at-the-nodes-port"),
        pytest.param("n2", "a1", any_authority(Kind.NODE), id="node-at-the-agents-port"),
        pytest.param("n2", "op", any_authority(Kind.NODE), id="node-at-the-operators-port"),
        pytest.param("foreign", "a1", None, id="of-another-cluster"),
        pytest.param("old", "a1", without_question, id="expired"),
        pytest.param("early", "a1", without_question, id="not-valid-yet"),
        pytest.param("nobody", "a1", without_question, id="without-a-certificate"),
    ],
)
def test_who_may_not_come_in_does_not(
    tmp_path: Path, plant: Plant, who: str, port_of: str, removal: Removal | None, *, control: bool
) -> None:
    removal = removal or foreign_authority(plant)

    async def story() -> bool:
        async with plant.door(tmp_path, as_it_is if control else removal) as it:
            if await is_let_in(it, who, port_of):
                return True
            async with it.enter("a2"):  # the same kind, the same authority, the right dates
                return False

    assert asyncio.run(story()) is not control


@played_twice
def test_a_wrong_password_opens_nothing(tmp_path: Path, plant: Plant, *, control: bool) -> None:
    def unlocked(config: str, folder: Path) -> str:
        config = config.replace("allow_anonymous false", "allow_anonymous true")
        return without("password_file")(config, folder)

    async def story() -> int:
        came = 0
        async with plant.door(tmp_path, as_it_is if control else unlocked) as it:
            for name, password in (("sensor", "x"), ("sensor", ""), ("pump", "x"), ("nobody", "")):
                with contextlib.suppress(BusError):
                    async with connect(
                        address=it.at("sensor"),
                        client_id=name,
                        username=name,
                        password=password,
                        tls=stranger(),
                    ):
                        came += 1
        return came

    assert asyncio.run(story()) == (0 if control else 4)


@played_twice
def test_nobody_takes_anothers_place(tmp_path: Path, plant: Plant, *, control: bool) -> None:
    removal = as_it_is if control else without("use_username_as_clientid")

    async def is_ended() -> bool:
        async with (
            plant.door(tmp_path, removal) as it,
            it.enter("a1") as victim,
            it.enter("a2", client_id="a1"),
        ):
            return not await still_hears(it, victim)

    assert asyncio.run(is_ended()) is not control


async def still_hears(it: Door, bus: Bus) -> bool:
    """Return whether agent a1's connection still stands."""
    async with it.observe() as observer, asyncio.timeout(60):
        try:
            await bus.subscribe(Subscription(pattern=f"{ROOT}/node/+/offer/a1", qos=1))
            await say(observer, ["node/n1/offer/a1"])
            await bus.receive()
        except BusError:
            return False
    return True


@played_twice
def test_two_with_one_credential_are_one_client(
    tmp_path: Path, plant: Plant, *, control: bool
) -> None:
    """A stolen credential is no second voice, whatever id it asks for: each ends the other."""
    removal = as_it_is if control else without("use_username_as_clientid")

    async def are_two() -> bool:
        async with (
            plant.door(tmp_path, removal) as it,
            it.enter("a1") as first,
            it.enter("a1", client_id="a1-too") as second,
        ):
            found = await still_hears(it, first)
            await say(second, [OWN])
            return found

    assert asyncio.run(are_two()) is not control


@played_twice
def test_a_crowd_at_one_port_does_not_grow_for_ever(
    tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """And leaves the ports of other kinds, and who stands there already, alone."""
    monkeypatch.setattr(mosquitto_config, "CONNECTIONS_MAX", 3)
    removal = as_it_is if control else without("max_connections")

    async def crowd() -> int:
        async with contextlib.AsyncExitStack() as stack:
            it = await stack.enter_async_context(plant.door(tmp_path, removal))
            came = [await stack.enter_async_context(it.enter("op", client_id="op-0"))]
            for number in range(1, 6):
                with contextlib.suppress(BusError):
                    one = it.enter("op", client_id=f"op-{number}")
                    came.append(await stack.enter_async_context(one))
            await stack.enter_async_context(it.enter("a1"))
            await came[0].subscribe(Subscription(pattern=f"{ROOT}/node/#"))
            return len(came)

    assert asyncio.run(crowd()) == (3 if control else 6)


@played_twice
def test_a_packet_above_the_limit_ends_its_sender_and_reaches_nobody(
    tmp_path: Path, plant: Plant, *, control: bool
) -> None:
    removal = as_it_is if control else without("max_packet_size")
    topic = f"{ROOT}/up/pump/submit/large"
    size = PAYLOAD_MAX_BYTES * 2

    def attack(it: Door) -> tuple[int, bool]:
        heard: list[int] = []
        ended: list[str] = []
        # By other clients than ours, which know the limit and keep it.
        reader = client()
        reader.on_message = lambda _c, _u, message: heard.append(len(message.payload))
        reader.tls_set_context(careless(it.cluster.members["op"]))
        reader.connect(it.at("op").host, it.at("op").port)
        reader.subscribe(topic, qos=1)
        reader.loop_start()
        sender = client()
        sender.on_disconnect = lambda _c, _u, _f, code, _p: ended.append(str(code))
        sender.tls_set_context(careless(it.cluster.members["pump"]))
        sender.connect(it.at("pump").host, it.at("pump").port)
        sender.publish(topic, b" " * size, qos=1, retain=True)
        sender.loop_start()
        until("an end", lambda: bool(heard or ended), 60)
        sender.loop_stop()
        reader.loop_stop()
        # The reason is 0x95; a sender that still writes may see its connection reset before it.
        assert set(ended) <= {"Packet too large", "Unspecified error"}
        return sum(heard), bool(ended)

    async def story() -> tuple[int, bool]:
        async with plant.door(tmp_path, removal) as it:
            return await asyncio.to_thread(attack, it)

    assert asyncio.run(story()) == ((0, True) if control else (size, False))


def client() -> paho.Client:
    return paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
