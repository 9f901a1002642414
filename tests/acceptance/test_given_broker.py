"""Goal: a node works with a Mosquitto that somebody else runs, and leaves it alone.

Method: a broker of the test's own with a plain configuration, one node told to use it, one
process agent; the broker is killed and started again empty on the way.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from device_client import Device
from tests.acceptance.agreement import assert_agreement
from tests.mosquitto_fixture import HOST, free_port, wait_for_listener
from workrs.cli.cluster import LocalCluster
from workrs.ports.bus import Address


@contextmanager
def plain_broker(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "given.conf"
    config.write_text(f"listener {port} {HOST}\nallow_anonymous true\nuser root\n")
    with subprocess.Popen(["mosquitto", "-c", config], stderr=subprocess.DEVNULL) as process:
        wait_for_listener(process, Address(host=HOST, port=port))
        try:
            yield process
        finally:
            process.kill()


def test_a_node_uses_a_given_broker_and_refills_it(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    port = free_port()
    with plain_broker(tmp_path, port) as broker:
        cluster = start_cluster(nodes=1, agents=1, ports=(port,), given_brokers=True)
        with Device("pump-7", nodes=cluster.hosts) as device:
            device.run("echo", b"one", job="one")
            assert device.result("one", timeout=60).value == b"one"
            broker.kill()
            broker.wait()
            with plain_broker(tmp_path, port) as second:
                device.run("echo", b"two", job="two")
                assert device.result("two", timeout=60).value == b"two"
                assert_agreement(cluster)
                cluster.stop()
                assert second.poll() is None, "the node ended a broker that is not its own"
