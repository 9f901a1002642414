"""Goal: a program that a site left behind is seen, whatever it is called. Method: real ones."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from workrs.faults.play import _left_behind
from workrs.faults.programs import lingering


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that stands in a folder of the site and does not name it."""
    folder = tmp_path / "site-1" / "a1"
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "600"], cwd=folder) as process:
        yield process
        process.kill()


def test_a_program_that_stands_in_a_site_is_left_behind(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert lingering(tmp_path / "site-1", 0.0) == [sleeper.pid]
    assert lingering(tmp_path / "site-10", 0.0) == []


def test_what_ends_in_time_is_not_left_behind(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    sleeper.kill()
    sleeper.wait()
    assert lingering(tmp_path / "site-1", 30.0) == []


def test_what_names_the_site_or_stands_in_it_fails_its_end(
    sleeper: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workrs.faults.play.CLEAN_S", 0.0)
    site = tmp_path / "site-1"
    waits = [sys.executable, "-c", "input()", str(site)]
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as other:
        line = Path(f"/proc/{other.pid}/cmdline")
        until("its command line", lambda: str(site).encode() in line.read_bytes())
        found = list(_left_behind(site))
        other.kill()
    assert [text.split(":")[0] for text in found] == [
        f"process {other.pid}",
        f"process {sleeper.pid}, in a folder of the site",
    ]
