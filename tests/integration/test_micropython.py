"""Goal: the client for boards does what docs/micropython.md says, through brokers that die.

Method: the real MicroPython runs each program against a real Mosquitto with a scripted node
beside it; brokers are ended with SIGKILL and SIGSTOP, and nothing here waits without a limit.
"""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration.device_peer import Broker, ScriptedNode, accept, ignore
from tests.micropython_fixture import LONELY, Board

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD = f"""
import sys, time
import workrs
{LONELY}
fed, longest, last = 0, 0, lonely_ms()
def feed():
    global fed, longest, last
    now = lonely_ms()
    fed, longest, last = fed + 1, max(longest, now - last), now
def make(answer_timeout_s=5, **more):
    return workrs.Device("pump-7", sys.argv[1].split(","), feed=feed,
                         answer_timeout_s=answer_timeout_s, **more)
def show(device, job):
    try:
        print(device.result(job, 50))
    except workrs.JobError as error:
        print(*error.args)
SPEC = {{"image": "img", "command": ["x"], "input": "abc"}}
"""


def board(program: str, folder: Path, *brokers: Broker) -> Board:
    return Board(HEAD + program, ",".join(each.address for each in brokers), folder=folder)


def test_every_call_does_what_it_says(broker: Broker, node: ScriptedNode, tmp_path: Path) -> None:
    program = """
device = make()
job = device.run("reverse", b"\\x00\\xff1")
print(device.accepted(job), device.jobs() == [job])
show(device, job)
show(device, device.submit(SPEC, job="mine"))
show(device, device.submit('{"image": "i", "command": ["x"], "input": "text"}'))
print(device.jobs(), device.poll(), device.trouble)
device.close()
"""
    with board(program, tmp_path, broker) as run:
        lines = run.output()
    assert lines == ["True True", r"b'1\xff\x00'", "b'cba'", "b'txet'", "[] True "]
    assert not node.conflicts
    assert node.jobs["pump-7", "mine"].startswith(b"submit//{")


