"""Goal: whatever a payload is, it is refused, counted and cleared, in little memory.

Method: junk on every topic that a node listens to, given to the rules of a node; and bombs, given
to the codec in a process of its own, whose peak of memory the kernel keeps. Each is played twice
(tests/hostile/twice.py).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker import inbox, reader
from broker.event import Event, Refused
from tests.hostile.junk import JUNK
from tests.hostile.twice import played_twice
from tests.unit.broker.cluster import Cluster
from workrs.adapters import log
from workrs.domain.errors import WireError
from workrs.domain.ids import ClientId
from workrs.ports.bus import PAYLOAD_MAX_BYTES, Address, Message
from workrs.testing.bus import MemoryBroker
from workrs.wire import codec, topics
from workrs.wire.message import JobState, OrderReply, State

if TYPE_CHECKING:
    from broker.effect import Publish

TOPICS = (
    *("up/pump/submit/{n}", "up/op/order/{n}", "up/a1/beat", "up/a1/progress/pump_{n}"),
    *("up/a1/claim/pump_{n}", "up/a1/outcome/pump_{n}", "up/a1/checkpoint/pump_{n}"),
    *("up/a1/release/pump_{n}", "relay/n2/a1/claim/pump_{n}", "relay/n2/a1/beat"),
    *("node/n2/job/pump_{n}", "node/n2/function/{n}", "node/n2/state"),
)
AT = Address(host="127.0.0.1", port=1)
ROOT = Path(__file__).parents[2]


def believing(kind: type, payload: bytes) -> object:
    """Take a payload for what it should be, as `json` and a constructor would."""
    made = json.loads(payload)
    return object.__new__(kind) if isinstance(made, dict) else made


def is_refused(topic: str, payload: bytes) -> bool:
    """Return whether a node refuses a message, and goes on; a daemon would end of an error."""
    cluster = Cluster(1)
    name = ClientId("n1")
    try:
        found = inbox.parse(name, Message(f"{topics.ROOT}/{topic}", payload))
        if found is None or isinstance(found, inbox.Dropped):
            return isinstance(found, inbox.Dropped)
        said = cluster.handle("n1", [found]).publishes
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return False
    return bool(said) and not cluster.nodes["n1"].entries and all(map(is_refusal, said))


def is_refusal(said: Publish) -> bool:
    match said.body:
        case JobState(state=state):
            return state is State.REJECTED
        case OrderReply(ok=ok):
            return not ok
    return False


@played_twice
@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_refused_wherever_it_arrives(
    monkeypatch: pytest.MonkeyPatch, junk: str, *, control: bool
) -> None:
    if not control:
        monkeypatch.setattr(codec, "decode", believing)
    # Nothing at all below `node/` says that something is gone.
    heard = [topic for topic in TOPICS if junk != "empty" or not topic.startswith("node/")]
    through = [topic for topic in heard if not is_refused(topic.format(n=junk), JUNK[junk])]
    assert bool(through) is not control, through


@played_twice
def test_a_bomb_takes_no_more_memory_than_is_stated(*, control: bool) -> None:
    words = [] if control else ["without"]
    command = [sys.executable, "-m", "tests.hostile.junk", *words]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=170)
    most = {int(size): found for size, found in json.loads(ran.stdout).items()}
    assert set(most) == {60_000, PAYLOAD_MAX_BYTES}
    beyond = [
        size
        for size, found in most.items()
        if found > min(size * codec.MEMORY_PER_BYTE, codec.MEMORY_MAX_BYTES)
    ]
    assert bool(beyond) is not control, most


def test_commas_in_texts_are_no_values() -> None:
    text = "1,2,3\\n\\u0041\\\\" * 5_000
    assert text.count(",") > codec.VALUES_MAX / 4
    codec.decode(dict, f'{{"a":"{text * 3}"}}'.encode())
    with pytest.raises(WireError, match="values"):
        codec.decode(list, b"[" + b"0," * (codec.VALUES_MAX + 1) + b"0]")
    assert len(codec.decode(list, b"[" + b"0," * codec.VALUES_MAX + b"0]")) == codec.VALUES_MAX + 1


@played_twice
def test_a_retained_request_is_refused_and_cleared(
    monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Else a broker would say it again on every connection that the node ever makes."""
    if not control:
        monkeypatch.setattr(reader, "_UP", "no topic")
    broker = MemoryBroker()
    asked = Message(f"{topics.ROOT}/up/pump/submit/again", b"{}", retain=True)
    node = Cluster(1).nodes["n1"]

    async def story() -> list[Event]:
        async with broker.connect(address=AT, client_id="pump") as device:
            device.publish(asked)
            await device.flush()
        async with broker.connect(address=AT, client_id="n1") as bus:
            await bus.subscribe(*inbox.intake_subscriptions())
            events = reader.read(node, bus, await bus.receive(), log.get("test"))
            await bus.flush()
            return events

    events = asyncio.run(story())
    assert [type(event) for event in events] == [Refused]
    assert (asked.topic in broker.retained()) is not control
