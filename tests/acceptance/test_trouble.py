"""Goal: what docs/operations.md says under a symptom is what an operator finds.

Method: each trouble is made with real programs; what they log, answer and print has to have the
words of the page's row. Rows that need machines with systemd or TLS are in test_operations.py and
tests/hostile.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.agreement import until
from workrs.adapters.mqtt import connect
from workrs.cli.cluster import (
    AgentPlan,
    ClusterPlan,
    LocalCluster,
    free_ports,
    local_cluster,
    wait_ready,
)
from workrs.domain.ids import JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Accepted, Record
from workrs.ports.bus import Address, Message, Subscription, read_retained
from workrs.wire import codec, topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import StartCluster

ROOT = Path(__file__).parents[2]
EVENTS = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "events.md").read_text(), re.MULTILINE))
LIMIT_S = 60.0
NODES = 3
LONG = '{"image": "none", "command": ["sleep", "600"]}'


def row(symptom: str) -> str:
    """Return the page's row of a symptom."""
    page = (ROOT / "docs" / "operations.md").read_text().partition("\n## Trouble, by symptom\n")[2]
    (found,) = [line for line in page.splitlines() if line.startswith(f"| {symptom}")]
    return found


def events(symptom: str) -> set[str]:
    """Return the events that a row says to look for."""
    found = {code for code in re.findall(r"`(\w+)`", row(symptom)) if code in EVENTS}
    assert found, symptom
    return found


def quoted(symptom: str) -> str:
    """Return the beginning of the words that the row's symptom quotes."""
    return row(symptom).split('"')[1].removesuffix("…").strip()


def logged(cluster: LocalCluster, name: str) -> str:
    return cluster.members[name].log.read_text()


def until_logged(cluster: LocalCluster, name: str, symptom: str, before: int = 0) -> str:
    """Wait until a member's log has all events of a row; return what it wrote after *before*."""
    wanted = events(symptom)
    until(
        f"{wanted} in the log of {name}",
        lambda: all(f" {key} " in logged(cluster, name)[before:] for key in wanted),
        LIMIT_S,
    )
    return logged(cluster, name)[before:]


