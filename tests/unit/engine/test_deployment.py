"""Goal: the systemd units are what systemd understands, and start programs as they are.

Method: systemd's own checker, on copies whose program exists; the options by our parsers.
"""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
UNITS = sorted((Path(__file__).parents[3] / "deploy" / "systemd").glob("*.service"))


def test_there_is_a_unit_of_each_daemon() -> None:
    assert [unit.name for unit in UNITS] == ["workrs-agent@.service", "workrs-node@.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_about_a_unit(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text().replace("/usr/local/bin/workrs", sys.executable)
    copy = tmp_path / unit.name
    copy.write_text(text.replace("User=workrs", "User=root").replace("Group=workrs", "Group=root"))
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = [line for line in ran.stderr.splitlines() if unit.name in line]
    assert (ran.returncode, said) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_program_takes_the_options_that_a_unit_gives(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    program, name, *words = shlex.split(line.replace("%i", "n1"))
    assert (program, name) == ("/usr/local/bin/workrs", unit.name[7:].partition("@")[0])
    asked = importlib.import_module(f"workrs.cli.{name}").options().parse(words, environ={})
    assert asked.state == Path("/var/lib/workrs/n1")
    assert asked.metrics.is_loopback


def test_an_agent_is_not_cut_off_from_its_engine_and_from_criu() -> None:
    # Both were found by running it: an engine "on another machine", and CRIU's "Unable to suspend".
    set_ = dict(settings("agent"))
    prefixes = ("Protect", "Private", "Restrict", "SystemCall", "Lock", "Memory")
    assert [name for name in set_ if name.startswith(prefixes) and "ExitStatus" not in name] == []


def test_a_warden_outlives_the_agent_that_systemd_kills() -> None:
    # With `mixed`, systemd kills the warden of an agent that died as soon as it sees that; the
    # warden mostly was faster, when it was tried, and must not have to be.
    assert dict(settings("agent"))["KillMode"] == "process"


@pytest.mark.parametrize("unit", ["node", "agent"])
def test_a_daemon_that_hangs_is_killed_and_leaves_no_core_with_its_keys(unit: str) -> None:
    set_ = dict(settings(unit))
    wanted = {"Type": "notify", "NotifyAccess": "main", "LimitCORE": "0", "Restart": "always"}
    assert set_.items() >= wanted.items()
    assert int(set_["WatchdogSec"]) >= 60  # a node with 200,000 jobs may be busy for some of it


@pytest.mark.parametrize("unit", ["node", "agent"])
def test_the_exposure_of_a_unit_is_what_the_page_says(unit: str, tmp_path: Path) -> None:
    (told,) = re.findall(rf"\| `workrs-{unit}@` \| ([\d.]+) \|", PAGE.read_text())
    copy = tmp_path / f"workrs-{unit}@x.service"
    text = (UNITS[0].parent / f"workrs-{unit}@.service").read_text()
    copy.write_text(text.replace("/usr/local/bin/workrs", sys.executable))
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(copy)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.findall(r"Overall exposure level for .*: ([\d.]+)", ran.stdout)
    assert found == [told], ran.stdout + ran.stderr


def settings(unit: str) -> list[tuple[str, str]]:
    """Return what a unit sets, in order."""
    text = (UNITS[0].parent / f"workrs-{unit}@.service").read_text()
    return re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE)
