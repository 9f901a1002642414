"""Goal: what docs/device.md promises holds against real brokers that die and stop.

Method: a real Mosquitto per test, a scripted node beside it, the real client; processes are
ended with SIGKILL and SIGSTOP. Nothing sleeps: every wait is for a condition.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device_client import (
    AsyncDevice,
    CredentialRefusedError,
    Device,
    DeviceClosedError,
    JobCancelledError,
    JobFailedError,
    JobIdReusedError,
    JobRejectedError,
    NoNodeError,
    ResultGoneError,
    ResultTimeoutError,
    State,
    Timing,
    UnknownJobError,
)
from device_client.error import OutboxError
from device_client.outbox import MemoryOutbox
from tests.integration.device_peer import (
    PATIENT,
    WAIT_S,
    Broker,
    ScriptedNode,
    accept,
    assert_told_in_vain,
    ignore,
)
from tests.mosquitto_fixture import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = {"image": "img", "command": ["x"], "input": "abc"}
FAST = Timing(answer_timeout_s=1.0, keepalive_s=1, connect_timeout_s=10.0, out_grace_s=0.3)


def test_a_job_is_accepted_runs_and_gives_its_result(broker: Broker, node: ScriptedNode) -> None:
    with Device("pump-7", [broker.address], timing=PATIENT) as device:
        job = device.submit(SPEC)
        states = [report.state for report in device.watch(job, timeout=WAIT_S)]
        result = device.result(job, timeout=WAIT_S)
        assert device.result(job, timeout=WAIT_S) == result, "asking again is free"
        assert device.jobs() == []
    assert states == ["accepted", "running", "succeeded"]
    assert (result.value, result.exit_code, result.job) == (b"cba", 0, job)
    assert len(node.heard) == 1


def test_a_run_sends_raw_bytes_and_reads_plain_topics(broker: Broker, node: ScriptedNode) -> None:
    with Device("pump-7", [broker.address]) as device:
        job = device.run("reverse", b"\x00\xff1")
        reports = list(device.watch(job, timeout=WAIT_S))
        assert device.result(job).value == b"1\xff\x00"
    assert [r.state for r in reports] == ["accepted", "running", "succeeded"]
    assert reports[1].progress == 0.5
    assert node.jobs["pump-7", job] == b"run/reverse/\x00\xff1"


@pytest.mark.parametrize("first", ["out", "state"])
def test_output_and_final_word_may_come_in_either_order(
    broker: Broker, node: ScriptedNode, first: str
) -> None:
    def answer(peer: ScriptedNode, device: str, job: str, _payload: bytes) -> None:
        said = [("out", b"42"), ("state", b"succeeded")]
        for tail, payload in said if first == "out" else reversed(said):
            peer.say_plain(device, job, tail, payload)

    node.on_job = answer
    with Device("pump-7", [broker.address], timing=PATIENT) as device:
        assert device.result(device.run("f", b""), timeout=WAIT_S).value == b"42"


def test_a_plain_job_without_output_gives_empty_bytes(broker: Broker, node: ScriptedNode) -> None:
    node.on_job = lambda peer, device, job, _: peer.say_plain(device, job, "state", b"succeeded")
    with Device("pump-7", [broker.address], timing=FAST) as device:
        assert device.result(device.run("f", b""), timeout=WAIT_S).value == b""


def test_failed_and_rejected_jobs_raise_with_the_reason(broker: Broker, node: ScriptedNode) -> None:
    def answer(peer: ScriptedNode, device: str, job: str, payload: bytes) -> None:
        if b"bad" in payload:
            peer.say(device, job, "rejected", retain=False, reason="function 'f' is not known here")
        else:
            peer.say(device, job, "failed", exit_code=3, reason="three attempts", result="partial")

    node.on_job = answer
    with Device("pump-7", [broker.address]) as device:
        job = device.submit(SPEC)
        with pytest.raises(JobFailedError, match="three attempts") as failed:
            device.result(job, timeout=WAIT_S)
        assert (failed.value.exit_code, failed.value.report.value) == (3, b"partial")
        job = device.submit(SPEC, env={"A": "bad"}, job="mine")
        with pytest.raises(JobRejectedError, match="not known here"):
            device.result(job, timeout=WAIT_S)
        assert device.state("mine").state is State.REJECTED
        node.on_job = lambda peer, name, job, _: peer.say(name, job, "succeeded", result="ok")
        assert device.result(device.submit(SPEC, job="mine"), timeout=WAIT_S).text == "ok", (
            "a rejected id is free again"
        )


def test_a_cancel_is_sent_after_acceptance_and_ends_the_wait(
    broker: Broker, node: ScriptedNode
) -> None:
    node.on_job = accept
    with Device("pump-7", [broker.address], timing=FAST) as device:
        job = device.submit(SPEC)
        device.cancel(job)
        with pytest.raises(JobCancelledError, match="its device asked"):
            device.result(job, timeout=WAIT_S)
    assert node.cancelled == {job}


def test_an_id_names_one_job(broker: Broker, node: ScriptedNode, tmp_path: Path) -> None:
    with Device("pump-7", [broker.address], outbox=tmp_path / "box", timing=PATIENT) as device:
        job = device.submit(SPEC, job="a")
        assert device.submit({**SPEC}, job="a") == job, "same spec: same job"
        with pytest.raises(JobIdReusedError):
            device.submit(SPEC, priority=9, job="a")
        device.result(job, timeout=WAIT_S)
        assert device.submit(SPEC, job="a") == job
        with pytest.raises(JobIdReusedError):
            device.submit(SPEC, priority=9, job="a")
    assert len(node.heard) == 1
    assert node.conflicts == []


def test_a_final_state_that_comes_again_is_told_once(broker: Broker, node: ScriptedNode) -> None:
    def answer(peer: ScriptedNode, device: str, job: str, _payload: bytes) -> None:
        for number in range(3):
            peer.say(device, job, "succeeded", result=str(number))
        peer.say(device, job, "failed", reason="late")

    node.on_job = answer
    with Device("pump-7", [broker.address]) as device:
        job, other = device.submit(SPEC, job="a"), device.submit(SPEC, job="b")
        assert [r.value for r in device.watch(job)] == [b"0"]
        device.result(other, timeout=WAIT_S)  # Behind it all copies of the first were heard.
        assert device.result(job).value == b"0"


def test_many_threads_share_a_device(broker: Broker, node: ScriptedNode) -> None:
    results: dict[int, bytes] = {}
    with Device("pump-7", [broker.address]) as device:

        def work(number: int) -> None:
            for step in range(20):
                text = f"{number}.{step}"
                job = device.submit(SPEC | {"input": text})
                results[number * 100 + step] = device.result(job, timeout=WAIT_S).value
                assert results[number * 100 + step] == text[::-1].encode()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 160
    assert len(node.jobs) == 160


def test_a_job_submitted_while_no_node_is_there_is_sent_when_one_comes(broker: Broker) -> None:
    broker.kill()
    with Device("pump-7", [broker.address]) as device:
        job = device.submit(SPEC)
        assert device.state(job).state is State.KEPT
        assert_told_in_vain(
            lambda: device.result(job, timeout=0.3), NoNodeError, r"last state kept.*refused"
        )
        broker.start()
        with ScriptedNode(broker) as node:
            assert device.result(job, timeout=WAIT_S).value == b"cba"
            node.on_job = ignore
            silent = device.submit(SPEC)
            # This node is there.
            assert_told_in_vain(lambda: device.result(silent, timeout=0.3), ResultTimeoutError)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_device_goes_to_the_next_node_when_its_broker_dies_or_stops(
    make_broker: Callable[..., Broker], fault: signal.Signals
) -> None:
    first, second = make_broker(), make_broker()
    with ScriptedNode(first) as one, ScriptedNode(second) as two:
        one.on_job = accept
        with Device("pump-7", [first.address, second.address], timing=FAST) as device:
            running = device.submit(SPEC, job="running")
            one.wait_for(lambda: ("pump-7", "running") in one.jobs, "the first job")
            assert next(device.watch(running, timeout=WAIT_S)).state is not State.KEPT
            first.send(fault)
            fresh = device.submit(SPEC, job="fresh")
            assert device.result(fresh, timeout=WAIT_S).value == b"cba"
            assert device.result(running, timeout=WAIT_S).value == b"cba", (
                "an awaited job is asked about at the new node, with the same bytes"
            )
        assert one.jobs["pump-7", "running"] == two.jobs["pump-7", "running"]


def test_a_node_that_answers_no_submit_is_left(make_broker: Callable[..., Broker]) -> None:
    first, second = make_broker(), make_broker()
    with ScriptedNode(first) as mute, ScriptedNode(second):
        mute.on_job = ignore
        with Device("pump-7", [first.address, second.address], timing=FAST) as device:
            assert device.result(device.submit(SPEC), timeout=WAIT_S).value == b"cba"
        mute.wait_for(lambda: bool(mute.heard), "it was asked first")


def test_a_result_that_came_while_the_device_was_away_is_found(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    node.on_job = accept
    box = tmp_path / "box"
    with Device("pump-7", [broker.address], outbox=box) as device:
        job = device.submit(SPEC)
        assert device.drain(WAIT_S)
    node.say_surely("pump-7", job, "succeeded", result="at night")
    with Device("pump-7", [broker.address], outbox=box) as device:
        assert device.result(job, timeout=WAIT_S).text == "at night"
    with Device("pump-7", [broker.address]) as device:
        assert device.state(job).state is State.SUCCEEDED, "known by its retained state alone"
        assert device.result(job, timeout=WAIT_S).text == "at night"
        with pytest.raises(UnknownJobError):
            device.state("never-was")


def test_a_run_whose_result_is_no_longer_kept_is_told_so_to_who_was_away(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    def accept_plain(peer: ScriptedNode, device: str, job: str, _: bytes) -> None:
        peer.say_plain(device, job, "state", b"accepted")

    node.on_job = accept_plain
    box = tmp_path / "box"
    with Device("pump-7", [broker.address], outbox=box) as device:
        job = device.run("f", b"1")
        assert device.drain(WAIT_S)
    # Ended, and retired: nothing is retained, and who asks hears the short form.
    node.publish(f"workrs/1/down/pump-7/{job}/state", b"")
    node.on_job = lambda peer, device, job, _: peer.publish(
        f"workrs/1/down/{device}/{job}/state", b"succeeded but it is no longer kept", retain=False
    )
    with Device("pump-7", [broker.address], outbox=box, timing=FAST) as device:
        with pytest.raises(ResultGoneError, match="no longer kept"):
            device.result(job, timeout=WAIT_S)
        assert device.jobs() == []
        with pytest.raises(UnknownJobError, match="Check the id"):
            device.result("never-was", timeout=WAIT_S)


def test_a_strange_job_is_not_called_unknown_when_there_was_no_node_to_ask(broker: Broker) -> None:
    broker.kill()
    quick = Timing(answer_timeout_s=0.2, connect_timeout_s=0.2)
    with Device("pump-7", [broker.address], timing=quick) as device:
        assert_told_in_vain(
            lambda: device.state("never-was"),
            NoNodeError,
            r"last state unknown; last trouble: .*refused",
        )


def test_an_old_state_of_an_id_is_not_taken_for_the_new_job(
    broker: Broker, node: ScriptedNode
) -> None:
    node.say_surely("pump-7", "a", "succeeded", result="of yesterday's job a")
    node.on_job = lambda peer, name, job, _: peer.say(
        name, job, "rejected", retain=False, reason="used before for another spec"
    )
    with (
        Device("pump-7", [broker.address]) as device,
        pytest.raises(JobRejectedError, match="used before"),
    ):
        device.result(device.submit(SPEC, job="a"), timeout=WAIT_S)


def test_a_message_too_big_for_the_bus_is_rejected_and_blocks_nothing(
    make_broker: Callable[..., Broker],
) -> None:
    narrow = make_broker(more="max_packet_size 2000")
    with ScriptedNode(narrow), Device("pump-7", [narrow.address]) as device:
        big = device.submit(SPEC | {"input": "x" * 4000})
        small = device.submit(SPEC)
        assert device.result(small, timeout=WAIT_S).value == b"cba"
        with pytest.raises(JobRejectedError, match="takes 2000 at most"):
            device.result(big, timeout=WAIT_S)


def test_a_disk_that_fails_for_a_moment_ends_no_device(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be sent cannot be read then: it is asked for again, and others are heard."""
    real, failures = MemoryOutbox.message, [OutboxError("outbox: disk I/O error")]

    def message(outbox: MemoryOutbox, job: str) -> tuple[str, bytes] | None:
        if failures:
            raise failures.pop()
        return real(outbox, job)

    monkeypatch.setattr(MemoryOutbox, "message", message)
    timing = Timing(answer_timeout_s=0.5)
    with ScriptedNode(broker), Device("pump-7", [broker.address], timing=timing) as device:
        assert device.result(device.submit(SPEC), timeout=WAIT_S).value == b"cba"
    assert not failures


