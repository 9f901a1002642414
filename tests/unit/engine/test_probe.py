"""Goal: every obstacle on the ladder is named, with what to type. Method: facts made by hand."""

import json
from dataclasses import asdict, replace

import pytest

from workrs.engine.probe import (
    DAEMON_JSON,
    CriuFacts,
    EngineFacts,
    MachineFacts,
    best,
    findings,
    rungs,
)
from workrs.oci import RUNTIME_NAME, RUNTIME_PATH
from workrs.ports.runtime import Rung

MACHINE = MachineFacts(
    is_root=True,
    programs=dict.fromkeys(("mosquitto", "dockerd", "containerd", "runc", "busybox"), "/bin/x"),
    criu=CriuFacts(path="/bin/criu", version="4.1.1"),
    cgroup_version=2,
    has_sys_resource=True,
    python="3.11.2",
    kernel="6.1.0",
    has_runtime=True,
)
ENGINE = EngineFacts(
    url="unix:///run/e.sock",
    version="20.10.24",
    runtimes=("runc", RUNTIME_NAME),
    is_local=True,
    runc_root="/run/e/runtime-runc/moby",
)


def test_where_everything_is_there_memory_is_saved() -> None:
    assert best(rungs(MACHINE, ENGINE)).rung is Rung.MEMORY
    assert all(finding.ok and not finding.fix for finding in findings(MACHINE))


@pytest.mark.parametrize(
    ("machine", "engine", "why", "fix"),
    [
        (replace(MACHINE, is_root=False), ENGINE, "root", "sudo"),
        (replace(MACHINE, programs=MACHINE.programs | {"runc": ""}), ENGINE, "runc", "setup"),
        (replace(MACHINE, criu=CriuFacts()), ENGINE, "no criu", "setup"),
        (
            replace(MACHINE, criu=CriuFacts(path="/bin/criu", problem="rt vDSO area")),
            ENGINE,
            "rt vDSO area",
            "setup",
        ),
        (replace(MACHINE, has_runtime=False), ENGINE, str(RUNTIME_PATH), "setup"),
        (MACHINE, replace(ENGINE, runtimes=("runc",)), RUNTIME_NAME, DAEMON_JSON),
        (MACHINE, replace(ENGINE, runc_root=""), "exec-root", ""),
        (MACHINE, replace(ENGINE, is_shared=False), "shared", "--make-shared"),
        (MACHINE, replace(ENGINE, is_rootless=True), "other users", ""),
        (MACHINE, replace(ENGINE, remaps_users=True), "other users", ""),
    ],
)
def test_an_obstacle_to_memory_is_named_and_files_are_still_saved(
    machine: MachineFacts, engine: EngineFacts, why: str, fix: str
) -> None:
    memory = rungs(machine, engine)[0]
    assert not memory.ok
    assert why in memory.why
    assert fix in memory.fix
    assert best(rungs(machine, engine)).rung is Rung.FILES


@pytest.mark.parametrize(
    "engine", [replace(ENGINE, is_local=False), EngineFacts(url="tcp://far", problem="refused")]
)
def test_of_an_engine_elsewhere_or_a_silent_one_nothing_is_saved(engine: EngineFacts) -> None:
    assert best(rungs(MACHINE, engine)).rung is Rung.NONE


def test_plain_processes_have_their_files() -> None:
    assert best(rungs(MACHINE, None)).rung is Rung.FILES


def test_the_lines_for_a_foreign_engine_are_json() -> None:
    assert json.loads(DAEMON_JSON) == {"runtimes": {RUNTIME_NAME: {"path": str(RUNTIME_PATH)}}}


def test_all_answers_can_be_written_as_json() -> None:
    judged = [asdict(finding) for finding in findings(MACHINE)]
    judged += [asdict(verdict) for verdict in rungs(MACHINE, ENGINE)]
    assert json.loads(json.dumps([*judged, asdict(MACHINE), asdict(ENGINE)]))
