"""Goal: no kind of client says what is another's, or hears what is another's.

Method: a real Mosquitto as a secure node configures it, and an observer that may hear all. Each
attack is played twice (tests/hostile/twice.py), by a client of every kind: a device with a
certificate and one with a password, an agent, an operator, a peer's bridge, and the members that
the node's self-test makes for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.hostile.door import PROBES, Door, Plant, as_it_is, plant, say, without_permissions
from tests.hostile.twice import played_twice
from workrs.domain.errors import BusError
from workrs.ports.bus import Bus, Message, Subscription
from workrs.wire.topics import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.hostile.door import Removal

__all__ = ["plant"]  # a fixture is found by its name in the module

NODE = ["node/n1/job/pump_1", "node/n1/spec/pump_1", "node/n1/state", "node/n1/terms"]
NODE += ["node/n1/offer/a1", "node/n1/order/a1", "node/n1/agent/a1", "node/n1/function/f"]
NODE += ["node/n1/barred", "node/n1/revoked/agent"]
NODE += ["relay/n3/a1/claim/pump_1", "relay/n3/a1/beat", "down/pump/1", "down/fan/1/out"]


def agents(name: str) -> list[str]:
    verbs = ("claim/pump_1", "outcome/pump_1", "checkpoint/pump_1", "release/pump_1", "beat")
    return [f"up/{name}/{verb}" for verb in (*verbs, "progress/pump_1", "log/pump_1")]


def devices(name: str) -> list[str]:
    return [f"up/{name}/submit/1", f"up/{name}/run/f/1", f"up/{name}/cancel/1"]


def forged_by(who: str) -> list[str]:
    """Return what nobody but somebody else says: records, requests, reports, heartbeats, orders."""
    kind = KINDS[who]
    topics = [*NODE, *agents("a2"), *devices("fan"), "up/op2/order/1", "up/op2/revoke/1"]
    topics += [] if kind == "agent" else agents(who)
    topics += [] if kind in ("device", "operator") else devices(who)
    topics += (
        [] if kind == "operator" else [f"up/{who}/order/1", f"up/{who}/revoke/1", "echo/nobody"]
    )
    return topics


KINDS = {
    "pump": "device",
    "sensor": "device",
    "a1": "agent",
    "op": "operator",
    "n2": "node",
    **{who: who.removeprefix("probe.").replace("password", "device") for who in PROBES},
}
OWN = {
    "device": "up/{}/cancel/mark",
    "agent": "up/{}/release/mark",
    "operator": "up/{}/order/mark",
    "node": "node/{}/job/mark",
}
HEARD = {
    "pump": {"down/pump/1", "node/n1/state"},
    "sensor": {"down/sensor/1", "node/n1/state"},
    "a1": {
        *("node/n1/job/pump_1", "node/n1/terms"),
        *("node/n1/offer/a1", "node/n1/order/a1", "node/n1/agent/a1"),
    },
    "n2": set[str](),
    "probe.device": {"node/n1/state"},
    "probe.password": {"node/n1/state"},
    "probe.agent": {"node/n1/job/pump_1", "node/n1/terms"},
    "probe.node": set[str](),
}
"""Of `SAID`, what each may hear. An operator may hear all."""
SAID = {*NODE, "down/sensor/1", "node/n1/offer/a2", "up/pump/submit/1", "up/a1/outcome/pump_1"}


def mark_of(who: str) -> str:
    """Return a topic that this client may write."""
    return OWN[KINDS[who]].format(who)


def removal(*, control: bool) -> Removal:
    return as_it_is if control else without_permissions


async def heard_until(bus: Bus, *marks: str) -> set[str]:
    """Return the topics heard before all *marks* were."""
    found: set[str] = set()
    async with asyncio.timeout(60):
        while not found >= set(marks):
            found |= {message.topic.removeprefix(f"{ROOT}/") for message in await bus.receive()}
    return found - set(marks)


@played_twice
def test_what_is_forged_reaches_nobody(tmp_path: Path, plant: Plant, *, control: bool) -> None:
    async def story() -> None:
        async with (
            plant.door(tmp_path, removal(control=control), probed=True) as it,
            it.observe() as observer,
        ):
            for who in KINDS:
                async with it.enter(who) as bus:
                    await say(bus, forged_by(who))
                    await say(bus, [mark_of(who)])
                    heard = await heard_until(observer, mark_of(who))
                assert heard == (set() if control else set(forged_by(who))), who

    asyncio.run(story())


def died(it: Door, who: str, topic: str) -> AbstractAsyncContextManager[None]:
    """Have a client leave a will, and die at once."""

    @contextlib.asynccontextmanager
    async def story() -> AsyncIterator[None]:
        with contextlib.suppress(BusError):
            async with it.enter(who, will=Message(f"{ROOT}/{topic}", b"gone")) as bus:
                bus.abort()
        yield

    return story()


@played_twice
def test_a_forged_will_reaches_nobody(tmp_path: Path, plant: Plant, *, control: bool) -> None:
    """Of an agent's death, a node's end, a record, a request, a report and an answer."""
    forged = ["up/a2/beat", "node/n1/state", "node/n1/job/pump_1", "up/fan/submit/1"]
    forged += ["up/a2/outcome/pump_1", "relay/n3/a1/beat", "down/pump/1", "up/op2/order/1"]

    async def story() -> None:
        async with (
            plant.door(tmp_path, removal(control=control), probed=True) as it,
            it.observe() as observer,
        ):
            for who in KINDS:
                for topic in forged:
                    async with died(it, who, topic):
                        pass
                async with it.enter(who) as bus:
                    await say(bus, [mark_of(who)])
                    # A will is said when its connection has ended, which may be after the mark.
                    wanted = [] if control else forged
                    heard = await heard_until(observer, mark_of(who), *wanted)
                assert heard == set(), who

    asyncio.run(story())


@played_twice
def test_a_wildcard_shows_nothing_of_others(tmp_path: Path, plant: Plant, *, control: bool) -> None:
    async def story() -> None:
        async with (
            plant.door(tmp_path, removal(control=control), probed=True) as it,
            it.observe() as observer,
        ):
            for who, allowed in HEARD.items():
                wanted = allowed if control else SAID
                async with it.enter(who) as bus:
                    for pattern in (f"{ROOT}/#", "#", f"{ROOT}/+/+/#"):
                        with contextlib.suppress(BusError):
                            await bus.subscribe(Subscription(pattern=pattern, qos=1))
                    await say(observer, SAID)
                    heard = await heard_until(bus, *wanted) | wanted | await heard_now(bus)
                assert heard == wanted, who

    asyncio.run(story())


async def heard_now(bus: Bus) -> set[str]:
    """Return the topics heard before the broker has answered once more."""
    with contextlib.suppress(BusError):
        await bus.subscribe(Subscription(pattern=f"{ROOT}/echo/nobody", qos=1))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            return {message.topic.removeprefix(f"{ROOT}/") for message in await bus.receive()}
    return set()
