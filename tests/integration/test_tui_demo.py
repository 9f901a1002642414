"""Goal: `workrs demo --tui` plays the demo under the dashboard, ends well and leaves nothing.

Method: the real command in a pseudo-terminal, as a person starts it; `q` is pressed once the
dashboard says that the acts are over. Jobs run as plain processes, so that no engine is needed.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)
WAIT_S = 240.0
GONE_S = 30.0
"""What was killed needs a core to go."""
SEQUENCE = re.compile(r"\x1b\[[0-9;?<>]*[a-zA-Z]")


def processes_that_name(folder: Path) -> list[str]:
    """Return command lines of this machine with *folder* in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def read_until(terminal: int, text: str, process: subprocess.Popen[bytes]) -> str:
    """Return what was written up to *text*; fail when the process ends before or time is over."""
    deadline, written = time.monotonic() + WAIT_S, ""
    while text not in SEQUENCE.sub("", written):
        left_s = deadline - time.monotonic()
        assert left_s > 0, f"no {text!r} within {WAIT_S} s: {written[-2000:]!r}"
        if not select.select([terminal], [], [], left_s)[0]:
            continue
        try:
            written += os.read(terminal, 1 << 16).decode(errors="replace")
        except OSError:
            pytest.fail(f"it ended, {process.wait(60)}, without {text!r}: {written[-2000:]!r}")
    return written


def test_the_demo_under_the_dashboard_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    words = [sys.executable, "-m", "workrs.cli.main", "demo", "--tui", "--runtime", "process"]
    environ = {**os.environ, "TERM": "xterm-256color", "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [*words, "--long", "6"],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env=environ,
        start_new_session=True,
    )
    os.close(inner)
    try:
        read_until(terminal, "overview", process)
        read_until(terminal, "the acts are over", process)
        os.write(terminal, b"q")
        rest = read_until(terminal, "0 lost, 0 doubled", process)
        assert process.wait(WAIT_S) == 0, rest
    finally:
        process.kill()
        process.wait(60)
        os.close(terminal)
    assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + GONE_S
    while left := processes_that_name(tmp_path):
        assert time.monotonic() < deadline, left
        select.select([], [], [], 0.1)
