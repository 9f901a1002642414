"""Goal: injected network faults are the ones asked for, and nothing of them is left.

Method: real namespaces, a real packet filter and real doors, with plain TCP between them.
"""

import asyncio
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.mosquitto_fixture import free_port
from workrs.faults.net import Network, open_network
from workrs.faults.netns import lacking
from workrs.faults.proxy import Door, open_door

PORT = 1883
PATIENCE_S = 60.0
SILENCE_S = 0.3


ECHOED: list[bytes] = []
"""What servers have heard and sent back."""


@pytest.fixture
def network() -> Iterator[Network]:
    """Open a network of three hosts, where the machine can."""
    if why := lacking():
        pytest.skip(why)
    with open_network(("n1", "n2", "a1")) as found:
        yield found


@contextmanager
def listening(
    network: Network | None = None, member: str = "", port: int = PORT
) -> Iterator[socket.socket]:
    """Serve every client with what it sends: on loopback, or at a member's host."""
    ECHOED.clear()
    if network is None:
        server = socket.create_server(("127.0.0.1", 0))
    else:
        with network.inside(member):
            server = socket.create_server((network.address(member), port))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def answer(client: socket.socket) -> None:
    with client:
        try:
            while piece := client.recv(4096):
                client.sendall(piece)
                ECHOED.append(piece)
        except OSError:
            return


def connect(address: str, port: int = PORT) -> socket.socket:
    return socket.create_connection((address, port), timeout=PATIENCE_S)


def hears(connection: socket.socket, text: bytes, timeout_s: float = PATIENCE_S) -> bool:
    """Return whether *text* comes back."""
    connection.settimeout(timeout_s)
    try:
        connection.sendall(text)
        found = b""
        while len(found) < len(text):
            piece = connection.recv(4096)
            if not piece:
                return False
            found += piece
    except TimeoutError:
        return False
    return found == text


@contextmanager
def talk(network: Network, sender: str, receiver: str) -> Iterator[socket.socket]:
    """Connect one host to another, which repeats what it hears."""
    with listening(network, receiver):
        with network.inside(sender):
            connection = connect(network.address(receiver))
        with connection:
            assert hears(connection, b"hello")
            yield connection


def test_a_cut_is_silent_and_heals_by_itself(network: Network) -> None:
    with talk(network, "a1", "n1") as connection:
        network.cut("a1", "n1")
        assert not hears(connection, b"anybody there?", SILENCE_S)
        network.heal()
        connection.settimeout(PATIENCE_S)
        assert connection.recv(100) == b"anybody there?"


def test_a_cut_leaves_other_pairs_and_the_observer_alone(network: Network) -> None:
    with talk(network, "a1", "n1") as connection, connect(network.address("n1")) as observer:
        network.cut("a1", "n2")
        network.cut_one_way("n2", "n1")
        assert hears(connection, b"still")
        network.cut("n1")
        assert hears(observer, b"I see you")
        assert not hears(connection, b"no more", SILENCE_S)


def test_a_one_way_cut_loses_one_way_only(network: Network) -> None:
    with talk(network, "a1", "n1") as connection:
        network.cut_one_way("n1", "a1")
        assert not hears(connection, b"x", SILENCE_S)
        network.heal()
        network.deafen("a1")
        assert network.cuts == {("n1", "a1"), ("n2", "a1")}


def test_a_split_parts_both_sides_but_neither_in_itself(network: Network) -> None:
    network.split("n1", "a1")
    with talk(network, "a1", "n1") as connection:
        assert hears(connection, b"among us")
    with network.inside("a1"), pytest.raises(TimeoutError):
        socket.create_connection((network.address("n2"), PORT), timeout=SILENCE_S)
    network.heal()
    with network.inside("a1"), pytest.raises(ConnectionRefusedError):
        connect(network.address("n2"))


def test_the_share_of_packets_that_was_asked_for_is_lost(network: Network) -> None:
    network.lose(0.1)
    address = network.address("n1")
    with network.inside("n1"):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.bind((address, PORT))
    with network.inside("a1"):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        arrived = 0
        for batch in range(40):
            for _ in range(50):
                sender.sendto(b"x", (address, PORT))
            # What a busy kernel still has on its way is there before a mark that follows it.
            arrived += until_marked(sender, receiver, b"mark %d" % batch, (address, PORT))
        # Five standard deviations to either side of 200.
        assert 2000 - arrived in range(133, 267)


def until_marked(
    sender: socket.socket, receiver: socket.socket, mark: bytes, to: tuple[str, int]
) -> int:
    """Send a mark until it arrives; return how many other datagrams did before it."""
    found = 0
    for _ in range(100):
        sender.sendto(mark, to)
        while select.select([receiver], [], [], 0.05)[0]:
            said = receiver.recv(16)
            if said == mark:
                return found
            found += said == b"x"
    pytest.fail("a hundred marks were lost")


