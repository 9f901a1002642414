"""Goal: a board gets its work done by a real cluster, through a broker's death, in 12 KB of heap.

Method: the real MicroPython runs the quick start of docs/micropython.md word for word, and a
program that waits while the broker it is connected to gets SIGKILL. The heap is that of a 32-bit
MicroPython, whose objects have the size they have on a board.
"""

import os
import platform
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from tests.integration.device_peer import Broker
from tests.micropython_fixture import ROOT, Board
from workrs.cli.cluster import LocalCluster
from workrs.ports.bus import Address

DOCS = (ROOT / "docs" / "micropython.md").read_text()
HEAP_MAX_BYTES = 12 * 1024


def addresses(cluster: LocalCluster) -> list[str]:
    return [f"{at.host}:{at.port}" for at in cluster.addresses.values()]


def listens(at: Address) -> bool:
    try:
        socket.create_connection((at.host, at.port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


def test_the_quick_start_works_as_it_is_written(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    program = DOCS.split("```python\n")[1].split("```")[0]
    assert len(program.strip().splitlines()) <= 10
    nodes = '["10.0.0.1", "10.0.0.2"]'
    assert nodes in program
    cluster = start_cluster(nodes=1, agents=1)
    with Board(program.replace(nodes, str(addresses(cluster))), folder=tmp_path) as run:
        lines = run.output()
    assert lines[0] == "True"
    assert lines[1].split("'")[1] in ("accepted", "queued", "running", "succeeded")
    assert lines[2:] == ["b'1 2 3 4'"]
    assert (tmp_path / "jobs").read_bytes() == b""


def test_a_killed_broker_costs_no_job_and_no_result(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    program = """
import sys, workrs
shell = "while [ ! -e " + sys.argv.pop() + " ]; do sleep 0.1; done; echo done"
device = workrs.Device("pump-7", sys.argv[1:])
long = device.submit({"image": "none", "command": ["sh", "-c", shell]})
device.accepted(long)
while device.state(long)[0] != "running":
    device.poll(0.1)
print("running")
sys.stdin.readline()
lost = device.run("echo", b"sent to nobody")
print(device.result(lost, 60), device.result(long, 60))
"""
    cluster = start_cluster(nodes=3, agents=1)
    go = tmp_path / "go"
    with Board(program, *addresses(cluster), str(go), folder=tmp_path, feeds=True) as run:
        run.wait_for("running")
        os.kill(cluster.broker_pid("n1"), signal.SIGKILL)
        run.press_enter()
        go.touch()
        assert run.output(120) == ["running", r"b'sent to nobody' b'done\n'"]
    until("the broker's return", lambda: listens(cluster.addresses["n1"]))


@pytest.mark.parametrize("outbox", ["", "jobs"])
def test_the_heap_after_connecting_is_what_the_table_says(
    broker: Broker, tmp_path: Path, outbox: str
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("a 32-bit MicroPython is only to be had on a PC")
    program = """
import gc, sys
def used():
    gc.collect()
    return gc.mem_alloc()
before = used()
import workrs
imported = used()
device = workrs.Device("pump-7", sys.argv[1:2], outbox=sys.argv[2])
connected = False
while not connected:
    connected = device.poll(1)
print(connected, imported - before, used() - before)
"""
    with Board(program, broker.address, outbox, folder=tmp_path, port="micropython32") as run:
        connected, *heap = run.output()[0].split()
    assert connected == "True"
    row = re.search(r"^\| compiled on the board from `workrs.py` (\| .+) \|$", DOCS, re.MULTILINE)
    assert row, "the table is not there"
    imported, plain, kept = (int(cell.replace(",", "")) for cell in row[1].split("|")[1:])
    assert int(heap[1]) <= HEAP_MAX_BYTES
    for measured, said in zip(map(int, heap), (imported, kept if outbox else plain), strict=True):
        assert abs(measured - said) <= 400, (measured, said)
