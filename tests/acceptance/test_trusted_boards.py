"""Goal: a board and a C program reach a cluster with certificates or passwords, through a death.

Method: three real nodes with TLS made by `workrs init`; the real MicroPython and the example with
Mbed TLS, with nothing but the file of `workrs enrol device`. The broker that they are connected to
gets SIGKILL while their job runs; then they are lied to by a node of another cluster and name.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.c_compiler import CLIENT, MBED_TLS, ROOT, compiled
from tests.micropython_fixture import Board
from tests.secure_cluster import SecureCluster, secure_cluster
from workrs.cli.main import main
from workrs.domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["secure_cluster"]

KINDS = [("certificate", ()), ("password", ("--password",))]
END_S = 120.0
PAGE = (ROOT / "docs" / "c.md").read_text()
FUNCTIONS = """
[until]
image = "none"
command = ["sh", "-c", "while ! [ -e $(cat in/input) ]; do sleep 0.1; done; echo done"]
"""
HEAD = """
import sys, workrs, workrs_credential
def make(path, **more):
    return workrs.Device(**workrs_credential.load(path), keepalive_s=1, answer_timeout_s=2, **more)
"""


@pytest.fixture(scope="module")
def farm(secure_cluster: SecureCluster, tmp_path_factory: pytest.TempPathFactory) -> SecureCluster:
    """The cluster, with a function that runs until a file is there."""
    functions = tmp_path_factory.mktemp("functions") / "functions.toml"
    functions.write_text(FUNCTIONS)
    assert secure_cluster.workrs("function", "add", "--toml", str(functions)) == 0
    return secure_cluster


def has_broker(farm: SecureCluster) -> bool:
    """Return whether the first node's broker runs: after a kill it takes a moment."""
    try:
        return farm.local.broker_pid("n1") > 0
    except ConfigError:
        return False


def kill_broker(farm: SecureCluster) -> None:
    os.kill(farm.local.broker_pid("n1"), signal.SIGKILL)


def revive(farm: SecureCluster) -> None:
    # Others take a node for live a while longer than it is.
    farm.until(lambda: has_broker(farm))
    farm.until(lambda: {"n1", "n2", "n3", "a1", "a2"} <= farm.live())