def ask(port: int, path: str) -> tuple[int, str]:
    """Return status and text of an answer; 0 where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT_S) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()
    except (OSError, http.client.HTTPException):
        return 0, ""


def until_said(port: int, path: str, words: str) -> None:
    until(f"{words!r} at {path}", lambda: words in ask(port, path)[1], LIMIT_S)


def run(*words: str, code: int | None = None) -> str:
    """Run the program as a person does; return what it prints."""
    command = [sys.executable, "-m", "workrs.cli.main", *words]
    environ = {**os.environ, "WORKRS_CONFIG": os.devnull}
    ran = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=environ, timeout=LIMIT_S
    )
    assert code is None or ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def submit(cluster: LocalCluster, folder: Path, name: str, spec: str) -> None:
    file = folder / f"{name}.json"
    file.write_text(spec)
    run("submit", str(file), "--job", name, "--node", cluster.hosts[0], code=0)


def show(cluster: LocalCluster, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        run("show", name, "--json", "--node", cluster.hosts[0], code=0)
    )
    return found


def cancel(cluster: LocalCluster, name: str) -> None:
    run("cancel", name, "--node", cluster.hosts[0], code=0)
    until("its end", lambda: show(cluster, name)["state"] == "cancelled")


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def test_a_node_without_a_majority_says_so_and_votes_again_when_it_is_there(
    start_cluster: StartCluster, port: int
) -> None:
    cluster = start_cluster(first_node_options=("--metrics", f"127.0.0.1:{port}"))
    until_said(port, "/ready", "ok")
    for name in ("n2", "n3"):
        cluster.kill(name)
    assert "no majority" in row("nothing is *accepted*")
    until_said(port, "/ready", "it hears 1 of 3 nodes, no majority")
    # The page of the metrics and the bus are told one after the other.
    nodes = ("nodes", "--node", cluster.hosts[0])
    until("a minority", lambda: "minority" in run(*nodes), LIMIT_S)
    assert ask(port, "/health") == (200, "ok")

    before = len(logged(cluster, "n1"))
    cluster.kill("n1")
    cluster.start("n1")
    symptom = '`/ready`: "before'
    until_said(port, "/ready", quoted(symptom))
    until_logged(cluster, "n1", symptom, before)
    for name in ("n2", "n3"):
        cluster.start(name)
    until_said(port, "/ready", "ok")


def test_a_broker_that_does_not_come_back_is_found_in_the_log(
    start_cluster: StartCluster, port: int
) -> None:
    cluster = start_cluster(nodes=1, first_node_options=("--metrics", f"127.0.0.1:{port}"))
    broker = cluster.broker_pid("n1")
    cluster.kill("n1", signal.SIGSTOP)
    os.kill(broker, signal.SIGKILL)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        until("the port", lambda: bound(taken, cluster.addresses["n1"].port))
        taken.listen()
        cluster.kill("n1", signal.SIGCONT)
        until_logged(cluster, "n1", "`/health` 503, `broker_lost`")
        until("the reason", lambda: "Address already in use" in logged(cluster, "n1"), LIMIT_S)
        until("/health", lambda: ask(port, "/health")[0] == 503, LIMIT_S)
    until_said(port, "/health", "ok")


def bound(listener: socket.socket, port: int) -> bool:
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted by root")
def test_a_full_disk_is_told_and_room_is_enough(tmp_path: Path, port: int) -> None:
    at, blobs = free_ports(2)
    words = ["--name", "n1", "--listen", f"127.0.0.1:{at}", "--blobs", f"127.0.0.1:{blobs}"]
    symptom = "`/health` 503, `ledger_refused`"
    with small_disk(tmp_path / "disk") as disk, (tmp_path / "log").open("wb") as log:
        state = ["--state", str(disk / "n1"), "--metrics", f"127.0.0.1:{port}", "--init"]
        node = subprocess.Popen(
            [sys.executable, "-m", "workrs.cli.main", "node", *words, *state],
            cwd=ROOT,
            env={**os.environ, "WORKRS_CONFIG": os.devnull},
            stdout=log,
            stderr=log,
        )
        try:
            until_said(port, "/ready", "ok")
            ballast = disk / "ballast"
            with pytest.raises(OSError, match="No space"):
                ballast.write_bytes(bytes(8 << 20))
            topic = "workrs/1/up/pump-7/submit/j"
            for number in range(20):  # the ledger's file has room for some
                spec = json.dumps({"image": "none", "command": ["true"], "input": "x" * 20_000})
                pub = ["mosquitto_pub", "-p", str(at), "-i", f"pub-{number}", "-t"]
                subprocess.run([*pub, f"{topic}{number}", "-s"], input=spec, text=True, check=True)
            until("/health", lambda: ask(port, "/health")[0] == 503, LIMIT_S)
            ballast.unlink()
            until_said(port, "/ready", "ok")
            text = (tmp_path / "log").read_text
            until("the events", lambda: all(f" {key} " in text() for key in events(symptom)))
            assert events(symptom) == {"ledger_refused", "ledger_recovered"}
        finally:
            node.terminate()
            node.wait(LIMIT_S)


def test_a_silent_agent_its_job_and_one_that_nobody_can_run(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    cluster = start_cluster(nodes=1, agents=2)
    wants = '{"image": "none", "command": ["true"], "constraints": {"labels": ["gpu"]}}'
    submit(cluster, tmp_path, "gpu", wants)
    submit(cluster, tmp_path, "memory", LONG.replace("}", ', "checkpoint": {"mode": "memory"}}'))
    submit(cluster, tmp_path, "long", LONG)
    until("its start", lambda: show(cluster, "long")["state"] == "running")
    for name in ("gpu", "memory"):
        until("its turn", lambda name=name: show(cluster, name)["state"] == "queued")  # type: ignore[misc]
    agents = json.loads(run("agents", "--json", "--node", cluster.hosts[0], code=0))
    asked = row("a job stays *queued*")
    for agent in agents:
        assert "gpu" not in agent["profile"]["labels"]
        assert agent["profile"]["rung"] == "files"
    assert "labels" in asked
    assert "rung" in asked

    agent = str(show(cluster, "long")["agent"])
    cluster.kill(agent, signal.SIGSTOP)
    symptom = "an agent is *gone* and its program runs"
    until("another agent", lambda: show(cluster, "long")["agent"] not in (agent, None), LIMIT_S)
    state = str(cluster.plan.root / "n1")
    # The lease ends a ttl after its renewal, the agent is lost a ttl after its last word.
    lost = ("history", "--event", "agent_lost", "--state", state)
    until("the loss", lambda: agent in run(*lost, code=0), LIMIT_S)
    assert agent in run("agents", "--all", "--node", cluster.hosts[0], code=0)
    assert "`workrs agents --all`" in row(symptom)
    takeovers = ("export", "takeovers", "--state", state)
    until("its takeover", lambda: agent in run(*takeovers, code=0), LIMIT_S)
    assert "`workrs export takeovers`" in row("many takeovers")
    cluster.kill(agent, signal.SIGCONT)
    until("it is frozen", lambda: " warden_frozen " in logged(cluster, agent), LIMIT_S)
    for name in ("gpu", "memory", "long"):
        cancel(cluster, name)


def test_an_agent_whose_warden_hangs_or_whose_store_is_missing_says_so(
    start_cluster: StartCluster,
) -> None:
    missing = AgentPlan(name="a1", options=("--store", "file:///nowhere/workrs"))
    cluster = start_cluster(nodes=1, agent_plans=(missing,))
    until_logged(cluster, "a1", "checkpoints are missing, `store_unusable`")
    until("its beginning", lambda: " agent_running " in logged(cluster, "a1"), LIMIT_S)
    agent = cluster.members["a1"].pid
    os.kill(until("the warden", lambda: warden_of(agent), LIMIT_S), signal.SIGSTOP)
    until_logged(cluster, "a1", "an agent ends with `warden_stuck`")
    until("its end", lambda: not cluster.members["a1"].is_running(), LIMIT_S)
    cluster.start("a1")
    until("its return", lambda: logged(cluster, "a1").count(" agent_running ") == 2, LIMIT_S)


def warden_of(agent: int) -> int:
    """Return the process id of an agent's warden, 0 while there is none; others come and go."""
    for path in Path(f"/proc/{agent}/task").glob("*/children"):
        with suppress(OSError):
            for pid in path.read_text().split():
                if b"warden_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
    return 0


