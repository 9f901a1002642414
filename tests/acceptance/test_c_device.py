"""Goal: what docs/c.md shows works as it is written, on a real cluster whose brokers die and stop.

Method: the page's own commands, compiled and run; then its program while brokers get SIGKILL
and SIGSTOP in the middle of a job.
"""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from tests.c_compiler import CLIENT, ROOT, STRICT, compiled, needs_gcc
from workrs.cli.cluster import LocalCluster

pytestmark = needs_gcc
PAGE = (ROOT / "docs" / "c.md").read_text()
SLOW = '{"n": 20, "products": 30, "pace_s": 0.1}'


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


@contextmanager
def device(
    cluster: LocalCluster, *words: str, name: str = "pump-7"
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the example on all nodes; give the process and the lines it said so far."""
    nodes = [word for at in cluster.addresses.values() for word in (at.host, str(at.port))]
    said: list[str] = []
    with subprocess.Popen(
        [compiled(CLIENT / "example_posix.c"), name, *words, *nodes],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        reader = threading.Thread(target=lambda: said.extend(process.stderr or ()))
        reader.start()
        try:
            yield process, said
        finally:
            process.kill()
            reader.join()


@pytest.fixture
def cluster(start_cluster: Callable[..., LocalCluster]) -> LocalCluster:
    return start_cluster(nodes=3, agents=1)


def test_the_page_works_and_a_job_outlives_its_brokers(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    commands = block("sh").replace("device_client/c", str(CLIENT))
    for port, at in zip(("1883", "1884", "1885"), cluster.addresses.values(), strict=True):
        commands = commands.replace(f"127.0.0.1 {port}", f"{at.host} {at.port}")
    done = subprocess.run(
        ["sh", "-ec", commands],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "hello", done.stderr
    words = [line.split()[0] for line in done.stderr.splitlines()]
    assert [words[0], words[-1]] == ["accepted", "succeeded"]

    for number in (signal.SIGKILL, signal.SIGSTOP):
        with device(cluster, "matrix", f"job-{number}", SLOW) as (process, said):
            until("the start", lambda said=said: any(x.startswith("running") for x in said))  # type: ignore[misc]
            broker = cluster.broker_pid("n1")
            os.kill(broker, number)
            out = process.stdout
            assert out is not None
            result = out.read()
            if number == signal.SIGSTOP:
                os.kill(broker, signal.SIGCONT)
            assert process.wait() == 0, said
        assert '"products": 30' in result, said
        reason = "ended" if number == signal.SIGKILL else "no sign of life"
        assert any(reason in line for line in said), said


def test_the_pages_port_compiles(tmp_path: Path) -> None:
    (tmp_path / "port.c").write_text(block("c"))
    subprocess.run(
        ["gcc", *STRICT, "-fsyntax-only", f"-I{CLIENT}", tmp_path / "port.c"], check=True
    )