def test_ends_that_are_no_success_are_told_with_their_reason(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    def answer(peer: ScriptedNode, device: str, job: str, _payload: bytes) -> None:
        match job:
            case "refused":
                peer.say(device, job, "rejected", retain=False, reason="no such function")
            case "plain":
                peer.say_plain(device, job, "state", b"failed " + b"y" * 3_000)
            case "long":
                peer.say(device, job, "failed", exit_code=1, reason="x" * 4_000)
            case "busy" if ("pump-7", "busy") not in peer.heard[:-1]:
                line = b"rejected retry_after_s=3 n1 is full"
                peer.publish(f"workrs/1/down/{device}/{job}/state", line, retain=False)
            case "busy":
                peer.say_plain(device, job, "state", b"failed a second time")
            case "gone":
                peer.say_plain(device, job, "state", b"succeeded but it is no longer kept")
            case "later" if ("pump-7", "later") not in peer.heard[:-1]:
                peer.say(device, job, "rejected", retain=False, reason="full", retry_after_s=0.2)
            case "later":
                peer.say(device, job, "succeeded", result_b64="AAE=")
            case _:
                peer.say(device, job, "failed", exit_code=3, reason="three attempts")

    node.on_job = answer
    program = """
device = make()
for job in ("refused", "failed", "long"):
    show(device, device.submit(SPEC, job=job))
device.run("f", b"1", job="plain")
try:
    device.result("plain", 50)
except workrs.JobError as error:
    print(error.args[1], error.args[2][:3])
show(device, device.submit(SPEC, job="later"))
show(device, device.run("f", b"1", "gone"))
busy = device.run("f", b"1", "busy")
while not device.state(busy)[2]:
    device.poll(0.1)
print(device.state(busy))
show(device, busy)
"""
    with board(program, tmp_path, broker) as run:
        assert run.output() == [
            "refused rejected no such function",
            "failed failed three attempts",
            "long failed longer than packet_max_bytes",
            "failed yyy",
            r"b'\x00\x01'",
            "gone succeeded but it is no longer kept",
            "('kept', None, 'n1 is full')",
            "busy failed a second time",
        ]


def test_what_cannot_be_sent_is_refused_at_once(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    node.on_job = accept
    program = """
device = make(jobs_max=1)
def refused(call, *arguments):
    try:
        call(*arguments)
    except (ValueError, RuntimeError) as error:
        print(type(error).__name__, error)
refused(device.run, "f", b"", "a/b")
refused(device.run, "f", b"", "#")
refused(device.run, "F", b"")
refused(device.run, "f", b"x" * 32769)
print(device.run("f", b"1", "one"), device.run("f", b"1", "one"))
refused(device.run, "f", b"2", "one")
refused(device.run, "f", b"2", "two")
"""
    with board(program, tmp_path, broker) as run:
        assert run.output() == [
            "ValueError name a/b",
            "ValueError name #",
            "ValueError name F",
            "ValueError above 32768 bytes",
            "one one",
            "ValueError one is another job",
            "RuntimeError jobs_max",
        ]


def test_a_cancel_follows_acceptance_and_ends_the_wait(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    node.on_job = accept
    program = """
device = make()
job = device.submit(SPEC, job="one")
device.cancel(job)
show(device, job)
print(device.state(device.submit(SPEC, job="two")))
print(device.accepted("two"))
while device.state("two")[0] != "running":
    device.poll(0.1)
print(device.state("two"))
device.cancel("two")
while device.state("two")[0] != "cancelled":
    device.poll(0.1)
print(device.state("two"))
"""
    with board(program, tmp_path, broker) as run:
        assert run.output() == [
            "one cancelled its device asked for it",
            "('kept', None, '')",
            "True",
            "('running', 0.25, '')",
            "('cancelled', 0.25, 'its device asked for it')",
        ]
    assert node.cancelled == {"one", "two"}


@pytest.mark.parametrize("first", ["out", "state"])
@pytest.mark.parametrize("result_bytes", [0, 1, 600, 30_000])
def test_results_of_all_sizes(
    broker: Broker, node: ScriptedNode, tmp_path: Path, first: str, result_bytes: int
) -> None:
    def answer(peer: ScriptedNode, device: str, job: str, payload: bytes) -> None:
        said = [("out", b"7" * int(payload)), ("state", b"succeeded")]
        for tail, text in said if first == "out" else reversed(said):
            peer.say_plain(device, job, tail, text)

    node.on_job = answer
    program = f"""
for packet_max_bytes in (768, 32900):
    # Nothing is what there is, unless something comes in this time.
    device = make({1 if result_bytes == 0 else 20}, packet_max_bytes=packet_max_bytes)
    job = device.run("f", b"{result_bytes}")
    try:
        print(len(device.result(job, 50)))
    except workrs.JobError as error:
        print(error.args[2])
    device.close()
"""
    with board(program, tmp_path, broker) as run:
        small = "longer than packet_max_bytes" if result_bytes > 700 else str(result_bytes)
        assert run.output() == [small, str(result_bytes)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("when", ["before it is asked", "before the answer", "after acceptance"])
def test_a_lost_broker_costs_a_step_to_the_next(
    make_broker: Callable[..., Broker], tmp_path: Path, number: signal.Signals, when: str
) -> None:
    first, second = make_broker(), make_broker()
    program = """
device = make(answer_timeout_s=1, keepalive_s=1)
while not device.poll(0.1):
    pass
print("connected")
if len(sys.argv) > 2:
    device.accepted(device.run("reverse", b"123", "job"), 0.5)
    print("sent")
sys.stdin.readline()
since = last = lonely_ms()
show(device, device.run("reverse", b"123", "job"))
# Within 10 s, after which the job would be asked about, and the node left for its silence then.
print(longest < 700, fed > 5, lonely_ms() - since < 9000)
"""
    with ScriptedNode(first) as lost, ScriptedNode(second) as node:
        lost.on_job = accept if when == "after acceptance" else ignore
        words = [] if when == "before it is asked" else ["now"]
        run = Board(
            HEAD + program, f"{first.address},{second.address}", *words, folder=tmp_path, feeds=True
        )
        with run:
            run.wait_for("sent" if words else "connected")
            first.send(number)
            run.press_enter()
            lines = run.output()
        assert lines[-2:] == ["b'321'", "True True True"]
        assert node.jobs["pump-7", "job"] == b"run/reverse/123"
        assert not node.conflicts


def test_a_silent_node_is_left_and_the_job_is_the_same_at_the_next(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    first, second = make_broker(), make_broker()
    with ScriptedNode(first) as silent, ScriptedNode(second) as node:
        silent.on_job = ignore
        program = 'd = make(3)\nshow(d, d.submit(SPEC, job="a"))\nprint(d.trouble[-9:])'
        with board(program, tmp_path, first, second) as run:
            assert run.output() == ["b'cba'", "no answer"]
        assert silent.jobs["pump-7", "a"] == node.jobs["pump-7", "a"]


def test_a_node_without_a_majority_is_left_while_others_are_untried(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    first, second = make_broker(), make_broker()
    with ScriptedNode(first) as minority, ScriptedNode(second):
        minority.on_job = lambda peer, device, job, _: peer.say_plain(
            device, job, "state", b"waiting for 2 of 3"
        )
        program = 'd = make()\nshow(d, d.run("f", b"12"))\nprint(d.trouble[-8:])'
        with board(program, tmp_path, first, second) as run:
            assert run.output() == ["b'21'", "minority"]


def test_an_idle_device_pings_and_stays(broker: Broker, tmp_path: Path) -> None:
    """The broker ends a connection after 4.5 s of silence."""
    with board("d = make(keepalive_s=3)\nprint(d.poll(10), d.trouble)", tmp_path, broker) as run:
        assert run.output() == ["True "]


def test_repeats_and_words_of_older_jobs_change_nothing(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    node.say_plain("pump-7", "job", "out", b"old")
    node.say_plain("pump-7", "job", "state", b"succeeded")
    node.say_surely("pump-7", "other", "succeeded", result="old")

    def answer(peer: ScriptedNode, device: str, job: str, payload: bytes) -> None:
        for _ in range(3):
            peer.say_plain(device, job, "out", payload)
            peer.say_plain(device, job, "state", b"succeeded")
        for junk in (b"", b"running x", b"\xff\xfe", b"dancing"):
            peer.say_plain(device, job, "state", junk)

    node.on_job = answer
    program = """
device = make()
for text in (b"new", b"new", b"newer"):
    show(device, device.run("f", text, "job"))
    show(device, device.run("f", b"last"))
show(device, "other")
"""
    # Whoever has the answer to a later job has had all repeats before it: one connection says
    # both. Without that, live repeats of "new" could still answer its successor of the same id.
    with board(program, tmp_path, broker) as run:
        told = [line for line in run.output() if line != "b'last'"]
    assert told == ["b'new'", "b'new'", "b'newer'", "b'old'"]


def test_a_loss_of_power_loses_no_job(
    make_broker: Callable[..., Broker], broker: Broker, tmp_path: Path
) -> None:
    program = """
device = make(outbox="jobs")
device.run("reverse", b"123", "one")
device.submit(SPEC, job="two")
print("kept")
device.result("one", None)
"""
    dead = make_broker()
    dead.kill()
    with board(program, tmp_path, dead) as run:
        run.wait_for("kept")
    box = tmp_path / "jobs"
    whole = box.read_bytes()
    resumed = """
device = make(outbox="jobs")
for job in sorted(device.jobs()):
    show(device, job)
"""
    with ScriptedNode(broker) as node:
        for torn in (b"", b"S", whole[:-1], whole[3:], b"\xff" * 40):
            node.jobs.clear()
            box.write_bytes(whole + torn)
            with board(resumed, tmp_path, broker) as run:
                assert run.output() == ["b'321'", "b'cba'"], torn
            assert box.read_bytes() == b"", "what ended is not kept"
        # Power was lost between the two steps that FAT needs to put a file in another's place.
        box.unlink()
        (tmp_path / "jobs.new").write_bytes(whole)
        with board(resumed, tmp_path, broker) as run:
            assert run.output() == ["b'321'", "b'cba'"]


def test_passwords_and_tls(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    key = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-x509", "-subj", "/CN=127.0.0.1"]
    openssl("req", *key, "-keyout", "key", "-out", "certificate")
    openssl("x509", "-in", "certificate", "-outform", "der", "-out", "certificate.der")
    (tmp_path / "users").touch()
    subprocess.run(
        ["mosquitto_passwd", "-b", str(tmp_path / "users"), "pump-7", "secret"], check=True
    )
    secure = make_broker(
        more=f"certfile {tmp_path}/certificate\nkeyfile {tmp_path}/key\n"
        f"password_file {tmp_path}/users\nallow_anonymous false"
    )
    program = """
import tls
context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
context.verify_mode = tls.CERT_REQUIRED
for trusted in (True, False):
    if trusted:
        with open("certificate.der", "rb") as file:
            context.load_verify_locations(file.read())
    else:
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    for password in ("secret", "guess"):
        device = make(ssl_context=context, password=password)
        while not (device.poll(0.1) or device.trouble):
            pass
        print(device.poll(), device.trouble.partition(" ")[2][:7])
        device.close()
"""
    with board(program, tmp_path, secure) as run:
        lines = run.output()
    assert lines[:2] == ["True ", "False refused"]
    assert all(line.startswith("False ") for line in lines[2:]), "an unknown authority"


def test_the_json_of_a_submit_is_what_the_protocol_wants(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    with board("d = make()\nshow(d, d.submit(SPEC, job='a'))", tmp_path, broker) as run:
        assert run.output() == ["b'cba'"]
    spec = json.loads(node.jobs["pump-7", "a"].partition(b"//")[2])
    assert spec == {"image": "img", "command": ["x"], "input": "abc"}