@contextmanager
def c_device(credential: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the C example; give the process and the lines it said so far."""
    said: list[str] = []
    program = compiled(CLIENT / "example_tls.c", libraries=MBED_TLS)
    with subprocess.Popen(
        [program, credential, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), name="reader")
        reader.start()
        try:
            yield process, said
        finally:
            process.kill()
            reader.join()


@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_a_board_shows_its_credential_and_outlives_its_broker(
    farm: SecureCluster, tmp_path: Path, kind: str, words: tuple[str, ...]
) -> None:
    farm.enrol("device", f"board-{kind}", *words)
    program = """
device = make(sys.argv[1], outbox="jobs")
job = device.run("until", sys.argv[2].encode())
while device.state(job)[0] != "running":
    device.poll(0.1)
print("running")
sys.stdin.readline()
lost = device.submit({"image": "none", "command": ["cat", "in/input"], "input": "sent to nobody"})
print(device.result(lost, 60), device.result(job, 60))
print(device.trouble != "")
"""
    go = tmp_path / "go"
    credential = str(farm.file(f"board-{kind}"))
    with Board(HEAD + program, credential, str(go), folder=tmp_path, feeds=True) as run:
        run.wait_for("running")
        kill_broker(farm)
        run.press_enter()
        go.touch()
        assert run.output(END_S) == ["running", r"b'sent to nobody' b'done\n'", "True"]
    revive(farm)


@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_the_c_example_shows_its_credential_and_outlives_its_broker(
    farm: SecureCluster, tmp_path: Path, kind: str, words: tuple[str, ...]
) -> None:
    farm.enrol("device", f"chip-{kind}", *words)
    go = tmp_path / "go"
    with c_device(farm.file(f"chip-{kind}"), "until", "job-1", str(go)) as (process, said):
        farm.until(lambda: any(line.startswith("running") for line in said))
        kill_broker(farm)
        farm.until(lambda: any(": " in line for line in said))
        go.touch()
        assert process.stdout is not None
        assert process.stdout.read() == "done\n", said
        assert process.wait(END_S) == 0, said
    revive(farm)


def test_the_commands_of_the_page_work(farm: SecureCluster, tmp_path: Path) -> None:
    found = re.search(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    farm.enrol("device", "page")
    commands = found[1].replace("device_client/c", str(CLIENT))
    for words, ours in (
        ("farm/members/pump-7.pem", str(farm.file("page"))),
        ("echo job-1 'hello'", "until job-1 /dev/null"),
    ):
        assert words in commands
        commands = commands.replace(words, ours)
    shell = ["sh", "-ec", commands]
    done = subprocess.run(
        shell, cwd=tmp_path, capture_output=True, text=True, timeout=END_S, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def changed(farm: SecureCluster, name: str, folder: Path, lie: str) -> Path:
    """Return a copy of a credential that is right but for one thing."""
    text = farm.file(name).read_text()
    if lie == "another name":
        text = text.replace("=127.0.0.1:", "=localhost:")
    else:
        assert main(("init", str(folder / "other"), "n1=127.0.0.1:1000", "--user", "eve")) == 0
        other = (folder / "other/members/eve.pem").read_text()
        authority = (
            "-----BEGIN CERTIFICATE-----" + other.rpartition("-----BEGIN CERTIFICATE-----")[2]
        )
        head, _, _ = text.rpartition("-----BEGIN CERTIFICATE-----")
        text = head + authority
    path = folder / "lied.pem"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.mark.parametrize("lie", ["another name", "another authority"])
def test_a_node_that_cannot_prove_itself_is_told_nothing(
    farm: SecureCluster, tmp_path: Path, lie: str
) -> None:
    name = f"wary-{lie.split()[1]}"
    farm.enrol("device", name, "--password")
    path = changed(farm, name, tmp_path, lie)
    program = """
device = make(sys.argv[1])
while "ertificate" not in device.trouble:  # a slow node is left for another reason
    print(device.poll(0.1))
print(device.trouble)
"""
    with Board(HEAD + program, str(path), folder=tmp_path) as run:
        *polls, trouble = run.output()
        assert "True" not in polls
        assert re.search("[Cc]ertificate", trouble), trouble
    with c_device(path, "until", "job-1", "/dev/null") as (process, said):
        farm.until(lambda: sum("the connection ended" in line for line in said) >= 3)
        farm.until(lambda: any("TLS: -0x2700" in line for line in said))
        assert process.poll() is None
    with c_device(farm.file(name), "until", "job-1", "/dev/null") as (process, said):
        assert process.wait(END_S) == 0, said


@pytest.mark.parametrize(("kind", "words"), KINDS)
def test_a_board_that_is_revoked_is_cut_off_and_told_so(
    farm: SecureCluster, tmp_path: Path, kind: str, words: tuple[str, ...]
) -> None:
    name = f"stolen-{kind}"
    farm.enrol("device", name, *words)
    copy = tmp_path / "copy.pem"
    shutil.copy(farm.file(name), copy)
    # Each word is one of the page's. A password takes a moment to get to the nodes, too.
    told = ["refused 5", "refused 4"] if words else ["-30592", ": 32", "Errno 104"]
    program = """
device = make(sys.argv[1])
while not device.poll(0.1):
    pass
print("connected")
sys.stdin.readline()
device.trouble = ""
end = time.time() + 90
while not any(word in device.trouble for word in sys.argv[2:]):
    device.poll(0.1)
    if time.time() > end:
        print(device.trouble or "no trouble, connected: %s" % device.poll(0.1))
        break
print(device.poll(1))
"""
    with Board(
        "import time\n" + HEAD + program, str(copy), *told, folder=tmp_path, feeds=True
    ) as run:
        run.wait_for("connected")
        assert main(("revoke", name, "--cluster", str(farm.folder))) == 0
        run.press_enter()
        assert run.output(END_S) == ["connected", "False"]
    with c_device(copy, "until", "job-1", "/dev/null") as (process, said):
        try:
            farm.until(lambda: sum(": " in line for line in said) >= 4, within_s=END_S)
        except pytest.fail.Exception:
            pytest.fail(f"{process.poll()}: {said}")
        assert process.poll() is None
        assert not any("accepted" in line for line in said), said