def test_a_place_runs_a_command_at_its_host(network: Network) -> None:
    place = network.place("n2")
    command = [*place.prefix, "ip", "-brief", "-4", "address", "show", "dev", "eth0"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split()[2] == f"{place.host}/24"


def test_nothing_is_left_even_of_a_killed_owner() -> None:
    if why := lacking():
        pytest.skip(why)
    code = (
        "import os, pathlib, signal\n"
        "from workrs.faults.net import open_network\n"
        "with open_network(('n1', 'n2')) as network:\n"
        "    network.door('n1', 1883)\n"
        "    print(pathlib.Path(network.hosts['n1'].namespace.path).stat().st_ino, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    made = int(done.stdout)
    deadline = time.monotonic() + PATIENCE_S
    while made in inhabited_namespaces():
        assert time.monotonic() < deadline, "a door outlives its owner"
    # A file that stands for a namespace is the only thing that outlives every process in it.
    assert f"net:[{made}]" not in Path("/proc/self/mountinfo").read_text()
    names = {name for _, name in socket.if_nameindex()}
    assert not names & {"switch", "port0", "port1"}


def inhabited_namespaces() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with suppress(OSError):
            found.add(path.stat().st_ino)
    return found


def test_doors_stand_before_everybody_but_the_observer(network: Network) -> None:
    address = network.address("n1")
    with listening(network, "n1"):
        door = network.door("n1", PORT)
        door.swallow()
        with network.inside("a1"):
            guest = connect(address)
        with guest, connect(address) as observer:
            assert hears(observer, b"at the switch")
            assert not hears(guest, b"swallowed", SILENCE_S)
        network.close_doors()
        with network.inside("a1"), connect(address) as guest:
            assert hears(guest, b"no door")


def test_each_port_of_a_host_has_a_door_of_its_own(network: Network) -> None:
    address, other = network.address("n1"), PORT + 1
    with listening(network, "n1"), listening(network, "n1", other):
        assert network.door("n1", PORT) is network.door("n1", PORT)
        network.door("n1", other).swallow()
        with network.inside("a1"):
            broker, store = connect(address), connect(address, other)
        with broker, store:
            assert hears(broker, b"the first door is open")
            assert not hears(store, b"swallowed", SILENCE_S)
        network.close_doors()
        with network.inside("a1"), connect(address, other) as guest:
            assert hears(guest, b"no door")


def test_a_connection_that_stood_before_a_door_does_not_pass_by(network: Network) -> None:
    """Nor where the kernel has tracked it since another door was opened."""
    address, other = network.address("n1"), PORT + 1
    with listening(network, "n1"), listening(network, "n1", other):
        for port in (PORT, other):
            with network.inside("a1"):
                guest = connect(address, port)
            with guest:
                assert hears(guest, b"no door")
                network.door("n1", port)
                with pytest.raises(ConnectionResetError):
                    hears(guest, b"past the door")


@pytest.fixture
def door_at() -> Iterator[tuple[Door, int]]:
    """Open a door before a server that repeats what it hears."""
    with listening() as server:
        port = free_port()
        door = open_door(port=port, behind=server.getsockname())
        yield door, port
        door.close()


def test_a_slow_door_delays_both_ways_and_keeps_the_order(door_at: tuple[Door, int]) -> None:
    door, port = door_at
    door.slow(0.05, 0.2)

    async def measure() -> float:
        clock = asyncio.get_running_loop().time
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = clock()
        text = b"".join(b"%06d" % n for n in range(2000))
        for start in range(0, len(text), 1500):
            writer.write(text[start : start + 1500])
            await writer.drain()
        assert await reader.readexactly(len(text)) == text
        writer.close()
        return clock() - began

    took_s = asyncio.run(measure())
    assert 0.1 <= took_s < PATIENCE_S


def test_a_deaf_door_keeps_the_socket_and_resets_it_once_it_opens(
    door_at: tuple[Door, int],
) -> None:
    door, port = door_at
    with connect("127.0.0.1", port) as connection:
        assert hears(connection, b"before")
        door.swallow(inbound=False)
        assert not hears(connection, b"lost", SILENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while b"lost" not in ECHOED:
            assert time.monotonic() < deadline
            select.select([], [], [], 0.01)
        # Another order, so that the door has taken the echo in before it is told to open.
        door.swallow(inbound=False)
        door.open()
        with pytest.raises(ConnectionResetError):
            hears(connection, b"after")
    with connect("127.0.0.1", port) as connection:
        assert hears(connection, b"a new one")


def test_a_connection_that_lost_nothing_outlives_a_deaf_door(door_at: tuple[Door, int]) -> None:
    door, port = door_at
    with connect("127.0.0.1", port) as connection:
        assert hears(connection, b"before")
        door.swallow(later=False)
        with connect("127.0.0.1", port) as later:
            assert hears(later, b"a new one passes")
        door.open()
        assert hears(connection, b"after")


def test_a_slammed_door_resets_what_passes_and_lets_others_in(door_at: tuple[Door, int]) -> None:
    door, port = door_at
    with connect("127.0.0.1", port) as connection:
        assert hears(connection, b"before")
        door.slam()
        with pytest.raises(ConnectionResetError):
            hears(connection, b"after")
    with connect("127.0.0.1", port) as connection:
        assert hears(connection, b"a new one")


def test_an_end_of_stream_passes_the_door(door_at: tuple[Door, int]) -> None:
    _, port = door_at
    with connect("127.0.0.1", port) as connection:
        connection.sendall(b"the last words")
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read() == b"the last words"
