"""Goal: keys, passwords and what jobs carry are in no log, page or picture, and in no open file.

Method: the text that a part would write, searched for a secret; modes of files made under a umask
that takes nothing away. Each is played twice (tests/hostile/twice.py). What whole clusters write
is searched in tests/acceptance/test_secrets.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker import ledger_file, reader
from broker.metrics import NodeMetrics
from edge_agent.checkpoint import keys
from tests.hostile.junk import SECRET
from tests.hostile.members import NOW, cluster, make_cluster
from tests.hostile.members import Cluster as Members
from tests.hostile.twice import played_twice
from tests.unit.broker.cluster import Agent, Cluster
from workrs.adapters import log, metric
from workrs.cli import agent, node
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address, Message
from workrs.testing.bus import MemoryBroker
from workrs.trust.cluster_directory import create
from workrs.trust.credential import Endpoint, load_credential
from workrs.trust.register import Register
from workrs.wire import codec, topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import ValidationError

    from workrs.cli.options import Options

__all__ = ["cluster"]  # a fixture is found by its name in the module

AT = Address(host="127.0.0.1", port=1)
CARRYING = {
    "up/pump/submit/j1": {"v": 1, "image": SECRET, "cpus": SECRET},
    "up/pump/submit/j2": {"v": 1, "image": "a", "command": SECRET},
    "up/pump/submit/j3": {"v": 1, "image": "a", "command": ["x"], "input_b64": SECRET},
    "up/pump/submit/j4": {"v": 1, "image": "a", "command": ["x"], "env": {"A": [SECRET]}},
    "up/a1/beat": {"incarnation": [1, "a"], "profile": SECRET},
    "up/a1/claim/pump_j1": {"incarnation": SECRET, "epoch": 1},
    "up/a1/outcome/pump_j1": {"incarnation": [1, "a"], "epoch": 1, "outcome": SECRET},
    "up/op/order/o1": {"order": SECRET},
    "node/n2/job/pump_j1": {"job": "pump_j1", "epoch": SECRET},
}


def with_input(error: ValidationError) -> str:
    """Explain an error as pydantic would, with the value that it found."""
    return str(error)


@played_twice
def test_what_is_refused_is_logged_without_what_it_carried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, control: bool
) -> None:
    if not control:
        monkeypatch.setattr(codec, "_explain", with_input)
    cluster = Cluster(1)

    async def story() -> None:
        async with MemoryBroker().connect(address=AT, client_id="n1") as bus:
            for topic, body in CARRYING.items():
                said = Message(f"{topics.ROOT}/{topic}", json.dumps(body).encode())
                cluster.handle("n1", reader.read(cluster.nodes["n1"], bus, [said], LOG))

    with caplog.at_level(logging.DEBUG):
        asyncio.run(story())
    told = [record.getMessage() for record in caplog.records]
    told += [str(fact) for _, fact in cluster.facts]
    assert len(told) >= len(CARRYING)
    assert any(SECRET in line for line in told) is not control


LOG = log.get("test")


@played_twice
def test_a_line_of_the_log_stays_one_line_and_gives_a_terminal_no_orders(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, control: bool
) -> None:
    """Whatever name a client chose: no line of its own, no escape, nothing read backwards."""
    if not control:
        monkeypatch.setattr(log, "_quote", str)
    evil = "x\n2026 job_lost job=all \x1b[2J \x9b31m \u202e \u2028 \x7f é"
    with caplog.at_level(logging.INFO):
        LOG.event("dropped", topic=evil)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable() is control


@pytest.fixture
def open_handed() -> Iterator[None]:
    """Make files as a process does that takes no rights away."""
    before = os.umask(0)
    yield
    os.umask(before)


def is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def giving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every file as if no mode had been given."""
    made = os.open

    def open_for_all(path: object, flags: int, mode: int = 0o777, **rest: Any) -> int:
        return made(path, flags, 0o666 if mode == 0o600 else mode, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_for_all)


@played_twice
@pytest.mark.usefixtures("open_handed")
def test_a_ledger_is_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """With its log and its index, which SQLite makes."""
    if not control:
        giving(monkeypatch)
    path = tmp_path / "state" / "ledger.db"
    ledger_file.create(path)
    with contextlib.closing(ledger_file.connect(path)) as database:
        database.execute("UPDATE meta SET value = 7 WHERE key = 'boot'")
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["ledger.db", "ledger.db-shm", "ledger.db-wal"]
        assert {is_open(file) for file in files} == {not control}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@played_twice
@pytest.mark.usefixtures("open_handed")
def test_keys_are_written_for_their_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    if not control:
        giving(monkeypatch)
    path = tmp_path / "checkpoint.key"
    keys.write_keys(path, keys.new_ring())
    register = Register(cluster="plant", nodes=(Endpoint("n1", "127.0.0.1", 8883),))
    folder = create(tmp_path / "farm", register, now=NOW).path
    found = [path, *(file for file in folder.rglob("*") if file.is_file())]
    assert len(found) > 15
    assert {is_open(file) for file in found} == {not control}


@played_twice
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, *, control: bool) -> None:
    """The control is the mode: for its owner alone, the same files are taken."""
    path = tmp_path / "checkpoint.key"
    keys.write_keys(path, keys.new_ring())
    file = make_cluster(tmp_path / "cluster").members["a1"].path
    for each in (path, file):
        each.chmod(0o640 if control else 0o600)
    refused = pytest.raises(ConfigError, match="chmod 600") if control else nullcontext()
    with refused:
        keys.read_keys(path)
    with refused:
        load_credential(file)


def test_nothing_that_is_printed_shows_a_password_or_a_key(cluster: Members) -> None:
    """Of what a traceback or a line of a debugger would show."""
    ring = keys.new_ring()
    sensor, trust = cluster.members["sensor"], cluster.trust()
    shown = f"{sensor!r} {trust!r} {ring!r}"
    assert sensor.password
    assert sensor.password not in shown
    assert ring.keys[0].secret.hex() not in shown
    assert repr(ring.keys[0].secret) not in shown
    assert "PRIVATE KEY" in trust.files["node.pem"]
    assert "PRIVATE KEY" not in shown
    assert trust.passwords["sensor"] not in shown


def test_no_page_for_machines_names_a_job_or_shows_what_it_carries(tmp_path: Path) -> None:
    """`/metrics`, `/health` and `/ready` ask nobody who it is."""
    cluster = Cluster(1)
    cluster.submit("n1", device=SECRET, env={"TOKEN": SECRET}, input=SECRET)
    Agent(cluster, name=f"a-{SECRET}").beat()
    page = NodeMetrics(cluster.nodes["n1"], tmp_path / "ledger.db", lambda: cluster.now)
    text = metric.render([*page.metrics(), *metric.of_process()]) + page.health() + page.ready()
    assert "workrs_jobs_open" in text
    assert SECRET not in text


@pytest.mark.parametrize("options", [node.options, agent.options], ids=["node", "agent"])
def test_the_pages_for_machines_are_nowhere_unless_asked_for(
    options: Callable[[], Options],
) -> None:
    asked = options().parse((), environ={}, home=Path("/nonexistent"))
    assert asked.metrics is None
