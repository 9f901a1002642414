"""The `workrs` command against a real node: every subcommand, its output and its exit code.

One node runs as its own process for the whole module. Jobs are ended by an agent of a few
lines that runs nothing (`tests/cli_node.py`).
"""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from tests.cli_node import AGENT, ROOT, agent, run, running_node, told
from tests.mosquitto_fixture import HOST, free_port
from workrs.engine.own import missing, own_engines

pytestmark = pytest.mark.timeout(600)
"""Each starts the program up to a dozen times."""

BINARY = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield HOST:PORT of a running node."""
    with running_node(tmp_path_factory.mktemp("n1")) as at:
        yield at


def test_a_job_from_submit_to_result(node: str) -> None:
    spec = {"image": "echo", "command": ["x"], "input": "hello\n"}
    with agent(node):
        done = run(
            *("submit", "-", "--device", "pump-7", "--job", "hello", "--node", node),
            *("--wait", "--timeout", "60"),
            given=json.dumps(spec).encode(),
        )
    assert (done.returncode, done.stdout) == (0, b"hello\n"), told(done)
    assert "pump-7/hello succeeded" in told(done)
    listed = json.loads(run("jobs", "--device", "pump-7", "--json", "--node", node).stdout)
    (one,) = [job for job in listed if job["job"] == "pump-7/hello"]
    assert (one["state"], one["result_bytes"]) == ("succeeded", 6)
    again = run("result", "hello", "--node", node)
    assert (again.returncode, again.stdout) == (0, b"hello\n")


def test_the_bytes_of_a_result_are_untouched(node: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(BINARY)
    with agent(node):
        words = ("--image", "echo", "--command", "x", "--input", f"{tmp_path}/data")
        done = run("submit", *words, "--node", node, "--device", "pump-7", "--job", "bytes")
        assert (done.returncode, done.stdout) == (0, b"pump-7/bytes\n"), told(done)
        found = run("result", "bytes", "--wait", "--timeout", "60", "--node", node)
    assert (found.returncode, found.stdout) == (0, BINARY), told(found)
    saved = run("result", "bytes", "--output", f"{tmp_path}/out", "--json", "--node", node)
    assert (tmp_path / "out").read_bytes() == BINARY
    assert json.loads(saved.stdout)["result_bytes"] == len(BINARY)
    for place, code in (("/dev/full", 1), (f"{tmp_path}/no/folder", 2)):
        unsaved = run("result", "bytes", "--output", place, "--node", node)
        assert (unsaved.returncode, place in told(unsaved)) == (code, True)


def test_a_job_that_failed_ends_with_1_and_its_reason(node: str) -> None:
    words = ("--image", "fails", "--command", "x", "--device", "pump-7", "--job", "bad")
    with agent(node):
        done = run("submit", *words, "--wait", "--timeout", "60", "--node", node)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "exit 3: no such thing" in told(done)
    again = run("result", "pump-7/bad", "--node", node)
    assert again.returncode == 1
    assert "exit 3: no such thing" in told(again)


def test_an_ended_job_is_tried_again_as_a_new_one(node: str) -> None:
    spec = {"image": "echo", "command": ["x"], "input": "again\n", "env": {"N": "1"}}
    with agent(node):
        words = ("submit", "-", "--device", "pump-7", "--job", "first", "--wait", "--node", node)
        assert run(*words, "--timeout", "60", given=json.dumps(spec).encode()).returncode == 0
        again = ("retry", "pump-7/first", "--device", "pump-7", "--node", node)
        done = run(*again)
        assert (done.returncode, done.stdout) == (0, b"pump-7/first-2\n"), told(done)
        waited = run(*again, "--wait", "--timeout", "60")
        assert (waited.returncode, waited.stdout) == (0, b"again\n"), told(waited)
        assert "pump-7/first-3 succeeded" in told(waited)
    shown = [
        json.loads(run("show", name, "--json", "--node", node).stdout)["spec"]["spec"]
        for name in ("first", "first-2")
    ]
    assert shown[0] == shown[1]
    used = run(*again, "--as", "first")
    assert used.returncode == 0, "the same spec under the same id is the same job"
    submitted = run(
        *("submit", "--image", "echo", "--command", "x", "--label", "nobody-has-this"),
        *("--device", "pump-7", "--job", "open", "--node", node),
    )
    assert submitted.returncode == 0, told(submitted)
    early = run("retry", "open", "--node", node)
    assert early.returncode == 2
    assert "workrs cancel pump-7/open" in told(early)
    assert run("retry", "no-such-job", "--node", node).returncode == 1


def test_a_job_without_an_agent_is_queued_shown_and_cancelled(node: str) -> None:
    words = ("--image", "echo", "--command", "sh -c x", "--label", "nobody-has-this")
    done = run("submit", *words, "--device", "pump-8", "--job", "wait", "--node", node, "--json")
    assert json.loads(done.stdout) == {"job": "pump-8/wait", "state": "accepted"}, told(done)
    listed = json.loads(
        run("jobs", "--device", "pump-8", "--open", "--json", "--node", node).stdout
    )
    assert [(job["job"], job["state"]) for job in listed] == [("pump-8/wait", "queued")]
    shown = run("show", "wait", "--node", node).stdout.decode()
    assert '["sh", "-c", "x"]' in shown
    assert "nobody-has-this" in shown
    late = run("result", "wait", "--node", node)
    assert late.returncode == 1
    assert "is queued" in told(late)
    never = run("result", "wait", "--wait", "--timeout", "0.5", "--node", node)
    assert never.returncode == 4
    cancelled = run("cancel", "pump-8/wait", "--node", node)
    assert (cancelled.returncode, cancelled.stdout) == (0, b"pump-8/wait is being cancelled\n")
    ended = run("result", "wait", "--wait", "--timeout", "60", "--node", node)
    assert ended.returncode == 1
    assert "cancelled" in told(ended)
    again = run("cancel", "wait", "--node", node)
    assert (again.returncode, again.stdout) == (0, b"pump-8/wait has ended already: cancelled\n")


def test_agents_and_drain(node: str) -> None:
    with agent(node):
        for words, state in (("drain", "--wait"), "draining"), (("undrain",), "live"):
            done = run(*words, AGENT, "--json", "--node", node)
            assert json.loads(done.stdout)["ok"], told(done)
            (one,) = json.loads(run("agents", "--json", "--node", node).stdout)
            assert (one["agent"], one["state"], one["profile"]["slots"]) == (AGENT, state, 8)
        assert AGENT in run("agents", "--node", node).stdout.decode()
        assert told(run("drain", AGENT, "--wait", "--node", node)) == ""
        assert run("undrain", AGENT, "--node", node).returncode == 0
    nobody = run("drain", "nobody", "--node", node)
    assert nobody.returncode == 1
    assert "nobody" in told(nobody)


def watched(job: str, node: str) -> bool:
    """Watch a job that does not end for a while; return whether the agent runs it."""
    held = run("watch", job, "--timeout", "2", "--node", node)
    assert held.returncode == 4
    return f"running on {AGENT}" in held.stdout.decode()


def test_a_drain_that_takes_too_long_says_what_is_left_and_goes_on(node: str) -> None:
    words = ("--image", "never", "--command", "x", "--device", "pump-6", "--job", "stays")
    with agent(node):
        assert run("submit", *words, "--node", node).returncode == 0
        until(f"the job on {AGENT}", lambda: watched("pump-6/stays", node))
        late = run("drain", AGENT, "--wait", "--within", "3", "--node", node)
        assert late.returncode == 4
        text = told(late)
        assert f"{AGENT} was not drained within 3 s: pump-6/stays is being moved" in text
        assert f"workrs undrain {AGENT}" in text
        asked = ("drain", AGENT, "--wait", "--within", "3", "--json")
        again = run(*asked, "--node", node)
        assert again.returncode == 4
        found = json.loads(again.stdout)
        assert (found["ok"], found["drained"], found["text"]) == (True, False, text[8:-1])
        assert [job["job"] for job in found["jobs"]] == ["pump-6/stays"]
        assert run("undrain", AGENT, "--node", node).returncode == 0
        assert run("cancel", "pump-6/stays", "--node", node).returncode == 0
    alone = run("drain", AGENT, "--within", "3", "--node", node)
    assert (alone.returncode, "--wait" in told(alone)) == (2, True)


def test_functions_are_told_as_json(node: str) -> None:
    words = ("--image", "echo", "--command", "x", "--node", node, "--json")
    for action in (("add", "told"), ("list",), ("show", "told"), ("remove", "told")):
        more = words if action[0] == "add" else words[4:]
        done = run("function", *action, *more)
        assert done.returncode == 0, told(done)
        assert b"told" in done.stdout


def test_refusals_are_told_with_their_reason(node: str) -> None:
    words = ("submit", "--image", "echo", "--device", "pump-9", "--node", node)
    first = run(*words, "--command", "x", "--job", "once")
    assert first.returncode == 0, told(first)
    assert run(*words, "--command", "x", "--job", "once").returncode == 0
    other = run(*words, "--command", "y", "--job", "once")
    assert other.returncode == 1
    assert "used before" in told(other)
    empty = run(*words, "--job", "empty")
    assert empty.returncode == 1
    assert "command is empty" in told(empty)
    unknown = run("submit", "--function", "nope", "--device", "pump-9", "--node", node)
    assert unknown.returncode == 1
    assert "nope" in told(unknown)


def test_not_found_wrong_use_and_nobody_there(node: str) -> None:
    assert run("show", "no-such-job", "--node", node).returncode == 1
    assert run("show", "pump-7/hel lo", "--node", node).returncode == 2
    assert run("show", "--node", node).returncode == 2
    assert run("jobs", WORKRS_NODES="not an address:x").returncode == 2
    nobody = f"{HOST}:{free_port()}"
    for words in (("jobs",), ("cancel", "x"), ("result", "x"), ("drain", "a"), ("agents",)):
        done = run(*words, "--node", nobody)
        assert done.returncode == 3, words
        assert nobody in told(done)
    done = run("submit", "--image", "x", "--command", "y", "--node", nobody)
    assert done.returncode == 3
    assert nobody in told(done)


def test_the_next_node_is_asked_when_one_is_silent(node: str) -> None:
    done = run("jobs", "--node", f"{HOST}:{free_port()}", "--node", node)
    assert done.returncode == 0, told(done)
    assert run("jobs", WORKRS_NODES=f"{HOST}:1,{node}").returncode == 0


@contextmanager
def lets_in_and_says_nothing() -> Iterator[str]:
    """Yield HOST:PORT of what takes one client, as a broker that hangs then does."""
    with closing(socket.create_server((HOST, 0))) as listener:

        def let_in() -> None:
            client, _ = listener.accept()
            client.recv(1024)
            client.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK: welcome
            held.append(client)

        held: list[socket.socket] = []
        thread = threading.Thread(target=let_in)
        thread.start()
        yield f"{HOST}:{listener.getsockname()[1]}"
        thread.join(20)
        for client in held:
            client.close()


@pytest.mark.parametrize("words", [("jobs",), ("nodes",), ("function", "list")], ids=" ".join)
def test_the_next_node_is_asked_when_one_lets_in_and_then_hangs(
    node: str, words: tuple[str, ...]
) -> None:
    with lets_in_and_says_nothing() as silent:
        done = run(*words, "--node", silent, "--node", node)
    assert done.returncode == 0, told(done)


def test_a_node_without_a_ledger_says_what_to_type(tmp_path: Path) -> None:
    words = ("--listen", f"{HOST}:{free_port()}", "--blobs", f"{HOST}:{free_port()}")
    done = run("node", "--name", "n9", *words, "--state", str(tmp_path / "n9"))
    assert done.returncode == 2
    assert "workrs node --init" in told(done)


def test_ctrl_c_ends_a_wait_quietly(node: str) -> None:
    words = ("--image", "echo", "--command", "x", "--label", "nobody-has-this")
    assert run("submit", *words, "--device", "pump-5", "--job", "c", "--node", node).returncode == 0
    program = [sys.executable, "-m", "workrs.cli.main", "submit", *words, "--node", node]
    waiting = subprocess.Popen(
        [*program, "--device", "pump-5", "--job", "c", "--wait"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert waiting.stderr is not None
    assert b"pump-5/c" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    _, text = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert b"Traceback" not in text


def test_doctor_judges_machine_and_rungs() -> None:
    done = run("doctor", "--skip-own", "--engine", "unix:///nowhere/docker.sock", "--json")
    assert done.returncode == 0, told(done)
    found = json.loads(done.stdout)
    assert {"mosquitto", "criu", "root"} <= {one["name"] for one in found["findings"]}
    silent = found["rungs"]["engine unix:///nowhere/docker.sock"]
    assert [one["ok"] for one in silent] == [False, False, True]
    assert "does not answer" in silent[0]["why"]
    plain = run("doctor", "--skip-own")
    assert b"checkpoints, no engine: plain processes:" in plain.stdout


@pytest.mark.engine
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_image_build_loads_an_image_once(tmp_path: Path) -> None:
    with own_engines(1, tmp_path) as (engine,):
        words = ("image", "build", "--engine", engine.url)
        first = json.loads(run(*words, "--json").stdout)
        assert first["loaded"] == [engine.url]
        assert first["image_id"].startswith("sha256:")
        again = run(*words)
        assert again.stdout.decode().strip() == first["tag"]
        assert "there already" in told(again)
        lacking = run(*words, "--package", "no-such-package-here")
        assert lacking.returncode == 1
        assert "no-such-package-here" in told(lacking)
