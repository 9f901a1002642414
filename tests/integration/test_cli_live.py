"""Goal: what a person follows in a terminal or pipe is live, ends as it should, and says why.

Method: the program against one real node, with an agent of a few lines.
"""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_node import AGENT, ROOT, agent, run, running_node, told

PROGRAM = (sys.executable, "-m", "workrs.cli.main")
NEVER = ("--image", "echo", "--command", "x", "--label", "nobody-has-this")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield HOST:PORT of a running node."""
    with running_node(tmp_path_factory.mktemp("n1")) as at:
        yield at


def submit(node: str, job: str, *words: str) -> None:
    done = run("submit", *(words or NEVER), "--device", "pump-7", "--job", job, "--node", node)
    assert done.returncode == 0, told(done)


def started(*words: str) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return subprocess.Popen([*PROGRAM, *words], stdout=pipe, stderr=pipe, cwd=ROOT)


def test_nodes_says_how_each_stands(node: str) -> None:
    (one,) = json.loads(run("nodes", "--json", "--node", node).stdout)
    assert (one["node"], one["health"], one["role"], one["heard"]) == ("n1", "ok", "votes", True)
    assert one["bridges"] == []
    assert one["commits"] >= 0
    assert run("nodes", "--node", node).stdout.split()[:2] == [b"NODE", b"HEALTH"]


def test_top_is_printed_once_where_there_is_no_terminal(node: str) -> None:
    submit(node, "top")
    with agent(node):
        found = json.loads(run("top", "--json", "--node", node).stdout)
        text = run("top", "--node", node).stdout.decode()
    assert found["jobs"]["queued"] >= 1
    assert found["agents"] == {"live": 1, "draining": 0, "gone": 0, "slots": 8, "slots_used": 0}
    assert [one["node"] for one in found["nodes"]] == ["n1"]
    assert "1 of 1 nodes, 1 agent, 0 of 8 slots in use" in text
    assert "pump-7/top" in text
    assert AGENT in text


def test_top_draws_on_a_terminal_until_q(node: str) -> None:
    process, screen = pty.fork()
    if process == 0:
        os.environ |= {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        os.execv(sys.executable, [*PROGRAM, "top", "--node", node])
    seen, is_asked = b"", False
    while select.select([screen], [], [], 60)[0]:
        try:
            seen += os.read(screen, 65536)
        except OSError:
            break
        if b"1 of 1 nodes" in seen and not is_asked:
            os.write(screen, b"xq")
            is_asked = True
    os.close(screen)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, seen
    assert seen.index(b"\x1b[?1049h") < seen.index(b"1 of 1 nodes") < seen.index(b"\x1b[?1049l")


def test_events_are_told_as_they_happen_and_by_a_filter(node: str) -> None:
    follow = started(
        *("events", "-f", "--json", "--count", "1", "--timeout", "60", "--node", node),
        *(
            "--filter",
            "of:pump-7/event,127.0.0.1 event:watching,succeeded,failed -event:agent_gone",
        ),
    )
    assert follow.stdout is not None
    # What has ended before it watches is no news to it.
    assert json.loads(follow.stdout.readline())["event"] == "watching"
    with agent(node):
        submit(node, "event", "--image", "echo", "--command", "x")
        text, error = follow.communicate(timeout=90)
    assert follow.returncode == 0, error
    told_of = json.loads(text)
    assert (told_of["event"], told_of["of"]) == ("succeeded", "pump-7/event")
    assert set(told_of) == {"wall", "event", "of", "text"}


def test_events_end_by_themselves_without_follow(node: str) -> None:
    done = run("events", "--timeout", "5", "--node", node)
    assert done.returncode == 0
    assert b"watching" in done.stdout
    # Of nobody: that an agent of another test is gone may be told in this second.
    none = ("--count", "9", "--timeout", "1", "--filter", "of:nobody")
    short = run("events", *none, "--node", node)
    assert short.returncode == 4
    assert "0 of 9 events came within 1 s" in told(short)


ENDS = {"echo": (0, "succeeded"), "fails": (1, "failed")}


@pytest.mark.parametrize("image", ENDS)
def test_watch_ends_with_the_job_and_its_code_is_the_outcome(node: str, image: str) -> None:
    code, state = ENDS[image]
    submit(node, f"watch-{image}", "--image", image, "--command", "x", "--input", "/dev/null")
    watch = started("watch", f"watch-{image}", "--timeout", "60", "--node", node)
    assert watch.stdout is not None
    assert b"queued" in watch.stdout.readline()
    with agent(node):
        text, error = watch.communicate(timeout=90)
    assert watch.returncode == code, error
    assert f"pump-7/watch-{image} {state}" in text.decode()
    again = run("watch", f"pump-7/watch-{image}", "--json", "--node", node)
    assert again.returncode == code
    assert [json.loads(line)["state"] for line in again.stdout.splitlines()] == [state]


def test_watch_has_a_limit_and_names_what_is_near(node: str) -> None:
    submit(node, "slowly")
    late = run("watch", "slowly", "--timeout", "5", "--node", node)
    assert late.returncode == 4
    assert b"queued" in late.stdout
    for name in ("slowli", "pump-7/slowyl", "pump-8/slowly"):
        missing = run("watch", name, "--node", node)
        assert missing.returncode == 1
        assert "slowly?" in told(missing)


FOLLOWING = {
    "watch": ("watch", "closed"),
    "logs": ("logs", "closed", "-f"),
    "events": ("events", "-f"),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_ctrl_c_ends_what_follows_quietly(node: str, name: str) -> None:
    submit(node, "closed")
    follow = started(*FOLLOWING[name], "--node", node)
    assert follow.stdout is not None
    assert follow.stderr is not None
    assert (follow.stderr if name == "logs" else follow.stdout).readline()
    follow.send_signal(signal.SIGINT)
    _, error = follow.communicate(timeout=60)
    assert follow.returncode == 130
    assert error == b""


def test_a_closed_pipe_ends_what_prints_quietly(node: str) -> None:
    follow = started("events", "-f", "--json", "--node", node)
    assert follow.stdout is not None
    assert follow.stderr is not None
    assert b"watching" in follow.stdout.readline()
    follow.stdout.close()
    submit(node, "unread")
    assert follow.wait(60) == 0
    assert follow.stderr.read() == b""
    follow.stderr.close()


@pytest.mark.parametrize("words", [("jobs",), ("nodes",), ("top", "--once"), ("watch", "full")])
def test_a_full_disk_is_told(node: str, words: tuple[str, ...]) -> None:
    submit(node, "full")
    assert run("cancel", "full", "--node", node).returncode == 0
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, *words, "--node", node], check=False, stdout=full, stderr=-1, cwd=ROOT
        )
    assert done.returncode == 1
    assert done.stderr == b"workrs: cannot write the output: No space left on device\n"


def test_an_output_that_is_closed_is_no_mistake(node: str) -> None:
    shell = f"exec {sys.executable} -m workrs.cli.main jobs --node {node} >&- 2>&- <&-"
    assert subprocess.run(["sh", "-c", shell], check=False, cwd=ROOT).returncode == 0
