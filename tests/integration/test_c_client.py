"""Goal: the C client keeps the device's promises of docs/c.md against brokers that die and stop.

Method: the driver of tests/c_client under sanitizers, in buffers of 128 bytes, against real
Mosquittos with a scripted node beside each. Its clock wraps around two seconds after a start.
"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.c_compiler import needs_gcc
from tests.integration.c_device import CDevice, Patience
from tests.integration.device_peer import Broker, ScriptedNode, accept, ignore, succeed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs_gcc


@pytest.mark.parametrize("piece_bytes", [1, 7, 4096])
def test_raw_bytes_go_out_and_come_back_whole(
    broker: Broker, node: ScriptedNode, piece_bytes: int
) -> None:
    size = 32768 if piece_bytes > 1 else 3000
    with CDevice(broker, piece_bytes=piece_bytes) as device:
        device.run("j1", "abcdefg", size=size)
        device.wait_for("state j1 succeeded")
        assert device.states("j1") == ["accepted", "running 0.5", "succeeded"]
        sent = (b"abcdefg" * size)[:size]
        assert node.jobs["pump-7", "j1"] == b"run/f/" + sent
        assert device.result("j1") == sent[::-1]


def test_a_spec_is_sent_as_it_is_and_every_state_handed_over_as_json(
    broker: Broker, node: ScriptedNode
) -> None:
    with CDevice(broker, piece_bytes=11) as device:
        device.say('spec j2 {"image": "img", "command": ["x"], "input": "abc"}')
        device.wait_for("state j2 succeeded")
        assert device.states("j2") == ["accepted", "running", "succeeded"]
        assert json.loads(device.result("j2"))["result"] == "cba"
    assert len(node.heard) == 1


def test_many_jobs_at_once(broker: Broker, node: ScriptedNode) -> None:
    with CDevice(broker) as device:
        for number in range(32):
            device.run(f"j{number}", f"{number}.")
        for number in range(32):
            device.wait_for(f"state j{number} succeeded")
            assert device.result(f"j{number}") == f"{number}."[::-1].encode()
    assert len(node.heard) == 32


@pytest.mark.parametrize("first", ["out", "state"])
def test_output_and_final_word_may_come_in_either_order(
    broker: Broker, node: ScriptedNode, first: str
) -> None:
    def answer(peer: ScriptedNode, device: str, job: str, _payload: bytes) -> None:
        said = [("out", b"42"), ("state", b"succeeded")]
        for tail, payload in said if first == "out" else reversed(said):
            peer.say_plain(device, job, tail, payload)

    node.on_job = answer
    with CDevice(broker) as device:
        device.run("j1")
        device.wait_for("state j1 succeeded")
        assert device.result("j1") == b"42"


def test_a_result_from_before_a_reset_is_found(broker: Broker, node: ScriptedNode) -> None:
    with CDevice(broker) as device:
        device.run("j1")
        device.wait_for("state j1 succeeded")
    # The node only repeats the word; the bytes are those that the broker retains.
    node.on_job = lambda peer, name, job, _: peer.say_plain(name, job, "state", b"succeeded")
    with CDevice(broker) as device:
        device.run("j1")
        device.wait_for("state j1 succeeded")
        assert device.result("j1") == b"3 2 1"


def test_jobs_without_output_with_a_large_result_and_with_none_any_more_end(
    broker: Broker, node: ScriptedNode
) -> None:
    where = b"workrs:sha256/" + b"a" * 64
    gone = b"this job has ended and its result is no longer kept"
    said = {"none": b"succeeded", "large": b"succeeded " + where, "gone": b"succeeded " + gone}
    node.on_job = lambda peer, device, job, _: peer.say_plain(device, job, "state", said[job])
    with CDevice(broker, patience=Patience(out_ms=300)) as device:
        device.run("none")
        device.run("large")
        device.run("gone")
        device.wait_for("state none succeeded")
        device.wait_for(f"state large succeeded {where.decode()}")
        device.wait_for(f"state gone succeeded {gone.decode()}")
        assert device.result("none") == device.result("gone") == b""


def test_refusals_end_a_job_unless_there_is_only_no_room(
    broker: Broker, node: ScriptedNode
) -> None:
    def answer(peer: ScriptedNode, device: str, job: str, _payload: bytes) -> None:
        if job == "bad":
            peer.publish(
                f"workrs/1/down/{device}/{job}/state", b"rejected no " + b"x" * 300, retain=False
            )
        elif peer.heard.count((device, job)) > 1:
            peer.say(device, job, "succeeded", result="ok")
            peer.say_plain(device, job, "out", b"ok")
            peer.say_plain(device, job, "state", b"succeeded")
        elif job == "full":
            peer.say(device, job, "rejected", retain=False, reason="full", retry_after_s=0.5)
        else:
            line = b"rejected retry_after_s=1 n1 is full"
            peer.publish(f"workrs/1/down/{device}/{job}/state", line, retain=False)

    node.on_job = answer
    with CDevice(broker) as device:
        device.run("bad")
        device.wait_for("the refusal", lambda lines: any("rejected" in x for x in lines))
        # A text that is longer than the buffer of 128 bytes is cut.
        assert device.states("bad") == ["rejected no " + "x" * (128 - len("rejected no "))]
        device.say('spec full {"image": "img", "command": ["x"]}')
        device.wait_for("state full succeeded")
        assert device.states("full") == ["kept", "succeeded"]
        device.run("plain")
        device.wait_for("state plain succeeded")
        assert device.states("plain") == ["kept n1 is full", "succeeded"]


def test_a_cancel_is_sent_after_acceptance(broker: Broker, node: ScriptedNode) -> None:
    node.on_job = accept
    with CDevice(broker) as device:
        device.say('spec j1 {"image": "img", "command": ["x"]}')
        device.say("cancel j1")
        device.wait_for("state j1 cancelled")
    assert node.cancelled == {"j1"}


def test_an_old_state_of_an_id_is_not_taken_for_the_new_job(
    broker: Broker, node: ScriptedNode
) -> None:
    node.say_surely("pump-7", "j1", "succeeded", result="of yesterday's job")
    node.on_job = lambda peer, name, job, _: peer.say(
        name, job, "rejected", retain=False, reason="used before for another spec"
    )
    with CDevice(broker) as device:
        device.say('spec j1 {"image": "img", "command": ["x"]}')
        device.wait_for("state j1 rejected")
        assert device.states("j1") == ["rejected"]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("is_released", [False, True])
def test_the_next_node_takes_over_when_a_broker_dies_or_stops(
    make_broker: Callable[..., Broker],
    fault: signal.Signals,
    is_released: bool,  # noqa: FBT001
) -> None:
    first, second = make_broker(), make_broker()
    with ScriptedNode(first) as one, ScriptedNode(second) as two:
        one.on_job = accept
        quick = Patience(connect_ms=10_000, keepalive_ms=1000, pong_ms=1500)
        with CDevice(first, second, patience=quick) as device:
            device.run("running")
            one.wait_for(lambda: ("pump-7", "running") in one.jobs, "the first job")
            one.say_plain("pump-7", "running", "state", b"accepted")
            device.wait_for("state running accepted")
            if is_released:
                device.say("release running")
                two.say_plain("pump-7", "running", "out", b"3 2 1")
                two.say_plain("pump-7", "running", "state", b"succeeded")
            first.send(fault)
            device.run("fresh")
            device.wait_for("state fresh succeeded")
            device.wait_for("state running succeeded")
            device.wait_for(f"up {second.port}")
            assert device.result("running") == b"3 2 1"
        heard = [job for _, job in two.heard]
        assert ("running" in heard) is not is_released, "asked about with the same bytes"


def test_a_submission_survives_the_death_of_the_only_broker(broker: Broker) -> None:
    # The broker may be back before the node is: then what was sent has to be sent again.
    with CDevice(broker, patience=Patience(answer_ms=1000)) as device:
        device.wait_for(f"up {broker.port}")
        broker.kill()
        device.wait_for("lost -1 the connection ended")
        device.run("j1")
        broker.start()
        with ScriptedNode(broker):
            device.wait_for("state j1 succeeded")


def test_a_broker_stopped_in_the_middle_of_an_input_is_left(
    make_broker: Callable[..., Broker],
) -> None:
    first, second = make_broker(), make_broker()
    quick = Patience(connect_ms=5000, keepalive_ms=1000, pong_ms=1000)
    with ScriptedNode(second), CDevice(first, second, patience=quick) as device:
        device.wait_for(f"up {first.port}")
        first.send(signal.SIGSTOP)
        for number in range(32):
            device.run(f"j{number}", "0123456789", size=32768)
        for number in range(32):
            device.wait_for(f"state j{number} succeeded")


def test_a_node_that_answers_no_submission_is_left(make_broker: Callable[..., Broker]) -> None:
    first, second = make_broker(), make_broker()
    with ScriptedNode(first) as mute, ScriptedNode(second):
        mute.on_job = ignore
        with CDevice(first, second, patience=Patience(answer_ms=1000)) as device:
            device.run("j1")
            device.wait_for("state j1 succeeded")
            device.wait_for("lost -7 nobody answers a submission")
        mute.wait_for(lambda: bool(mute.heard), "it was asked first")


def test_a_node_without_a_majority_is_left_and_when_all_say_so_stayed_with(
    make_broker: Callable[..., Broker],
) -> None:
    def wait(peer: ScriptedNode, device: str, job: str, _payload: bytes) -> None:
        peer.publish(f"workrs/1/down/{device}/{job}/state", b"waiting alone", retain=False)

    first, second = make_broker(), make_broker()
    with ScriptedNode(first) as one, ScriptedNode(second) as two:
        one.on_job = two.on_job = wait
        with CDevice(first, second, patience=Patience(reask_ms=2000)) as device:
            device.run("j1")
            device.wait_for("state j1 waiting alone")
            device.wait_for("lost -8 the node reaches no majority")
            two.wait_for(lambda: len(two.heard) > 1, "a question after a while, at the same node")
            one.on_job = two.on_job = succeed
            device.wait_for("state j1 succeeded")


def test_an_idle_device_finds_a_broker_that_is_silent(broker: Broker) -> None:
    quick = Patience(connect_ms=1000, keepalive_ms=1000, pong_ms=500)
    with CDevice(broker, patience=quick) as device:
        device.wait_for(f"up {broker.port}")
        broker.send(signal.SIGSTOP)
        device.wait_for("lost -3 no sign of life after a ping")
        broker.send(signal.SIGCONT)
        device.wait_for("its return", lambda lines: lines.count(f"up {broker.port}") >= 2)


def test_an_idle_device_pings_and_stays(broker: Broker, node: ScriptedNode) -> None:
    node.on_job = accept
    # The second question comes long after 1.5 keep-alives, when Mosquitto has ended who is silent.
    with CDevice(broker, patience=Patience(keepalive_ms=3000, reask_ms=12_000)) as device:
        device.run("j1")
        node.wait_for(lambda: len(node.heard) >= 2, "a second question")
        assert not [line for line in device.lines if line.startswith("lost")]


def test_a_broker_that_refuses_the_device_is_named_so(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    acl = tmp_path / "passwords"
    acl.write_text("")
    acl.chmod(0o644)
    closed = make_broker(more=f"password_file {acl}\nallow_anonymous false")
    with CDevice(closed) as device:
        device.wait_for("lost -4 the broker refuses the device")


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("run F j1 1 x", "no -10"),
        ("run f _j 1 x", "no -10"),
        (f"run f {'j' * 64} 1 x", "no -10"),
        ("run f j1 32769 x", "no -12"),
        (f"run {'f' * 63} {'j' * 63} 1 x", "no -11"),
        ("cancel j1", "no -15"),
    ],
)
def test_a_wrong_call_changes_nothing(
    broker: Broker, node: ScriptedNode, command: str, refusal: str
) -> None:
    with CDevice(broker) as device:
        device.say(command)
        device.wait_for(refusal, lambda lines: any(x.startswith(refusal) for x in lines))
        device.run("j1", size=0)
        device.wait_for("state j1 succeeded")
    assert node.jobs == {("pump-7", "j1"): b"run/f/"}


def test_a_forgotten_job_is_heard_of_no_more(broker: Broker, node: ScriptedNode) -> None:
    node.on_job = accept
    with CDevice(broker) as device:
        device.say('spec j1 {"image": "img", "command": ["x"]}')
        device.wait_for("state j1 running")
        device.say("forget j1")
        device.run("j2")
        node.wait_for(lambda: ("pump-7", "j2") in node.heard, "the second")
        node.say("pump-7", "j1", "succeeded", result="late")
        node.say_plain("pump-7", "j2", "state", b"failed at once")
        device.wait_for("state j2 failed at once")
        assert device.states("j1")[-1] == "running"
