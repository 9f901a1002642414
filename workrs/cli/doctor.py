"""`workrs doctor`: what this machine can do, why not more, and what to type for it."""

import os
import tempfile
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workrs.cli.calendar import wall_clock
from workrs.cli.error import FAILED, OK
from workrs.cli.options import Options
from workrs.cli.table import print_json, print_table
from workrs.domain.errors import WorkrsError
from workrs.trust.credential import load_credential
from workrs.trust.expiry import ending, renewal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workrs.engine.probe import Finding, MachineFacts, Verdict

_USUAL: Final = Path("/var/run/docker.sock")
_OWN: Final = "engine of our own, as ./run demo starts it"


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "doctor",
        "what this machine can do, and what to type for the rest",
        examples=(
            "workrs doctor",
            "workrs doctor --engine unix:///var/run/docker.sock --rehearse",
            "workrs doctor --json",
        ),
    )
    it.many(
        "--engine",
        metavar="URL",
        help="judge this container engine; default the one at DOCKER_HOST or the usual place",
    )
    it.value(
        "--checkpoint-key",
        convert=Path,
        metavar="FILE",
        help="what agents here are to seal checkpoints with",
    )
    it.value(
        "--credential",
        convert=Path,
        metavar="FILE",
        help="what a node (its folder), an agent or a person here is to connect with",
    )
    it.flag("--rehearse", help="save and restore a container on that engine, too (1 s)")
    it.flag("--skip-own", help="do not start an engine of our own and rehearse on it (2 s)")
    it.flag("--json", help="print JSON")
    return it


def run(asked: Namespace) -> int:
    """Look, judge, print. 1 when no node can run here."""
    from workrs.engine import probe  # noqa: PLC0415 (the help needs none of it)

    machine = probe.probe_machine()
    found = (
        *probe.findings(machine),
        _judge_key(asked.checkpoint_key),
        _judge_credential(asked.credential),
    )
    ladders = {"no engine: plain processes": probe.rungs(machine, None)}
    for url in asked.engine or _usual_engines():
        ladders[f"engine {url}"] = _judge(machine, url, rehearsed=asked.rehearse)
    if not asked.skip_own and machine.is_root and machine.programs["dockerd"]:
        ladders[_OWN] = _judge_own(machine)
    if asked.json:
        print_json(
            {
                "findings": [asdict(finding) for finding in found],
                "rungs": {
                    where: [asdict(verdict) for verdict in verdicts]
                    for where, verdicts in ladders.items()
                },
            }
        )
    else:
        _print(found, ladders)
    return OK if machine.programs["mosquitto"] else FAILED


def _judge_key(path: Path | None) -> "Finding":
    """Say whether checkpoints would be sealed."""
    from workrs.engine.probe import Finding  # noqa: PLC0415

    if path is None:
        return Finding(
            name="checkpoint key",
            ok=False,
            why="none given: what programs have in memory is stored as it is, so an agent takes "
            "nodes of this machine alone",
            fix="workrs key make FILE, then --checkpoint-key FILE",
        )
    try:
        from edge_agent.checkpoint.keys import read_keys  # noqa: PLC0415

        keys = read_keys(path)
    except (WorkrsError, ModuleNotFoundError) as error:
        fix = f"workrs key make {path}" if not path.exists() else ""
        return Finding(name="checkpoint key", ok=False, why=str(error), fix=fix)
    why = f"{len(keys.keys)} of cluster {keys.cluster}, sealing with {keys.keys[0].id.hex()}"
    return Finding(name="checkpoint key", ok=True, why=why)


def _judge_credential(path: Path | None) -> "Finding":
    """Say who it is of, and until when it lasts."""
    from workrs.engine.probe import Finding  # noqa: PLC0415

    if path is None:
        return Finding(
            name="credential",
            ok=False,
            why="none given: nodes, agents and commands keep to this machine",
            fix="workrs init DIR NAME=HOST …, workrs enrol agent NAME --cluster DIR",
        )
    try:
        credential = load_credential(path)
        credential.client_context()
    except WorkrsError as error:
        return Finding(name="credential", ok=False, why=str(error), fix="")
    who = f"{credential.kind.value} {credential.name} of {credential.cluster}"
    until = credential.valid_until_wall
    if not until:
        return Finding(name="credential", ok=True, why=f"{who}, by a password that does not end")
    if found := ending(credential, wall_clock().date()):
        return Finding(name="credential", ok=False, why=f"{who}, {found}", fix=renewal(credential))
    return Finding(name="credential", ok=True, why=f"{who}, until {until}")


def _usual_engines() -> list[str]:
    named = os.environ.get("DOCKER_HOST")
    if named:
        return [named]
    return [f"unix://{_USUAL}"] if _USUAL.exists() else []


def _judge(machine: "MachineFacts", url: str, *, rehearsed: bool) -> "tuple[Verdict, ...]":
    from workrs.engine.probe import EngineFacts, rungs  # noqa: PLC0415

    try:
        from workrs.engine.engine_facts import probe_engine  # noqa: PLC0415
        from workrs.engine.rehearsal import rehearse  # noqa: PLC0415
    except ModuleNotFoundError as error:
        problem = f"the package {error.name} is not installed"
        return rungs(machine, EngineFacts(url=url, problem=problem))
    engine = probe_engine(url)
    memory, *others = rungs(machine, engine)
    if memory.ok and rehearsed:
        problem = rehearse(url, engine.runc_root)
        why = f"tried, and failed: {problem}" if problem else "tried: a container was restored"
        memory = replace(memory, ok=not problem, why=why)
    return (memory, *others)


def _judge_own(machine: "MachineFacts") -> "tuple[Verdict, ...]":
    """Start an engine of our own, rehearse on it, end it."""
    from workrs.engine.own import own_engines  # noqa: PLC0415
    from workrs.engine.probe import EngineFacts, rungs  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="workrs-doctor-") as root:
        try:
            with own_engines(1, Path(root)) as (engine,):
                return _judge(machine, engine.url, rehearsed=True)
        except WorkrsError as error:
            return rungs(machine, EngineFacts(url="", problem=str(error)))


def _print(found: "Sequence[Finding]", ladders: "Mapping[str, Sequence[Verdict]]") -> None:
    rows = [[one.name, "yes" if one.ok else "no", one.why, one.fix] for one in found]
    print_table(("part", "ok", "what was found", "what to type"), rows, empty="", wrap=True)
    for where, verdicts in ladders.items():
        print(f"\ncheckpoints, {where}:")
        rows = [[one.rung.value, "yes" if one.ok else "no", one.why, one.fix] for one in verdicts]
        print_table(("rung", "ok", "why", "what to type"), rows, empty="", wrap=True)