def test_what_the_broker_refuses_is_told_to_who_waits(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read workrs/1/down/#\n")
    acl.chmod(0o644)
    strict = make_broker(more=f"acl_file {acl}")
    with Device("pump-7", [strict.address], timing=PATIENT) as device:
        job = device.submit(SPEC)
        assert_told_in_vain(
            lambda: device.result(job, timeout=0.3), ResultTimeoutError, "Not authorized"
        )


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def test_a_device_may_show_a_certificate(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    _openssl(tmp_path, "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca", "-subj", "/CN=ca")
    for name in ("127.0.0.1", "pump-7"):
        extension = ("-addext", "subjectAltName=IP:127.0.0.1")
        signer = ("-CA", "ca", "-CAkey", "ca.key")
        files = ("-keyout", f"{name}.key", "-out", name)
        _openssl(
            tmp_path, "req", "-x509", *new, *signer, *files, "-subj", f"/CN={name}", *extension
        )
    for key in tmp_path.glob("*.key"):
        key.chmod(0o644)  # Mosquitto gives up root before it reads its own.
    inside = free_port()
    tls = make_broker(
        more=f"cafile {tmp_path}/ca\ncertfile {tmp_path}/127.0.0.1\n"
        f"keyfile {tmp_path}/127.0.0.1.key\nrequire_certificate true\n"
        f"use_identity_as_username true\nlistener {inside} 127.0.0.1"
    )
    trusting, showing = (ssl.create_default_context(cafile=tmp_path / "ca") for _ in range(2))
    showing.load_cert_chain(tmp_path / "pump-7", tmp_path / "pump-7.key")
    with ScriptedNode(tls, port=inside):
        with Device("pump-7", [tls.address], tls=showing) as device:
            assert device.result(device.submit(SPEC), timeout=WAIT_S).value == b"cba"
        with Device("pump-7", [tls.address], tls=trusting) as device:
            job = device.submit(SPEC)
            assert_told_in_vain(
                lambda: device.result(job, timeout=0.5),
                CredentialRefusedError,
                r"last state kept; last trouble: .+",
            )


def test_closing_wakes_whoever_waits(broker: Broker, node: ScriptedNode) -> None:
    node.on_job = accept
    device = Device("pump-7", [broker.address])
    job = device.submit(SPEC)
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            device.result(job)
        except DeviceClosedError as error:
            failures.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    node.wait_for(lambda: bool(node.heard), "the job")
    device.close()
    device.close()
    waiter.join(WAIT_S)
    assert len(failures) == 1
    with pytest.raises(DeviceClosedError):
        device.submit(SPEC)


def test_an_async_device_does_the_same(broker: Broker, node: ScriptedNode, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncDevice("pump-7", [broker.address], outbox=tmp_path / "box") as device:
            job = await device.submit(SPEC)
            states = [report.state async for report in device.watch(job, timeout=WAIT_S)]
            assert states == ["accepted", "running", "succeeded"]
            ids = [await device.run("f", str(n).encode()) for n in range(30)]
            results = await asyncio.gather(*(device.result(i, timeout=WAIT_S) for i in ids))
            assert [r.value for r in results] == [str(n).encode()[::-1] for n in range(30)]
            node.on_job = accept
            job = await device.submit(SPEC)
            with pytest.raises(ResultTimeoutError):
                await device.result(job, timeout=0.05)
            await device.cancel(job)
            with pytest.raises(JobCancelledError):
                await device.result(job, timeout=WAIT_S)
            assert await device.drain(WAIT_S)
            assert device.jobs() == []

    asyncio.run(main())


KILLS = 20
_CHILD = """
import json, sys
from device_client import Device
device = Device("pump-7", [sys.argv[1]], outbox=sys.argv[2])
for number in range(int(sys.argv[3]), 100000):
    text = f"job {number}"
    device.submit(image="img", command=["x"], input=text, job=f"j{number}")
    print(number, flush=True)
"""


@pytest.mark.timeout(600)
def test_kill_9_in_the_middle_of_submits_loses_and_doubles_nothing(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    box, told = tmp_path / "box", -1
    for round_number in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, broker.address, str(box), str(told + 1)],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        wanted = told + 12 + 7 * round_number % 31
        while told < wanted:
            told = int(child.stdout.readline())
        if round_number % 4 == 2:
            # Now and then with a dead broker, so that the outbox is all there is.
            broker.kill()
            while told < wanted + 20:
                told = int(child.stdout.readline())
        elif round_number % 4 == 3:
            broker.start()
        child.kill()
        for line in child.stdout.read().split():
            told = int(line)
        child.wait(WAIT_S)
        child.stdout.close()
    with Device("pump-7", [broker.address], outbox=box) as device:
        assert device.drain(WAIT_S)
        node.wait_for(lambda: len(node.jobs) > told, "every job that was told to be kept")
        for number in range(told + 1):
            spec = json.loads(node.jobs["pump-7", f"j{number}"].removeprefix(b"submit//"))
            assert spec["input"] == f"job {number}"
            # The caller's own repetition of a submit it is not sure of: the same job.
            device.submit(image="img", command=["x"], input=f"job {number}", job=f"j{number}")
            result = device.result(f"j{number}", timeout=WAIT_S)
            assert result.text == f"job {number}"[::-1]
    assert node.conflicts == []
    # One more may be on disk than was told, when the kill fell between the two.
    assert len(node.jobs) <= told + 5


def test_the_quick_start_of_the_docs_runs_as_it_is_printed(
    broker: Broker,
    node: ScriptedNode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = Path(__file__).parents[2] / "docs" / "device.md"
    found = re.search(r"```python\n(.+?)```", page.read_text(), re.DOTALL)
    assert found is not None
    # The broker of this test asks for no credential.
    code = found.group(1).replace('credential="pump-7.pem"', f'"pump-7", ["{broker.address}"]')
    assert broker.address in code
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {})
    assert capsys.readouterr().out.split() == [
        "4", "3", "2", "1", "accepted", "None", "running", "0.5", "succeeded", "None",
    ]  # fmt: skip
    assert len(node.jobs) == 2
