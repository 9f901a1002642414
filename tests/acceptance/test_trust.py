"""Goal: a cluster with credentials does all that one without does, and nobody else does anything.

Method: three real nodes with TLS and two agents, made by `workrs init` and `workrs enrol`; members
of each kind try what they may and what they may not. tests/hostile has the whole of the latter.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from device_client import Device
from tests.secure_cluster import SecureCluster, jobs, secure_cluster
from workrs.adapters.mqtt import connect
from workrs.cli.main import main
from workrs.domain.errors import BusError
from workrs.ports.bus import Address, BusDeniedError, BusUnreachableError, Message, Subscription
from workrs.trust.credential import Credential, load_credential
from workrs.trust.kind import PORT_OFFSETS, Kind
from workrs.wire import topics
from workrs.wire.topics import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["secure_cluster"]


def spec(script: str) -> dict[str, object]:
    return {"image": "none", "command": ["sh", "-c", script]}


def test_a_device_with_a_certificate_and_one_with_a_password_get_their_results(
    secure_cluster: SecureCluster,
) -> None:
    secure_cluster.enrol("device", "pump-7")
    secure_cluster.enrol("device", "meter-3", "--password")
    for name in ("pump-7", "meter-3"):
        with Device(credential=secure_cluster.file(name)) as device:
            # The nodes look for new passwords every two seconds.
            job = device.submit(spec(f"echo {name}"))
            assert device.result(job, timeout=60).text == f"{name}\n"


def test_an_operator_sees_all_jobs_submits_orders_and_cancels(
    secure_cluster: SecureCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    submit = ("submit", "--image", "none", "--command", "sleep 600", "--job", "long")
    assert secure_cluster.workrs(*submit) == 0
    capsys.readouterr()
    assert secure_cluster.workrs("jobs", "--json") == 0
    assert "ann/long" in jobs(capsys.readouterr().out)
    assert secure_cluster.workrs("cancel", "ann/long") == 0

    def is_cancelled() -> bool:
        capsys.readouterr()
        secure_cluster.workrs("jobs", "--json")
        return jobs(capsys.readouterr().out).get("ann/long", {}).get("state") == "cancelled"

    secure_cluster.until(is_cancelled)


def test_a_job_is_taken_over_when_its_agent_is_killed(
    secure_cluster: SecureCluster, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    secure_cluster.enrol("device", "pump-8")
    go = tmp_path / "go"
    with Device(credential=secure_cluster.file("pump-8")) as device:
        job = device.submit(spec(f"until [ -e {go} ]; do sleep 0.1; done; echo done"), job="moved")
        agents: list[str] = []

        def runs() -> bool:
            capsys.readouterr()
            secure_cluster.workrs("jobs", "--json")
            found = jobs(capsys.readouterr().out).get("pump-8/moved", {})
            agents[:] = [str(found.get("agent") or "")]
            return found.get("state") == "running" and agents[0] != ""

        secure_cluster.until(runs)
        secure_cluster.local.kill(agents[0], signal.SIGKILL)
        go.touch()
        assert device.result(job, timeout=60).text == "done\n"
        assert device.state(job).attempt == 2
    secure_cluster.local.start(agents[0])
    secure_cluster.until(lambda: {"a1", "a2"} <= secure_cluster.live())


FORBIDDEN = [
    ("device", topics.up("somebody", "submit", "j")),
    ("device", topics.up("{self}", "beat")),
    ("device", topics.up("{self}", "claim", "pump-7_j")),
    ("device", topics.up("{self}", "order", "o")),
    ("device", topics.down("{self}", "j")),
    ("device", topics.record("n1", "pump-7_j")),
    ("agent", topics.up("{self}", "submit", "j")),
    ("agent", topics.beat("a1")),
    ("agent", topics.up("a1", "outcome", "pump-7_j")),
    ("agent", topics.record("n1", "pump-7_j")),
    ("agent", f"{ROOT}/relay/n2/a1/beat"),
    ("operator", topics.up("pump-7", "submit", "j")),
    ("operator", topics.up("a1", "beat")),
    ("operator", topics.node("n1", "state")),
]


@pytest.mark.parametrize(("kind", "topic"), FORBIDDEN)
def test_a_forbidden_publish_is_refused_and_said_to_be(
    secure_cluster: SecureCluster, kind: str, topic: str
) -> None:
    name = f"bad-{kind}"
    known = secure_cluster.file(name).exists()
    who = secure_cluster.credential(name) if known else secure_cluster.enrol(kind, name)

    async def publish() -> None:
        async with secure_cluster.connect(who) as bus:
            bus.publish(Message(topic.replace("{self}", name), b"x"))
            with pytest.raises(BusDeniedError, match="not authorized"):
                await bus.flush()

    asyncio.run(publish())


def test_a_wildcard_shows_a_device_and_an_agent_nothing_of_others(
    secure_cluster: SecureCluster,
) -> None:
    curious = [secure_cluster.enrol("device", "nosy-d"), secure_cluster.enrol("agent", "nosy-a")]
    ann = secure_cluster.credential("ann")

    async def look() -> None:
        for who in curious:
            async with secure_cluster.connect(who) as bus, secure_cluster.connect(ann) as sender:
                await bus.subscribe(Subscription(pattern="#"))
                sender.publish(Message(topics.up("ann", "submit", "secret"), b"{}"))
                await sender.flush()
                heard: set[str] = set()
                try:
                    async with asyncio.timeout(1.5):
                        while True:
                            heard |= {message.topic for message in await bus.receive()}
                except TimeoutError:
                    pass
                own = {"state"} if who.kind is Kind.DEVICE else {"job", "terms"}
                assert {topic.split("/")[4] for topic in heard} <= own, heard

    asyncio.run(look())


def test_who_has_no_right_credential_is_not_let_in_and_is_told_why(
    secure_cluster: SecureCluster,
) -> None:
    agent = secure_cluster.credential("a1")
    first = secure_cluster.local.addresses["n1"]

    async def refused(port: int, match: str) -> None:
        at = Address(host=first.host, port=port)
        with pytest.raises(BusUnreachableError, match=match):
            async with connect(address=at, client_id="x", tls=agent.client_context()):
                pass

    for kind in (Kind.DEVICE, Kind.OPERATOR, Kind.NODE):
        port = first.port + PORT_OFFSETS[kind]
        asyncio.run(refused(port, "another kind of member|before it let this member in"))


async def stay(
    cluster: SecureCluster, who: Credential, came: asyncio.Event, *, client_id: str = ""
) -> str:
    """Connect, again until it works; set *came*, and return why the connection ended."""
    while True:  # a new password takes a moment to get to the nodes
        try:
            # Operators choose their ids; the others' is their name, whatever they say.
            async with cluster.connect(who, client_id=client_id or f"{who.name}-7") as bus:
                came.set()
                await bus.receive()
        except BusError as error:
            if came.is_set():
                return str(error)
        await asyncio.sleep(0.1)


def test_a_revoked_member_is_cut_off_and_let_in_no_more(secure_cluster: SecureCluster) -> None:
    gone = [secure_cluster.enrol("agent", "gone-a"), secure_cluster.enrol("operator", "gone-o")]
    gone.append(secure_cluster.enrol("device", "gone-d", "--password"))
    gone.append(secure_cluster.enrol("operator", "gone-p"))
    # Longer than a line of the broker's log, which therefore does not tell it.
    ids = {"gone-p": "p" * 2_000}
    other = secure_cluster.enrol("agent", "stays")

    async def cut_off(who: Credential) -> None:
        came, other_came = asyncio.Event(), asyncio.Event()
        async with asyncio.timeout(120), asyncio.TaskGroup() as both:
            staying = both.create_task(stay(secure_cluster, other, other_came))
            client_id = ids.get(who.name, "")
            ending = both.create_task(stay(secure_cluster, who, came, client_id=client_id))
            await came.wait()
            await other_came.wait()
            words = ("revoke", who.name, "--cluster", str(secure_cluster.folder))
            assert await asyncio.to_thread(main, words) == 0
            await ending
            if who.name not in ids:  # there the broker has ended, with all connections
                assert not staying.done()
            staying.cancel()

    async def enter(who: Credential) -> None:
        async with secure_cluster.connect(who):
            pass

    for who in gone:
        copy = secure_cluster.folder / f"{who.name}.copy"
        copy.write_bytes(who.path.read_bytes())
        copy.chmod(0o600)
        asyncio.run(cut_off(who))
        with pytest.raises(BusError):
            asyncio.run(enter(load_credential(copy)))


def test_everything_secret_is_for_its_owner_alone(secure_cluster: SecureCluster) -> None:
    paths = [*secure_cluster.folder.rglob("*")]
    paths += (secure_cluster.local.plan.root / "n1" / "mosquitto").rglob("*")
    open_to_others = [
        path for path in paths if not path.is_socket() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert len(paths) > 60
    assert open_to_others == []


def test_mosquitto_pub_takes_the_one_file(secure_cluster: SecureCluster) -> None:
    who = secure_cluster.enrol("device", "pump-9")
    at, file = who.nodes[0], str(who.path)
    words = ["mosquitto_pub", "-h", at.host, "-p", str(at.port), "-q", "1", "-V", "5"]
    words += ["--cafile", file, "--cert", file, "--key", file]
    words += ["-t", topics.up("pump-9", "submit", "from-shell"), "-m"]
    sent = '{"image": "none", "command": ["echo", "hello"]}'
    subprocess.run([*words, sent], check=True, env={**os.environ}, timeout=60)
    with Device(credential=who.path) as device:
        assert device.result("from-shell", timeout=60).text == "hello\n"
