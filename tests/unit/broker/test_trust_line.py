"""Goal: a list of the revoked counts by its signature and number alone, and is never forgotten.

Method: two nodes' trust lines on a broker in memory, with a real directory's authorities. What an
operator or a node brings that is older, foreign, forged or junk must change nothing anywhere.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from broker.trust_keeper import stamp
from broker.trust_line import TrustLine
from tests.unit.broker.trust_world import DEADLINE_S, HERE, NOW, TrustWorld, make_directory
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Message
from workrs.trust.authority import Revocation, new_authority
from workrs.trust.cluster_directory import ClusterDirectory, opened
from workrs.trust.kind import Kind
from workrs.trust.node_folder import load_node, revoked_file
from workrs.trust.revocation import password_serial
from workrs.wire import topics

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from workrs.ports.bus import Address, Bus, Connect


@pytest.fixture
def world(tmp_path: Path) -> TrustWorld:
    return TrustWorld(tmp_path, make_directory(tmp_path / "farm"))


def foreign_list(number: int, kind: Kind = Kind.AGENT) -> str:
    """Return a list that an operator without the cluster's keys can make."""
    mallory = new_authority(kind, cluster="farm", now=NOW)
    return mallory.revocation_list([Revocation(7, "a2", NOW)], number=number, now=NOW)


def with_version(text: bytes, version: int) -> bytes:
    """Return a list that says it is of another version of the format."""
    found = x509.load_pem_x509_crl(text).public_bytes(serialization.Encoding.DER)
    mark = b"\x02\x01\x01\x30"
    assert found.count(mark) == 1
    changed = found.replace(mark, bytes([2, 1, version, 0x30]))
    return b"-----BEGIN X509 CRL-----\n%s-----END X509 CRL-----\n" % base64.encodebytes(changed)


def test_what_an_operator_brings_is_in_force_at_all_nodes_and_outlives_a_start(
    world: TrustWorld,
) -> None:
    async def scenario() -> None:
        async with world.running() as bus:
            world.directory.revoke("a1", now=NOW)
            reply = await world.ask(bus, world.list_text())
            assert (reply.ok, reply.text) in [(True, "n1 took it"), (True, "n2 took it")]
            while set(world.numbers().values()) != {2}:
                await bus.receive()
        revoked = world.keepers["n2"].trust.lists[Kind.AGENT].revoked
        assert list(revoked.values()) == ["a1"]

    asyncio.run(scenario())
    for node in ("n1", "n2"):
        assert load_node(world.root / "etc" / node).lists[Kind.AGENT].number == 1
        assert world.keeper(node).trust.lists[Kind.AGENT].number == 2
        broker_file = world.root / "state" / node / "mosquitto" / "revoked-agent.pem"
        assert broker_file.read_bytes() == world.list_text()


def test_a_node_that_was_away_takes_what_the_others_show(world: TrustWorld) -> None:
    async def scenario() -> None:
        async with world.running(["n1"]) as bus:
            world.directory.revoke("a1", now=NOW)
            await world.ask(bus, world.list_text())
        async with world.running(["n2"]) as bus:
            while world.numbers()["n2"] != 2:
                await bus.receive()

    asyncio.run(scenario())


def test_what_is_old_foreign_or_junk_changes_nothing_whoever_brings_it(world: TrustWorld) -> None:
    old = world.list_text()
    world.copy_folders()
    world.directory.revoke("a1", now=NOW)
    good = world.list_text()
    lines = good.splitlines()
    torn = b"\n".join([*lines[:2], lines[2][::-1], *lines[3:]])
    bad = [old, foreign_list(9).encode(), torn, b"", b"junk", b"\xff\x00", good[:200]]
    bad += [foreign_list(9, kind).encode() for kind in Kind]
    bad += [with_version(good, version) for version in (0, 2, 5, 127, 255)]

    async def scenario() -> None:
        async with world.running() as bus:
            assert (await world.ask(bus, good)).text.endswith("took it")
            while set(world.numbers().values()) != {2}:
                await bus.receive()
            before = {node: keeper.trust for node, keeper in world.keepers.items()}
            for text in bad:
                if text:
                    reply = await world.ask(bus, text)
                    assert not reply.ok
                    assert reply.text.endswith("nothing was changed")
                bus.publish(Message(topics.node("n3", "revoked", "agent"), text, retain=True))
            again = await world.ask(bus, good)
            assert again.ok
            assert again.text.endswith("had it")
            assert {node: k.trust for node, k in world.keepers.items()} == before

    asyncio.run(scenario())


def test_what_stands_around_a_list_never_reaches_the_broker(world: TrustWorld) -> None:
    """An old list or rubbish behind the new one would be read by Mosquitto, too."""
    old = world.list_text()
    world.copy_folders()
    world.directory.revoke("a1", now=NOW)
    good = world.list_text()

    async def scenario() -> None:
        async with world.running(["n1"]) as bus:
            reply = await world.ask(bus, b"# hello\n" + good + old)
            assert reply.text == "n1 took it"

    asyncio.run(scenario())
    state = world.root / "state" / "n1"
    for path in (state / "mosquitto" / "revoked-agent.pem", state / "trust" / "revoked-agent.pem"):
        assert path.read_bytes() == good


