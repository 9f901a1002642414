"""Goal: `workrs up` serves this machine without passwords, says so, and leaves nothing running.

Method: the command itself, as a person runs it; Ctrl-C; another address of the loopback interface.
"""

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli_node import ROOT, run
from tests.mosquitto_fixture import HOST
from tests.secure_cluster import block_of_ports

OTHER_LOOPBACK = "127.0.0.2"


def test_a_local_cluster_is_open_to_this_machine_alone_and_says_so(tmp_path: Path) -> None:
    port = block_of_ports()
    words = ["up", "--nodes", "1", "--agents", "1", "--runtime", "process", "--port", str(port)]
    output = (tmp_path / "output").open("w+b")
    process = subprocess.Popen(
        [sys.executable, "-m", "workrs.cli.main", *words, "--state", str(tmp_path / "state")],
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
    )
    try:
        pause = threading.Event()
        for _ in range(1_200):
            printed = (tmp_path / "output").read_text(errors="replace")
            if "Ctrl-C ends it" in printed or process.poll() is not None:
                break
            pause.wait(0.1)
        assert f"No passwords and no encryption: it listens on {HOST} only." in " ".join(
            printed.split()
        )
        log = (tmp_path / "state" / "logs" / "n1.log").read_text()
        assert 'no_credential why="everybody who reaches this node may do everything"' in log
        assert run("jobs", "--node", f"{HOST}:{port}").returncode == 0
        with pytest.raises(ConnectionRefusedError), socket.socket() as stranger:
            stranger.connect((OTHER_LOOPBACK, port))
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(60)
        output.close()
    assert ended == 0
    with pytest.raises(ConnectionRefusedError), socket.socket() as late:
        late.connect((HOST, port))
