"""Goal: a device that has nothing but mosquitto_pub and mosquitto_sub gets its work done.

Method: the real programs against a real cluster, everything they print compared.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from workrs.cli.cluster import LocalCluster
from workrs.ports.bus import Address
from workrs.wire.topics import ROOT


def publish(at: Address, topic: str, *words: str) -> None:
    command = ["mosquitto_pub", "-h", at.host, "-p", str(at.port), "-q", "1", "-t", topic, *words]
    subprocess.run(command, check=True, timeout=60)


@contextmanager
def subscriber(at: Address, pattern: str, out: Path) -> Iterator[Callable[[], list[str]]]:
    """Run mosquitto_sub -v, which hears all from now on; give a function that returns its lines."""
    mark = f"{ROOT}/echo/{out.name}"
    publish(at, mark, "-r", "-m", "subscribed")
    command = ["mosquitto_sub", "-h", at.host, "-p", str(at.port), "-q", "1", "-v"]
    command += ["-t", mark, "-t", pattern]
    with out.open("wb") as sink, subprocess.Popen(command, stdout=sink) as process:

        def lines() -> list[str]:
            return [line for line in out.read_text().splitlines() if not line.startswith(mark)]

        try:
            until("the subscription", lambda: mark in out.read_text())
            yield lines
        finally:
            process.terminate()


@pytest.fixture
def cluster(start_cluster: Callable[..., LocalCluster]) -> LocalCluster:
    return start_cluster(nodes=3, agents=2)


def test_raw_bytes_to_a_function_come_back_as_words_and_raw_bytes(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    at = cluster.addresses["n1"]
    data = tmp_path / "data"
    data.write_text(json.dumps({"n": 30, "products": 40, "pace_s": 0.1}))
    down = "workrs/1/down/pump-7"
    with subscriber(at, f"{down}/#", tmp_path / "out") as lines:
        publish(at, "workrs/1/up/pump-7/run/matrix/job-1", "-f", str(data))
        until("the result", lambda: f"{down}/job-1/state succeeded" in lines())
        seen = lines()
    words = [line.split(" ", 1)[1] for line in seen if line.startswith(f"{down}/job-1/state ")]
    assert words[:3] == ["accepted", "queued", "running"]
    progress = [float(w.split()[1]) for w in words if w.startswith("running ")]
    assert progress, words
    assert progress == sorted(progress)
    results = [line for line in seen if line.startswith(f"{down}/job-1/out ")]
    assert len(set(results)) == 1
    assert '"products": 40' in results[0]
    assert seen.index(results[0]) < seen.index(f"{down}/job-1/state succeeded")


def test_a_json_spec_is_told_as_json(cluster: LocalCluster, tmp_path: Path) -> None:
    at = cluster.addresses["n2"]
    spec = {
        "image": "none",
        "command": ["sh", "-c", 'echo "0.5 half" > $WORKRS_JOB_DIR/progress; sleep 5; echo done'],
        "forecast_s": 6,
    }
    down = "workrs/1/down/pump-7/job-2"
    with subscriber(at, f"{down}/#", tmp_path / "out") as lines:
        publish(at, "workrs/1/up/pump-7/submit/job-2", "-m", json.dumps(spec))
        until("the result", lambda: any('"succeeded"' in line for line in lines()))
        seen = [json.loads(line.split(" ", 1)[1]) for line in lines()]
    states = [each["state"] for each in seen]
    assert states[:3] == ["accepted", "queued", "running"]
    assert any(each.get("progress") == 0.5 and each.get("note") == "half" for each in seen)
    assert seen[-1] | {"epoch": 0} == {
        "v": 1,
        "job": "job-2",
        "state": "succeeded",
        "epoch": 0,
        "attempt": 1,
        "exit_code": 0,
        "result": "done\n",
    }


BAD = {
    "junk": ("submit/bad", ["-m", "\x01junk{"], "not valid JSON"),
    "wrong type": ("submit/bad", ["-m", '{"image": 3, "command": ["x"]}'], "image"),
    "unknown field": ("submit/bad", ["-m", '{"image":"a","command":["x"],"x":1}'], "unknown field"),
    "no program": ("submit/bad", ["-m", "{}"], "function"),
    "unknown function": ("run/nope/bad", ["-m", "x"], "known: co2, echo, matrix"),
    "bad id": ("run/echo/BAD", ["-m", "x"], "not allowed"),
    "missing id": ("run/echo", ["-m", "x"], "run/FUNCTION/JOB"),
    "retained": ("run/echo/bad", ["-r", "-m", "x"], "retain"),
    "path in a file name": (
        "submit/bad",
        ["-m", '{"image":"a","command":["x"],"files":{"../../etc/x":"a"}}'],
        "file name",
    ),
}


def test_bad_input_is_rejected_with_a_reason_and_everything_goes_on(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    at = cluster.addresses["n1"]
    big = tmp_path / "big"
    big.write_bytes(b"x" * 60_000)
    cases = BAD | {"oversize": ("run/echo/bad", ["-f", str(big)], "60000 bytes")}
    with subscriber(at, "workrs/1/down/pump-7/#", tmp_path / "out") as lines:
        publish(at, "workrs/1/up/pump-7/run/echo/first", "-m", "hello")
        until("a first result", lambda: any("first/out hello" in line for line in lines()))
        until("its end", lambda: any("first/state succeeded" in line for line in lines()))
        for name, (topic, words, reason) in cases.items():
            before = len(lines())
            publish(at, f"workrs/1/up/pump-7/{topic}", *words)
            new = until(name, lambda before=before: lines()[before:])[0]  # type: ignore[misc]
            assert "rejected" in new, (name, new)
            assert reason in new, (name, new)
        publish(at, "workrs/1/up/pump-7/run/echo/first", "-m", "another input")
        until("a refusal", lambda: any("used before" in line for line in lines()))
        publish(at, "workrs/1/up/pump-7/run/echo/last", "-m", "bye")
        until("a last result", lambda: any("last/out bye" in line for line in lines()))


def test_a_missing_image_is_told_to_the_device(
    start_engine_cluster: Callable[[], LocalCluster], tmp_path: Path
) -> None:
    cluster = start_engine_cluster()
    at = cluster.addresses["n1"]
    spec = {"image": "no/such:image", "command": ["x"], "attempts_max": 1}
    with subscriber(at, "workrs/1/down/pump-7/#", tmp_path / "out") as lines:
        publish(at, "workrs/1/up/pump-7/submit/job-3", "-m", json.dumps(spec))
        until("the end", lambda: any('"failed"' in line for line in lines()))
        (last,) = {line for line in lines() if '"failed"' in line}
        assert "no/such:image" in last
