"""Goal: `--metrics` of the programs themselves is answered, and promtool takes what it says.

Method: a real cluster of one node and one agent, both told to answer on free ports.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from tests.mosquitto_fixture import free_port

ROOT = Path(__file__).parents[2]


def ask(port: int, path: str) -> tuple[int, str]:
    """Return status and body; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def until(port: int, path: str, wanted: str) -> str:
    """Return an answer that has *wanted* in it."""
    deadline = time.monotonic() + 60
    while wanted not in (found := ask(port, path)[1]):
        assert time.monotonic() < deadline, found
        select.select([], [], [], 0.05)
    return found


def named() -> set[str]:
    """Return the metrics that the page and the alerts name."""
    texts = [ROOT / "docs" / "operations.md", *(ROOT / "deploy" / "prometheus").iterdir()]
    return {name for path in texts for name in re.findall(r"\bworkrs_[a-z_]+", path.read_text())}


def test_a_node_and_an_agent_answer_and_promtool_agrees(tmp_path: Path) -> None:
    broker, node_port, agent_port = free_port(), free_port(), free_port()
    at = f"127.0.0.1:{broker}"
    node = ["node", "--name", "n1", "--listen", at, "--blobs", f"127.0.0.1:{free_port()}", "--init"]
    agent = ["agent", "--name", "a1", "--runtime", "instant", "--node", at]
    programs = {node_port: node, agent_port: agent}
    with ExitStack() as stack:
        for port, words in programs.items():
            more = ["--state", str(tmp_path / words[0]), "--metrics", f"127.0.0.1:{port}"]
            program = subprocess.Popen(
                [sys.executable, "-m", "workrs.cli.main", *words, *more],
                cwd=ROOT,
                env={**os.environ, "WORKRS_CONFIG": os.devnull},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(program.wait, 60)
            stack.callback(program.terminate)
            until(port, "/ready", "ok\n")
        text = until(node_port, "/metrics", "workrs_agents_live 1\n")
        assert 'workrs_events_total{event="node_running"} 1\n' in text
        until(node_port, "/health", "ok\n")
        text_of_agent = until(agent_port, "/metrics", "workrs_agent_connected 1\n")
        there = set(re.findall(r"^(workrs_\w+)", text + text_of_agent, re.MULTILINE))
        assert there == named()
        for said in (text, text_of_agent):
            ran = subprocess.run(
                ["promtool", "check", "metrics"],
                check=False,
                input=said,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
