"""Goal: `./run faults` says what it does not do. Method: its command line, nothing is played."""

import os
import subprocess
import sys

import pytest

from workrs.faults.__main__ import main


def test_minutes_without_pairs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "agent-killed", "--minutes", "3"]) == 2
    assert "--minutes says how long pairs goes on" in capsys.readouterr().err


def test_a_reader_that_leaves_the_list_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "workrs.faults", "--list"]
    try:
        done = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
