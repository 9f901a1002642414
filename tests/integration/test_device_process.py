"""Goal: forks, cancelled tasks and abandoned waits leave a device as it was.

Method: a real Mosquitto with a scripted node beside it; a program that forks; tasks that are
cancelled in the middle of each kind of wait.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from device_client import AsyncDevice, Device, ResultTimeoutError
from tests.integration.device_peer import WAIT_S, Broker, ScriptedNode, accept

if TYPE_CHECKING:
    from pathlib import Path

SPEC = {"image": "img", "command": ["x"], "input": "abc"}

_FORKS = """
import os, sys
from device_client import Device, DeviceClosedError
with Device("pump-7", [sys.argv[1]], outbox=sys.argv[2] or None) as device:
    first = device.submit(image="img", command=["x"], input="abc")
    device.result(first)
    child = os.fork()
    if child == 0:
        calls = {
            "submit": lambda: device.submit(image="img", command=["x"]),
            "result": lambda: device.result(first),
            "watch": lambda: next(device.watch("other")),
            "state": lambda: device.state(first),
            "cancel": lambda: device.cancel("other"),
            "jobs": device.jobs,
            "drain": device.drain,
        }
        for name, call in calls.items():
            try:
                call()
                print(name, "went on", flush=True)
            except DeviceClosedError as error:
                assert "forked" in str(error)
        device.close()
        with device:
            pass
        print("child done", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    second = device.submit(image="img", command=["x"], input="after")
    print(device.result(second, timeout=60).text)
"""


@pytest.mark.parametrize("outbox", ["box", ""])
def test_a_forked_process_is_told_and_does_its_parent_no_harm(
    broker: Broker, node: ScriptedNode, tmp_path: Path, outbox: str
) -> None:
    box = str(tmp_path / outbox) if outbox else ""
    done = subprocess.run(
        [sys.executable, "-c", _FORKS, broker.address, box],
        capture_output=True,
        text=True,
        timeout=WAIT_S * 2,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["child done", "retfa"]
    assert len(node.jobs) == 2


def test_a_cancelled_wait_leaves_the_job_and_the_device_as_they_were(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    node.on_job = accept

    async def main() -> None:
        async with AsyncDevice("pump-7", [broker.address], outbox=tmp_path / "box") as device:
            job = await device.submit(SPEC)

            async def look() -> None:
                async for _ in device.watch(job):
                    pass

            for wait in (device.result(job), look(), device.state("strange"), device.drain()):
                task = asyncio.create_task(wait)
                await asyncio.wait([task], timeout=0.1)
                task.cancel()
                await asyncio.wait([task])
            board = device._session.board
            with board.lock:
                assert not board._feeds, "nobody listens any more"
            node.say("pump-7", job, "succeeded", result="late")
            assert (await device.result(job, timeout=WAIT_S)).text == "late"

    asyncio.run(main())


def test_a_submit_that_was_cancelled_may_be_repeated(
    broker: Broker, node: ScriptedNode, tmp_path: Path
) -> None:
    async def main() -> None:
        async with AsyncDevice("pump-7", [broker.address], outbox=tmp_path / "box") as device:
            for number in range(20):
                task = asyncio.create_task(device.submit(SPEC, job=f"j{number}"))
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert await device.submit(SPEC, job=f"j{number}") == f"j{number}"
                assert (await device.result(f"j{number}", timeout=WAIT_S)).value == b"cba"

    asyncio.run(main())
    assert set(node.heard) == {("pump-7", f"j{number}") for number in range(20)}
    assert node.conflicts == []


def test_a_watch_that_is_left_early_is_forgotten(broker: Broker, node: ScriptedNode) -> None:
    node.on_job = accept
    with Device("pump-7", [broker.address]) as device:
        job = device.submit(SPEC)
        for report in device.watch(job, timeout=WAIT_S):
            if report.state == "running":
                break
        board = device._session.board
        with board.lock:
            assert not board._feeds
        with pytest.raises(ResultTimeoutError, match="last state running"):
            list(device.watch(job, timeout=0.05))


def test_a_device_that_is_closed_by_another_thread_ends_every_wait(
    broker: Broker, node: ScriptedNode
) -> None:
    node.on_job = accept
    device = Device("pump-7", [broker.address])
    job = device.submit(SPEC)
    ended: list[str] = []

    def wait(call: str) -> None:
        try:
            list(device.watch(job)) if call == "watch" else device.result(job)
        except Exception as error:  # noqa: BLE001 (its name is what is looked at)
            ended.append(type(error).__name__)

    threads = [threading.Thread(target=wait, args=(name,)) for name in ("watch", "result")]
    for thread in threads:
        thread.start()
    node.wait_for(lambda: bool(node.heard), "the job")
    device.close()
    for thread in threads:
        thread.join(WAIT_S)
    assert ended == ["DeviceClosedError"] * 2


def test_jobs_are_told_as_they_end(broker: Broker, node: ScriptedNode) -> None:
    node.on_job = accept
    with Device("pump-7", [broker.address]) as device:
        jobs = [device.submit(SPEC, job=name) for name in "abc"]
        ends = device.as_completed([*jobs, "a"], timeout=WAIT_S)
        assert device.drain(WAIT_S)
        for name, state in (("c", "succeeded"), ("b", "failed"), ("a", "succeeded")):
            node.say("pump-7", name, state, result=name)
            end = next(ends)
            assert (end.job, end.state) == (name, state)
        assert list(ends) == []
        assert device.result("c").text == "c"
        with pytest.raises(ResultTimeoutError, match="job d"):
            list(device.as_completed([device.submit(SPEC, job="d")], timeout=0.2))
        assert list(device.as_completed([])) == []
        assert not device._session.board._feeds

    async def main() -> None:
        async with AsyncDevice("pump-7", [broker.address]) as twin:
            found = [end.job async for end in twin.as_completed("abc", timeout=WAIT_S)]
            assert sorted(found) == ["a", "b", "c"]
            assert not twin._session.board._feeds

    asyncio.run(main())


@pytest.mark.parametrize(
    ("state", "more"),
    [("waiting", {"note": "alone"}), ("rejected", {"reason": "full", "retry_after_s": 0.5})],
)
def test_a_drain_waits_for_acceptance_and_not_for_any_word(
    broker: Broker, node: ScriptedNode, state: str, more: dict[str, object]
) -> None:
    def answer(peer: ScriptedNode, device: str, job: str, _payload: bytes) -> None:
        peer.say(device, job, state, retain=False, **more)

    node.on_job = answer
    with Device("pump-7", [broker.address]) as device:
        job = device.submit(SPEC)
        assert not device.drain(0.3)
        assert not device.drain(0.3), "nor for what was heard before"
        node.on_job = accept
        node.say("pump-7", job, "accepted")
        assert device.drain(WAIT_S)

    async def main() -> None:
        node.on_job = answer
        async with AsyncDevice("pump-7", [broker.address]) as twin:
            job = await twin.submit(SPEC)
            assert not await twin.drain(0.3)
            node.say("pump-7", job, "accepted")
            assert await twin.drain(WAIT_S)

    asyncio.run(main())