def test_what_a_device_sent_wrong_is_in_the_log(start_cluster: StartCluster) -> None:
    cluster = start_cluster(nodes=1, agents=0)
    topic = "workrs/1/up/pump-7/submit/j1"
    at = str(cluster.addresses["n1"].port)
    subprocess.run(["mosquitto_pub", "-p", at, "-i", "pump-7", "-t", topic, "-m", "7"], check=True)
    until("its refusal", lambda: " request_rejected " in logged(cluster, "n1"))
    assert "request_rejected" in events("a device is refused")


def test_what_has_to_be_changed_by_hand_ends_with_code_2_and_says_what(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    cluster = start_cluster(nodes=1, agents=0)
    busy = cluster.hosts[0]
    end_of_node, end_of_agent = "a node ends with code 2", "an agent ends with "
    node = ("node", "--name", "n7", "--listen", f"127.0.0.1:{free_ports(1)[0]}")
    said = run(*node, "--state", str(tmp_path / "n7"), code=2)
    assert "no ledger" in said
    assert "no ledger" in row(end_of_node)

    run("init", str(tmp_path / "farm"), "n1=127.0.0.1:21000", code=0)
    folder = tmp_path / "farm" / "nodes" / "n1"
    (folder / "node.pem").chmod(0o644)
    said = run("node", "--credential", str(folder), "--state", str(tmp_path / "s"), code=2)
    assert "chmod 600" in said
    assert "others can read" in row(end_of_node)

    agent = ("agent", "--name", "a7", "--node", busy, "--state", str(tmp_path / "a7"))
    said = run(*agent, "--engine", "unix:///nowhere.sock", code=1)  # it may yet come
    assert "of no use" in said
    assert "of no use" in row(end_of_agent + '"the engine')
    said = run(*agent, "--runtime", "process", "--metrics", busy, code=2)
    assert "cannot serve metrics at" in said
    assert "cannot serve metrics at" in row('a node or an agent ends with "cannot serve metrics')

    cluster.kill("n1", signal.SIGTERM)
    assert cluster.members["n1"].process is not None
    cluster.members["n1"].process.wait(LIMIT_S)
    words = cluster.members["n1"].argv[3:]
    said = run(*words, "--peer", "n2=127.0.0.1:1", "--peer", "n3=127.0.0.1:2", code=2)
    assert quoted('a node ends with "the list') in said
    cluster.start("n1")
    asyncio.run(wait_ready(cluster))


async def contradict(at: Address, job: JobId) -> None:
    """Show a node two votes of its peers that no sound node gives: two outcomes at one epoch."""
    async with connect(address=at, client_id="forger") as bus:
        records = Subscription(pattern=topics.node("+", "job", job))
        echo = f"{topics.ROOT}/echo/forger"
        votes: dict[str, Record] = {}
        # At one epoch: a majority of these is enough for the job to run.
        while len(votes) < NODES or len({vote.epoch for vote in votes.values()}) > 1:
            found = await read_retained(bus, records, echo_topic=echo)
            votes = {m.topic.split("/")[3]: codec.decode(Record, m.payload) for m in found}
        for node, code in (("n2", 1), ("n3", 2)):
            outcome = Outcome(verdict=Verdict.FAILED, exit_code=code)
            forged = replace(
                votes[node],
                version=votes[node].version._replace(step=10**6),
                accepted=Accepted(
                    epoch=votes[node].epoch, outcome=outcome, digest=outcome.digest()
                ),
            )
            topic = topics.record(node, job)
            bus.publish(Message(topic, codec.encode(forged), qos=1, retain=True))
        await bus.flush()


def test_votes_that_no_sound_node_gives_are_an_alarm(tmp_path: Path, port: int) -> None:
    plan = ClusterPlan(
        root=tmp_path / "cluster",
        nodes=NODES,
        agents=(AgentPlan(name="a1"),),
        first_node_options=("--metrics", f"127.0.0.1:{port}"),
    )
    with local_cluster(plan) as cluster:
        submit(cluster, tmp_path, "long", LONG)
        until("its start", lambda: show(cluster, "long")["state"] == "running")
        name = str(show(cluster, "long")["job"]).replace("/", "_")
        asyncio.run(asyncio.wait_for(contradict(cluster.addresses["n1"], JobId(name)), LIMIT_S))
        until_logged(cluster, "n1", "`protocol_violation`")
        until_said(port, "/metrics", 'workrs_events_total{event="protocol_violation"} 1')
