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
    text = (UNITS[0].parent / "workrs-agent@.service").read_text()
    set_ = re.findall(r"^([A-Za-z]+)=", text, re.MULTILINE)
    prefixes = ("Protect", "Private", "Restrict", "SystemCall", "Lock", "NoNew", "Memory")
    assert [name for name in set_ if name.startswith(prefixes) and "ExitStatus" not in name] == []
