"""Goal: on a real cluster the quick start runs as printed, and kill -9 loses and doubles nothing.

Method: the pages' own programs, run as they are printed; a program that gets SIGKILL at many
points of a submit, and jobs that count how often they were run.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from device_client import Device, State
from tests.acceptance import mortal_device
from tests.acceptance.agreement import until
from tests.acceptance.mortal_device import STAGES, spec_of
from tests.secure_cluster import block_of_ports
from workrs.cli.cluster import LocalCluster

ROOT = Path(__file__).parents[2]
LINES_MAX = 10
POINTS = [*range(0, 140, 7), *range(140, 320, 4), *range(320, 760, 11), *range(760, 1561, 100)]
"""Steps after the call: closest where the job is written and not sent yet. The last are for a slow
machine, on which more is done before the job is accepted."""
WAIT_S = 60.0


def run_program(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_quick_start_of_a_page_runs_as_it_is_printed(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path, page: str
) -> None:
    text = (ROOT / page).read_text()
    found = re.search(r"```python\n(from device_client import.+?)```", text, re.DOTALL)
    assert found is not None
    lines = [line for line in found[1].splitlines() if line.strip()]
    assert len(lines) <= LINES_MAX
    cluster = start_cluster(nodes=3, agents=1)
    code = found[1]
    for port, at in zip((1883, 1884, 1885), cluster.addresses.values(), strict=True):
        assert f"127.0.0.1:{port}" in code
        code = code.replace(f"127.0.0.1:{port}", f"{at.host}:{at.port}")
    done = run_program(code, tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "hello"
    states = [word for line in said[1:] for word in line.split()[:1] if word in set(State)]
    assert states[-1] == "succeeded"
    assert '"products": 40' in done.stdout.strip().splitlines()[-1]


@pytest.mark.timeout(600)  # each of its processes imports the client and waits for the broker
def test_kill_9_at_any_step_of_a_submit_loses_and_doubles_no_job(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    cluster = start_cluster(nodes=1, agents=1)
    [at] = cluster.addresses.values()
    node, box, ran = f"{at.host}:{at.port}", tmp_path / "jobs.db", tmp_path / "ran"
    ran.touch()
    points = list(map(str, POINTS))
    jobs = [f"k{point}" for point in points]
    done = subprocess.run(
        [sys.executable, mortal_device.__file__, node, str(box), str(ran), *points],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    killed = Counter(words[2] for words in said if words[1] == "killed")
    told = {words[0] for words in said if words[1] == "told"}
    lived = {words[0] for words in said if words[1] == "lived"}
    killed["accepted"] += len(lived)  # they had not that many steps
    assert min(killed[stage] for stage in STAGES) >= 3, killed
    assert told - lived, "a kill after the return of submit"

    def runs() -> Counter[str]:
        return Counter(ran.read_text().split())

    with Device("pump-7", [node], outbox=box) as device:
        assert device.drain(WAIT_S)
        until("every job that was told to be kept", lambda: told <= set(runs()), WAIT_S)
        # What its caller does who was told nothing: the same submit, under the same id.
        for job in jobs:
            assert device.submit(spec_of(job, str(ran)), job=job) == job
            assert device.result(job, timeout=WAIT_S).exit_code == 0
        assert device.jobs() == []
    assert runs() == Counter(jobs)


def test_an_enrolled_device_needs_its_credential_alone(tmp_path: Path) -> None:
    """With a certificate and with a password; a large input goes to the node's store, too."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def workrs(*words: str) -> list[str]:
        return [sys.executable, "-m", "workrs.cli.main", *words]

    first = block_of_ports()
    for words in (
        ("init", "farm", f"n1=127.0.0.1:{first}"),
        ("enrol", "device", "pump-7", "--cluster", "farm"),
        ("enrol", "device", "meter-3", "--password", "--cluster", "farm"),
    ):
        subprocess.run(
            workrs(*words), cwd=tmp_path, env=environment, check=True, capture_output=True
        )
    node = workrs("node", "--credential", "farm/nodes/n1", "--state", "state", "--init")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(node, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        for name in ("pump-7", "meter-3"):
            with Device(credential=tmp_path / "farm" / "members" / f"{name}.pem") as device:
                small = device.submit(image="none", command=["true"])
                large = device.submit(image="none", command=["true"], input=b"x" * 100_000)
                assert device.drain(WAIT_S), (tmp_path / "log").read_text()
                for job in (small, large):
                    assert device.state(job).state in ("accepted", "queued")
    finally:
        process.terminate()
        process.wait(WAIT_S)