def test_two_copies_of_a_directory_that_part_are_noticed(world: TrustWorld) -> None:
    copy_path = world.root / "copy"
    shutil.copytree(world.directory.path, copy_path)
    with opened(copy_path) as copy:
        copy.revoke("a2", now=NOW)
        world.directory.revoke("a1", now=NOW)

        async def scenario(other: ClusterDirectory) -> None:
            async with world.running(["n1"]) as bus:
                assert (await world.ask(bus, world.list_text())).ok
                text = next(each.text for each in other.lists() if each.kind is Kind.AGENT)
                reply = await world.ask(bus, text.encode())
                assert not reply.ok
                assert "two copies of the cluster's directory" in reply.text

        asyncio.run(scenario(copy))


def test_a_request_that_is_retained_is_taken_off_the_broker(world: TrustWorld) -> None:
    async def scenario() -> None:
        async with world.running(["n1"]) as bus:
            topic = topics.up("ann", "revoke", "r")
            bus.publish(Message(topic, world.list_text(), qos=1, retain=True))
            await bus.flush()
            assert (await world.ask(bus, world.list_text())).ok
            while topic in world.broker.retained():
                await bus.receive()

    asyncio.run(scenario())


def test_a_revoked_password_does_not_come_back_with_an_old_file(world: TrustWorld) -> None:
    world.directory.enrol_password("meter", now=NOW)
    folder = world.directory.node_folder("n1")
    passwords = (folder / "passwords").read_text()
    hashed = load_node(folder).passwords["meter"]
    world.directory.revoke("meter", now=NOW + timedelta(days=1))
    assert load_node(folder).lists[Kind.DEVICE].revoked == {password_serial(hashed): "meter"}
    (folder / "passwords").write_text(passwords)
    trust = load_node(folder)
    assert trust.passwords == {}
    assert trust.files["passwords"] == ""
    world.directory.enrol_password("meter", now=NOW + timedelta(days=2))
    assert list(load_node(folder).passwords) == ["meter"]


def test_a_kept_list_that_is_damaged_keeps_the_node_from_starting(world: TrustWorld) -> None:
    keeper = world.keeper("n1")
    world.directory.revoke("a1", now=NOW)
    assert keeper.take_list(world.list_text().decode(), by="a test")
    path = revoked_file(world.root / "state" / "n1" / "trust", Kind.AGENT)
    path.write_bytes(world.list_text()[:100])
    with pytest.raises(ConfigError, match="copy the newest ones"):
        world.keeper("n1")


def test_a_list_that_cannot_be_kept_is_not_in_force(world: TrustWorld) -> None:
    keeper = world.keeper("n1")
    world.directory.revoke("a1", now=NOW)
    (world.root / "state" / "n1").mkdir(parents=True)
    (world.root / "state" / "n1" / "trust").write_text("a file, and no folder")
    with pytest.raises(OSError, match="trust"):
        keeper.take_list(world.list_text().decode(), by="a test")
    assert keeper.trust.lists[Kind.AGENT].number == 1


def test_a_list_that_cannot_be_given_to_the_broker_may_be_brought_again(world: TrustWorld) -> None:
    keeper = world.keeper("n1")
    told: list[int] = []
    keeper.changed.append(lambda trust: told.append(trust.lists[Kind.AGENT].number))
    world.directory.revoke("a1", now=NOW)
    broker_folder = world.root / "state" / "n1" / "mosquitto"
    broker_folder.parent.mkdir(parents=True)
    broker_folder.write_text("a file, and no folder")
    with pytest.raises(OSError, match="mosquitto"):
        keeper.take_list(world.list_text().decode(), by="a test")
    assert told == []
    broker_folder.unlink()
    assert keeper.take_list(world.list_text().decode(), by="a test")
    assert told == [2]
    assert (broker_folder / "revoked-agent.pem").read_bytes() == world.list_text()


def test_nobody_can_tell_the_name_of_its_connection_and_end_it(world: TrustWorld) -> None:
    """Operators choose their client ids: one could keep the news of its own revocation away."""
    ids: list[str] = []

    async def came() -> None:
        arrived = asyncio.Event()

        def noted(*, address: Address, client_id: str) -> AbstractAsyncContextManager[Bus]:
            ids.append(client_id)
            arrived.set()
            return world.broker.connect(address=address, client_id=client_id)

        line = TrustLine(world.keeper("n1"), own=HERE, connect=cast("Connect", noted))
        running = asyncio.create_task(line.run())
        await asyncio.wait_for(arrived.wait(), DEADLINE_S)
        running.cancel()

    for _ in range(2):
        asyncio.run(came())
    assert len(set(ids)) == 2


def test_a_file_that_cannot_be_looked_at_does_not_end_the_look(world: TrustWorld) -> None:
    world.copy_folders()
    folder = world.root / "etc" / "n1"
    before = stamp(folder)
    (folder / "loop").symlink_to("loop")
    assert stamp(folder) == before
