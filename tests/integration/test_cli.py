"""The `workrs` command against a real node: every subcommand, its output and its exit code.

One node runs as its own process for the whole module. Jobs are ended by an agent of a few
lines that runs nothing: it claims what it is offered and proposes an outcome at once.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mosquitto_fixture import HOST, free_port
from workrs.adapters.mqtt import connect
from workrs.domain.dispatch import AgentProfile
from workrs.domain.job import Outcome, StoredSpec, Verdict, outcome_with_result
from workrs.domain.record import Incarnation, Record
from workrs.engine.own import missing, own_engines
from workrs.ports.bus import Address, Bus, Message, Subscription
from workrs.wire import codec, topics
from workrs.wire.message import Beat, Claim, Held, Offer, Order, OutcomeProposal

ROOT = Path(__file__).parents[2]
AGENT = "instant-1"
BINARY = bytes(range(256)) * 4


def run(*words: str, given: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "workrs.cli.main", *words],
        check=False,
        capture_output=True,
        input=given,
        timeout=40,
        cwd=ROOT,
        env={**os.environ, **environ},
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield HOST:PORT of a running node."""
    state = tmp_path_factory.mktemp("n1")
    at = f"{HOST}:{free_port()}"
    words = ["node", "--name", "n1", "--listen", at, "--blobs", f"{HOST}:{free_port()}"]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workrs.cli.main", *words, "--state", state, "--init"],
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )
    try:
        pause = threading.Event()
        for _ in range(200):
            if run("jobs", "--node", at).returncode == 0:
                break
            assert process.poll() is None, (state / "log").read_text()
            pause.wait(0.05)
        yield at
        assert process.poll() is None, (state / "log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (state / "log").read_text()


class InstantAgent:
    """Claims what it is offered; the outcome is the job's own input, or what its name says."""

    starts = itertools.count(1)

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.incarnation = Incarnation(next(self.starts), "ab" * 8)
        self.stored: dict[str, StoredSpec] = {}
        self.counter = 0
        self.ordered = 0

    async def work(self) -> None:
        mine = [Subscription(pattern=topics.node("+", kind, AGENT)) for kind in ("offer", "order")]
        await self.bus.subscribe(*mine, Subscription(pattern=topics.node("+", "job", "#")))
        self.beat()
        while True:
            for message in await self.bus.receive():
                found = topics.parse_node(message.topic)
                if found and found.kind == "offer":
                    self.claim(codec.decode(Offer, message.payload))
                elif found and found.kind == "order":
                    # Odd numbers drain: see docs/protocol.md, "Orders".
                    self.ordered = max(self.ordered, codec.decode(Order, message.payload).number)
                    self.beat()
                elif found and found.kind == "job" and message.payload:
                    self.propose(codec.decode(Record, message.payload))

    def beat(self, *held: Held) -> None:
        self.counter += 1
        draining = self.ordered % 2 == 1
        profile = AgentProfile(slots=8, arch="amd64", memory_mb=1024, cpus=2.0, draining=draining)
        beat = Beat(
            incarnation=self.incarnation,
            connection=1,
            counter=self.counter,
            held=held,
            profile=profile,
            ordered=self.ordered,
        )
        self.bus.publish(Message(topics.beat(AGENT), codec.encode(beat)))

    def claim(self, offer: Offer) -> None:
        self.stored[offer.job] = offer.stored
        claim = Claim(incarnation=self.incarnation, epoch=offer.epoch, digest=offer.digest)
        self.bus.publish(Message(topics.up(AGENT, "claim", offer.job), codec.encode(claim)))

    def propose(self, record: Record) -> None:
        stored = self.stored.get(record.job)
        mine = record.holder and record.holder.incarnation == self.incarnation
        if stored is None or not mine or record.accepted or record.decided:
            return
        if stored.spec.image == "fails":
            value = Outcome(verdict=Verdict.FAILED, exit_code=3, reason="exit 3: no such thing")
        else:
            data = stored.spec.input_bytes() or b""
            value = outcome_with_result(Verdict.SUCCEEDED, data, exit_code=0)
        self.beat(Held(record.job, record.epoch, 1))
        proposal = OutcomeProposal(incarnation=self.incarnation, epoch=record.epoch, outcome=value)
        self.bus.publish(Message(topics.up(AGENT, "outcome", record.job), codec.encode(proposal)))


@contextmanager
def agent(at: str) -> Iterator[None]:
    """Run an agent in a thread of its own while the context lasts."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    host, _, port = at.rpartition(":")

    async def live() -> None:
        address = Address(host=host, port=int(port))
        async with connect(address=address, client_id=AGENT) as bus:
            ready.set()
            await InstantAgent(bus).work()

    task = loop.create_task(live())

    def serve() -> None:
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


def told(done: subprocess.CompletedProcess[bytes]) -> str:
    text = done.stderr.decode()
    assert "Traceback" not in text, text
    return text


def test_a_job_from_submit_to_result(node: str) -> None:
    spec = {"image": "echo", "command": ["x"], "input": "hello\n"}
    with agent(node):
        done = run(
            *("submit", "-", "--device", "pump-7", "--job", "hello", "--node", node),
            *("--wait", "--timeout", "20"),
            given=json.dumps(spec).encode(),
        )
    assert (done.returncode, done.stdout) == (0, b"hello\n"), told(done)
    assert "pump-7/hello succeeded" in told(done)
    again = run("result", "hello", "--node", node)
    assert (again.returncode, again.stdout) == (0, b"hello\n")


def test_the_bytes_of_a_result_are_untouched(node: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(BINARY)
    with agent(node):
        words = ("--image", "echo", "--command", "x", "--input", f"{tmp_path}/data")
        done = run("submit", *words, "--node", node, "--device", "pump-7", "--job", "bytes")
        assert (done.returncode, done.stdout) == (0, b"pump-7/bytes\n"), told(done)
        found = run("result", "bytes", "--wait", "--timeout", "20", "--node", node)
    assert (found.returncode, found.stdout) == (0, BINARY), told(found)
    saved = run("result", "bytes", "--output", f"{tmp_path}/out", "--json", "--node", node)
    assert (tmp_path / "out").read_bytes() == BINARY
    assert json.loads(saved.stdout)["result_bytes"] == len(BINARY)


def test_a_job_that_failed_ends_with_1_and_its_reason(node: str) -> None:
    words = ("--image", "fails", "--command", "x", "--device", "pump-7", "--job", "bad")
    with agent(node):
        done = run("submit", *words, "--wait", "--timeout", "20", "--node", node)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "exit 3: no such thing" in told(done)
    again = run("result", "pump-7/bad", "--node", node)
    assert again.returncode == 1
    assert "exit 3: no such thing" in told(again)


def test_a_job_without_an_agent_is_queued_shown_and_cancelled(node: str) -> None:
    words = ("--image", "echo", "--command", "sh -c x", "--label", "nobody-has-this")
    done = run("submit", *words, "--device", "pump-8", "--job", "wait", "--node", node, "--json")
    assert json.loads(done.stdout) == {"job": "pump-8/wait", "state": "accepted"}, told(done)
    listed = json.loads(
        run("jobs", "--device", "pump-8", "--open", "--json", "--node", node).stdout
    )
    assert [(job["job"], job["state"]) for job in listed] == [("pump-8/wait", "queued")]
    shown = run("show", "wait", "--node", node).stdout.decode()
    assert '["sh", "-c", "x"]' in shown
    assert "nobody-has-this" in shown
    late = run("result", "wait", "--node", node)
    assert late.returncode == 1
    assert "is queued" in told(late)
    never = run("result", "wait", "--wait", "--timeout", "0.5", "--node", node)
    assert never.returncode == 4
    cancelled = run("cancel", "pump-8/wait", "--node", node)
    assert (cancelled.returncode, cancelled.stdout) == (0, b"pump-8/wait is being cancelled\n")
    ended = run("result", "wait", "--wait", "--timeout", "20", "--node", node)
    assert ended.returncode == 1
    assert "cancelled" in told(ended)
    again = run("cancel", "wait", "--node", node)
    assert (again.returncode, again.stdout) == (0, b"pump-8/wait has ended already: cancelled\n")


def test_agents_and_drain(node: str) -> None:
    with agent(node):
        for words, state in (("drain", "--wait"), "draining"), (("undrain",), "live"):
            done = run(*words, AGENT, "--json", "--node", node)
            assert json.loads(done.stdout)["ok"], told(done)
            (one,) = json.loads(run("agents", "--json", "--node", node).stdout)
            assert (one["agent"], one["state"], one["profile"]["slots"]) == (AGENT, state, 8)
        assert AGENT in run("agents", "--node", node).stdout.decode()
    nobody = run("drain", "nobody", "--node", node)
    assert nobody.returncode == 1
    assert "nobody" in told(nobody)


def test_refusals_are_told_with_their_reason(node: str) -> None:
    words = ("submit", "--image", "echo", "--device", "pump-9", "--node", node)
    first = run(*words, "--command", "x", "--job", "once")
    assert first.returncode == 0, told(first)
    assert run(*words, "--command", "x", "--job", "once").returncode == 0
    other = run(*words, "--command", "y", "--job", "once")
    assert other.returncode == 1
    assert "used before" in told(other)
    empty = run(*words, "--job", "empty")
    assert empty.returncode == 1
    assert "command is empty" in told(empty)
    unknown = run("submit", "--function", "nope", "--device", "pump-9", "--node", node)
    assert unknown.returncode == 1
    assert "nope" in told(unknown)


def test_not_found_wrong_use_and_nobody_there(node: str) -> None:
    assert run("show", "no-such-job", "--node", node).returncode == 1
    assert run("show", "pump-7/hel lo", "--node", node).returncode == 2
    assert run("show", "--node", node).returncode == 2
    assert run("jobs", WORKRS_NODES="not an address:x").returncode == 2
    nobody = f"{HOST}:{free_port()}"
    for words in (("jobs",), ("cancel", "x"), ("result", "x"), ("drain", "a"), ("agents",)):
        done = run(*words, "--node", nobody)
        assert done.returncode == 3, words
        assert nobody in told(done)
    done = run("submit", "--image", "x", "--command", "y", "--node", nobody)
    assert done.returncode == 3
    assert nobody in told(done)


def test_the_next_node_is_asked_when_one_is_silent(node: str) -> None:
    done = run("jobs", "--node", f"{HOST}:{free_port()}", "--node", node)
    assert done.returncode == 0, told(done)
    assert run("jobs", WORKRS_NODES=f"{HOST}:1,{node}").returncode == 0


def test_a_node_without_a_ledger_says_what_to_type(tmp_path: Path) -> None:
    words = ("--listen", f"{HOST}:{free_port()}", "--blobs", f"{HOST}:{free_port()}")
    done = run("node", "--name", "n9", *words, "--state", str(tmp_path / "n9"))
    assert done.returncode == 2
    assert "workrs node --init" in told(done)


def test_ctrl_c_ends_a_wait_quietly(node: str) -> None:
    words = ("--image", "echo", "--command", "x", "--label", "nobody-has-this")
    assert run("submit", *words, "--device", "pump-5", "--job", "c", "--node", node).returncode == 0
    program = [sys.executable, "-m", "workrs.cli.main", "submit", *words, "--node", node]
    waiting = subprocess.Popen(
        [*program, "--device", "pump-5", "--job", "c", "--wait"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert waiting.stderr is not None
    assert b"pump-5/c" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    _, text = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert b"Traceback" not in text


def test_doctor_judges_machine_and_rungs() -> None:
    done = run("doctor", "--skip-own", "--engine", "unix:///nowhere/docker.sock", "--json")
    assert done.returncode == 0, told(done)
    found = json.loads(done.stdout)
    assert {"mosquitto", "criu", "root"} <= {one["name"] for one in found["findings"]}
    silent = found["rungs"]["engine unix:///nowhere/docker.sock"]
    assert [one["ok"] for one in silent] == [False, False, True]
    assert "does not answer" in silent[0]["why"]
    plain = run("doctor", "--skip-own")
    assert b"checkpoints, no engine: plain processes:" in plain.stdout


@pytest.mark.engine
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_image_build_loads_an_image_once(tmp_path: Path) -> None:
    with own_engines(1, tmp_path) as (engine,):
        words = ("image", "build", "--engine", engine.url)
        first = json.loads(run(*words, "--json").stdout)
        assert first["loaded"] == [engine.url]
        assert first["image_id"].startswith("sha256:")
        again = run(*words)
        assert again.stdout.decode().strip() == first["tag"]
        assert "there already" in told(again)
        lacking = run(*words, "--package", "no-such-package-here")
        assert lacking.returncode == 1
        assert "no-such-package-here" in told(lacking)
