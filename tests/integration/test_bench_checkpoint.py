"""Goal: the benchmark of checkpoints runs from its beginning to its end, and cleans up.

Method: its smoke run, with real engines, runc and CRIU. Nothing is said about ratios: 8 MiB on
a machine that runs tests tell nothing. Podman, restic and borg take part where apt has them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workrs.engine.mount import below, read_mounts
from workrs.engine.own import missing

pytestmark = [pytest.mark.engine, pytest.mark.criu, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent.parent


def test_the_smoke_run_measures_all_contestants_and_leaves_nothing(tmp_path: Path) -> None:
    why = missing()
    if why is not None:
        pytest.skip(why)
    scratch, result = tmp_path / "scratch", tmp_path / "result.json"
    scratch.mkdir()
    command = [sys.executable, "-m", "bench.checkpoint", "--quick"]
    done = subprocess.run(
        [*command, "--scratch", scratch, "--json", result],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text())
    speed = found["speed"]["8 MiB"]
    contestants = {name.partition(":")[0] for name in speed}
    assert contestants - {"podman"} == {"runc", "docker", "workrs"}
    # Who is not measured is missed with a reason.
    assert ("podman" in contestants) == (found["without"] == "")
    assert ("restic" in found["archives"]) == (found["without"] == "")
    assert all(min(values) > 0 for values in speed.values())
    # A program that ticks without having stood still was not checkpointed at all.
    assert speed["workrs: stood still"][0] >= speed["workrs: frozen"][0] / 2
    assert found["costs"]["8 MiB"]["peak_mib"][0] > 1
    assert found["size"]["the first"]["sent_bytes"] > found["size"]["nothing changed"]["sent_bytes"]
    assert found["archives"]["workrs"]["restore_s"][0] > 0
    assert list(scratch.iterdir()) == []
    assert below(read_mounts(), scratch) == []
