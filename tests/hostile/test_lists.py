"""Goal: nobody but its authority changes a list of the revoked, and none is forgotten or evaded.

Method: a node's keeper of trust is brought what a hostile operator or node has: lists that it
signed itself, and old ones. It starts again from an old folder. Each is played twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from broker import connected, trust_keeper
from broker.connected import LINE_MAX_BYTES, Connected
from tests.hostile.twice import played_twice
from tests.unit.broker import trust_world
from tests.unit.broker.trust_world import NOW, TrustWorld, make_directory
from workrs.trust.authority import Revocation, new_authority
from workrs.trust.kind import Kind
from workrs.trust.node_folder import NodeTrust
from workrs.trust.revocation import ListRefusedError, RevocationList, read_list

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from broker.mosquitto import MosquittoProcess
    from broker.trust_keeper import TrustKeeper


@pytest.fixture
def world(tmp_path: Path) -> TrustWorld:
    return TrustWorld(tmp_path, make_directory(tmp_path / "farm"))


def is_taken(keeper: TrustKeeper, text: str) -> bool:
    try:
        return keeper.take_list(text, by="mallory")
    except ListRefusedError:
        return False


@played_twice
def test_a_list_that_mallory_signed_shuts_nobody_out(
    world: TrustWorld, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Its authority has the name of the cluster's, and its list a higher number."""
    keeper = world.keeper("n1")
    mallory = new_authority(Kind.AGENT, cluster="farm", now=NOW)
    text = mallory.revocation_list([Revocation(7, "a2", NOW)], number=9, now=NOW)
    if not control:
        believed = {**keeper.trust.authorities, Kind.AGENT: mallory.certificate}
        monkeypatch.setattr(
            trust_keeper, "read_list", lambda text, _, where: read_list(text, believed, where=where)
        )
    assert is_taken(keeper, text) == (not control)
    assert (keeper.trust.lists[Kind.AGENT].number == 9) == (not control)


@played_twice
def test_an_old_list_lets_no_revoked_member_back_in(
    world: TrustWorld, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Every operator and node has heard the older lists, and each is well signed."""
    keeper, old = world.keeper("n1"), world.list_text().decode()
    world.directory.revoke("a1", now=NOW)
    assert is_taken(keeper, world.list_text().decode())
    if not control:
        monkeypatch.setattr(trust_keeper, "newer", lambda *_: True)
        monkeypatch.setattr(NodeTrust, "with_lists", with_any)
    assert is_taken(keeper, old) == (not control)
    assert (not keeper.trust.lists[Kind.AGENT].revoked) == (not control)


@played_twice
def test_a_node_that_starts_again_from_an_old_folder_knows_who_is_revoked(
    world: TrustWorld, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    keeper = world.keeper("n1")
    world.directory.revoke("a1", now=NOW)
    assert is_taken(keeper, world.list_text().decode())
    if not control:
        monkeypatch.setattr(trust_world, "with_kept_lists", lambda trust, _: trust)
    assert bool(world.keeper("n1").trust.lists[Kind.AGENT].revoked) == control


@played_twice
def test_a_revoked_operator_whose_id_the_log_does_not_tell_is_cut_with_all_others(
    world: TrustWorld, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Its broker is ended, but for no agent's sake; without that, only told to look."""
    if not control:
        monkeypatch.setattr(connected, "LINE_MAX_BYTES", 10_000)
    broker = Broker()
    keeper = world.keeper("n1", broker=cast("MosquittoProcess", broker))
    came = f"New client connected from 10.0.0.9:1 as {'x' * 2_000} (p5, c1, k60, u'ann')."
    broker.connected.read(came[:LINE_MAX_BYTES])
    assert broker.connected.ids("ann") == []
    world.directory.enrol(Kind.OPERATOR, "ann", now=NOW)

    async def story() -> None:
        keeping = asyncio.create_task(keeper.keep())
        for name, kind in (("a1", Kind.AGENT), ("ann", Kind.OPERATOR)):
            assert not broker.ends
            world.directory.revoke(name, now=NOW)
            assert is_taken(keeper, world.list_text(kind).decode())
            async with asyncio.timeout(60):
                while keeper.in_force is not keeper.trust:  # noqa: ASYNC110 (it is told to others)
                    await asyncio.sleep(0)
        keeping.cancel()

    asyncio.run(story())
    assert (broker.ends, broker.reloads) == ((1, 1) if control else (0, 2))


def with_any(trust: NodeTrust, lists: Iterable[RevocationList]) -> NodeTrust:
    """Return a node's trust with lists whatever their numbers are."""
    return replace(trust, lists={**trust.lists, **{each.kind: each for each in lists}})


class Broker:
    """What a keeper does to its broker."""

    def __init__(self) -> None:
        self.connected = Connected()
        self.ends = 0
        self.reloads = 0

    @property
    def restarts(self) -> int:
        return self.ends

    def end(self) -> None:
        self.ends += 1

    async def wait_restarted(self, *, since: int) -> int:
        assert self.restarts > since
        return self.restarts

    async def reload(self) -> None:
        self.reloads += 1
