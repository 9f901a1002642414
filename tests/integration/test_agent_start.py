"""Goal: an agent begins with nothing of its former incarnation.

Method: the program itself, with a state folder as SIGKILL left it, and no node that answers.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path


def test_what_a_killed_agent_had_fetched_or_dumped_is_removed_at_its_next_start(
    tmp_path: Path,
) -> None:
    left = tmp_path / "transfer" / "run-1"
    (left / "restore" / "image").mkdir(parents=True)
    (left / "restore" / "image" / "pages-1.img").write_bytes(b"secrets of a job")
    (left / "save-1-3").mkdir()
    words = ["agent", "--name", "a1", "--runtime", "process", "--node", "127.0.0.1:1"]
    with subprocess.Popen(
        [sys.executable, "-m", "workrs.cli.main", *words, "--state", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "WORKRS_CONFIG": os.devnull},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as agent:
        deadline = time.monotonic() + 60
        while left.exists() and time.monotonic() < deadline:
            assert agent.poll() is None, "it ended by itself"
            select.select([], [], [], 0.02)
        agent.terminate()
    assert not left.exists()
