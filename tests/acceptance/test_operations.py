"""Goal: docs/operations.md works as it is written, on machines with a real systemd.

Method: its commands are read off the page and typed: on three machines for nodes and one for an
agent, each with a systemd of its own, and on the operator's. What is not typed is `./run setup`
(the machines have what this one has), and `scp` and `ssh` go by another way than SSH.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from tests.acceptance.machine import ROOT, RUN_S, Machine, machines, run, why_not

PAGE = ROOT / "docs" / "operations.md"
NODES = {f"n{n}": f"10.0.0.{n}" for n in range(1, 5)}
AGENTS = {"a1": "10.0.0.11", "a2": "10.0.0.12"}
NETWORK = f"workrs-ops-{os.getpid()}"
"""Of this run alone: one that was killed may have left its own."""
TEN_MINUTES_S = 600.0
"""What the page says; 32 to 63 s on two busy cores, without the set-up."""
pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.timeout(900),  # the first test boots the machines and types a section
]


def blocks(heading: str) -> list[str]:
    """Return the shell blocks below a heading of the page."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, heading
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


class Operator:
    """Who types on a machine that is no node."""

    def __init__(self, folder: Path, fleet: dict[str, Machine]) -> None:
        """Take a folder to type in, and the machines that SSH reaches."""
        self.folder = folder
        self.fleet = fleet
        (folder / "bin").mkdir()
        inits = "\n".join(f"{m.address}) init={m.init};;" for m in fleet.values())
        enter = (
            "nsenter -t $init -m -p -u -i -n -C -- env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin"
        )
        self._tool("ssh", f'host=${{1#*@}}; shift\ncase $host in {inits} esac\nexec {enter} "$@"\n')
        self._tool(
            "scp",
            'while [ "${1#-}" != "$1" ]; do shift; done\nfor last; do :; done\n'
            f"host=${{last%%:*}}; host=${{host#*@}}; to=${{last#*:}}\ncase $host in {inits} esac\n"
            f'while [ $# -gt 1 ]; do\n    b=$(basename "$1"); into=$to\n'
            f'    case $to in */) ;; *) into=$(dirname "$to");; esac\n'
            f'    tar -C "$(dirname "$1")" -cpf - "$b" | {enter} tar -C "$into" -oxpf -\n'
            "    shift\ndone\n",
        )
        self._tool("workrs", f'exec {ROOT}/.venv/bin/workrs "$@"\n')

    def _tool(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\nset -e\n{text}")
        path.chmod(0o755)

    def type(self, script: str, timeout_s: float = RUN_S) -> str:
        """Type a script; return what it prints."""
        path = f"PATH={self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        space = [
            "ip",
            "netns",
            "exec",
            NETWORK,
            "env",
            "-i",
            path,
            f"HOME={self.folder}",
            "USER=ann",
        ]
        return run(
            [*space, "LOGNAME=ann", "sh", "-e"],
            script,
            where="the operator's",
            cwd=self.folder,
            timeout_s=timeout_s,
        )

    def workrs(self, words: str) -> str:
        """Give a command as the first operator."""
        return self.type(f"WORKRS_CREDENTIAL=$PWD/farm/members/ann.pem workrs {words}")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Machine]]:
    folder = tmp_path_factory.mktemp("machines")
    with machines({**NODES, **AGENTS}, NETWORK, folder) as booted:
        yield booted


@pytest.fixture(scope="module")
def operator(fleet: dict[str, Machine], tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Have the page's first section typed; return who did so."""
    operator = Operator(tmp_path_factory.mktemp("operator"), fleet)
    began = time.monotonic()
    everywhere, yours, node, agent_machine, agent = blocks("Three machines in ten minutes")
    for machine in fleet.values():
        prepare(machine, everywhere)
    operator.type(yours)
    for name in list(NODES)[:3]:
        until_ready = "until curl -sf http://127.0.0.1:9464/ready; do sleep 0.2; done"
        fleet[name].run(node.replace("n1", name).replace("curl -s http://127.0.0.1:9464/ready", ""))
        if name != "n1":
            fleet[name].run(until_ready)
    for name, address in AGENTS.items():
        fleet[name].run(agent_machine)
        if name == "a1":
            make_image(fleet[name])
        else:
            bring_image(fleet["a1"], fleet[name])
        text = agent.replace("a1", name).replace(AGENTS["a1"], address)
        said = operator.type(text)
        assert "hello" in said
    assert time.monotonic() - began < TEN_MINUTES_S
    return operator


def prepare(machine: Machine, script: str) -> None:
    """Do on a machine what is to be done on every one."""
    assert "./run setup" in script
    machine.run(script.replace("./run setup", "true"))


def make_image(machine: Machine) -> None:
    """Have the image that the page's job names, which no registry is reached for here."""
    machine.run(
        "mkdir -p /tmp/i/bin && cp $(command -v busybox) /tmp/i/bin/\n"
        "for p in sh echo sleep; do ln -s busybox /tmp/i/bin/$p; done\n"
        "until docker version >/dev/null 2>&1; do sleep 0.1; done\n"
        "tar -C /tmp/i -c . | docker import - busybox:1"
    )


def bring_image(there: Machine, here: Machine) -> None:
    """Have the very image of another machine: a program's memory is restored with no other."""
    here.run("until docker version >/dev/null 2>&1; do sleep 0.1; done")
    enter = "nsenter -t {} -m -p -u -i -n -C -- docker"
    pipe = f"{enter.format(there.init)} save busybox:1 | {enter.format(here.init)} load"
    run(["sh", "-e"], pipe, where="both")


READY = "until curl -sf http://127.0.0.1:9464/ready; do sleep 0.2; done"


def job(operator: Operator, name: str) -> dict[str, object]:
    """Return what the cluster shows of one of the operator's jobs.

    Nothing where no node shows it: one that has just been started may not have all jobs yet.
    """
    said = operator.workrs(f"show ann/{name} --json 2>/dev/null || echo '{{}}'")
    found: dict[str, object] = json.loads(said)
    return found


def has_state(state: str, operator: Operator, name: str) -> bool:
    """Return whether the cluster shows a job in a state."""
    return job(operator, name).get("state") == state


def log_of(machine: Machine, unit: str, words: str) -> list[str]:
    """Return the lines of a unit's log, of all its starts, that have some words."""
    lines = machine.run(f"journalctl --no-pager -o cat -u {unit}").splitlines()
    return [line for line in lines if words in line]


@pytest.fixture
def long_job(operator: Operator) -> Iterator[str]:
    """Have a job run that outlasts the test."""
    name = f"long-{time.monotonic_ns()}"
    operator.workrs(f"submit --image busybox:1 --command 'sleep 600' --job {name}")
    until("its start", lambda: has_state("running", operator, name))
    yield name
    operator.workrs(f"cancel ann/{name}")
    until("its end", lambda: has_state("cancelled", operator, name))


def test_a_stopped_agent_hands_its_jobs_over_within_its_grace(
    operator: Operator, fleet: dict[str, Machine], long_job: str
) -> None:
    agent = str(job(operator, long_job)["agent"])
    unit = f"workrs-agent@{agent}"
    before = len(log_of(fleet[agent], unit, "agent_ends code=0"))
    began = time.monotonic()
    fleet[agent].run(f"systemctl stop {unit}")
    took_s = time.monotonic() - began
    assert took_s < 30

    def has_moved() -> bool:
        found = job(operator, long_job)
        return found.get("state") == "running" and found["agent"] != agent

    until("another agent", has_moved)
    # The journal takes the last lines in its own time.
    until("the end's line", lambda: len(log_of(fleet[agent], unit, "agent_ends code=0")) > before)
    said = log_of(fleet[agent], unit, f"job=ann_{long_job}")
    assert said
    assert not [line for line in said if "checkpoint_failed" in line]
    assert not fleet[agent].run("docker ps --quiet").strip()
    fleet[agent].run(f"systemctl start {unit}")


def test_killed_daemons_are_started_again_and_nothing_of_them_is_left(
    operator: Operator, fleet: dict[str, Machine], long_job: str
) -> None:
    for unit, machine in (("workrs-node@n1", fleet["n1"]), ("workrs-agent@a1", fleet["a1"])):
        restarts = f"systemctl show -P NRestarts {unit}"
        before = int(machine.run(restarts))
        machine.run(f"systemctl kill --kill-whom=main --signal=KILL {unit}")
        until("its restart", lambda m=machine, r=restarts, b=before: int(m.run(r)) > b)  # type: ignore[misc]
    fleet["n1"].run(READY)
    until("one broker", lambda: fleet["n1"].run("pgrep -xc mosquitto || true").strip() == "1")
    until("it runs", lambda: has_state("running", operator, long_job))


@pytest.mark.parametrize(("unit", "host"), [("workrs-node@n1", "n1"), ("workrs-agent@a1", "a1")])
def test_a_daemon_that_hangs_is_killed_and_started_again(
    operator: Operator, fleet: dict[str, Machine], long_job: str, unit: str, host: str
) -> None:
    machine = fleet[host]
    drop_in = f"/run/systemd/system/{unit}.service.d"
    short = f"mkdir -p {drop_in} && printf '[Service]\nWatchdogSec=6\n' >{drop_in}/short.conf"
    machine.run(f"{short}\nsystemctl daemon-reload\nsystemctl restart {unit}")
    status = f"systemctl show -P StatusText {unit}"
    until("its status", lambda: machine.run(status).startswith("/ready: "))
    restarts = f"systemctl show -P NRestarts {unit}"
    before = int(machine.run(restarts))
    machine.run(f"systemctl kill --kill-whom=main --signal=STOP {unit}")
    until("its restart", lambda: int(machine.run(restarts)) > before, 90)
    is_active = f"systemctl is-active --quiet {unit} && echo yes || true"
    until("it runs again", lambda: machine.run(is_active).strip() == "yes", 90)
    until("it runs", lambda: has_state("running", operator, long_job))
    machine.run(f"rm -r {drop_in} && systemctl daemon-reload && systemctl restart {unit}")


def test_programs_of_an_agent_that_is_killed_and_stays_away_end_by_their_warden(
    operator: Operator, fleet: dict[str, Machine], long_job: str
) -> None:
    agent = str(job(operator, long_job)["agent"])
    machine, unit = fleet[agent], f"workrs-agent@{agent}"
    drop_in = f"/run/systemd/system/{unit}.service.d"
    away = f"mkdir -p {drop_in} && printf '[Service]\nRestart=no\n' >{drop_in}/away.conf"
    machine.run(f"{away}\nsystemctl daemon-reload")
    # An attempt is said to run before its container does.
    until("its container", lambda: machine.run("docker ps --quiet").strip())
    machine.run(f"systemctl kill --kill-whom=main --signal=KILL {unit}")
    until("the end of what it ran", lambda: not machine.run("docker ps --quiet").strip())
    until("the warden's end", lambda: not machine.run("pgrep -f warden_process || true").strip())
    machine.run(f"rm -r {drop_in} && systemctl daemon-reload && systemctl start {unit}")


def submitted_during(operator: Operator, work: Callable[[], object], prefix: str) -> list[str]:
    """Submit one short job after the other while *work* is done; return their names."""
    names: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(work)
        while not (under_way.done() and names):
            names.append(f"{prefix}-{len(names)}")
            operator.workrs(f"submit --image busybox:1 --command 'echo up' --job {names[-1]}")
        under_way.result()
    return names


def test_all_is_upgraded_one_by_one_and_no_job_is_lost(
    operator: Operator, fleet: dict[str, Machine], long_job: str
) -> None:
    before = job(operator, long_job)
    (block,) = blocks("Upgrades without losing a job")
    upgrade = block.replace("git -C /opt/workrs pull && /opt/workrs/run setup\n", "")
    assert upgrade != block
    of_node, cut, of_agent = upgrade.partition("systemctl restart workrs-agent")
    short: list[str] = []
    for name in list(NODES)[:3]:
        script = of_node.replace("n1", name)
        short += submitted_during(operator, lambda m=fleet[name], s=script: m.run(s), f"up-{name}")  # type: ignore[misc]
    after = until("the job", lambda: job(operator, long_job))
    assert (after["agent"], after["epoch"]) == (before["agent"], before["epoch"])
    for name in AGENTS:
        script = f"{cut}{of_agent}".replace("a1", name)
        short += submitted_during(operator, lambda m=fleet[name], s=script: m.run(s), f"up-{name}")  # type: ignore[misc]
    assert len(short) >= len(NODES) - 1 + len(AGENTS)
    for name in short:
        until(f"the end of {name}", lambda name=name: has_state("succeeded", operator, name))  # type: ignore[misc]
    until("it runs", lambda: has_state("running", operator, long_job))
    agent = str(job(operator, long_job)["agent"])
    unit, own = f"workrs-agent@{agent}", f"job=ann_{long_job}"
    until("its memory", lambda: [x for x in log_of(fleet[agent], unit, own) if " restored " in x])
    assert not [x for x in log_of(fleet[agent], unit, own) if " job_fell " in x]


def test_what_is_backed_up_is_there_again(operator: Operator, fleet: dict[str, Machine]) -> None:
    yours, of_node = blocks("Back-up and restore")
    operator.type(yours.partition("tar -x")[0])
    operator.type("mv farm farm.lost\n" + yours.partition("\n")[2])
    assert not operator.type("diff -r farm farm.lost")
    operator.type("workrs enrol agent a9 --cluster farm && workrs revoke a9 --cluster farm")
    fleet["n1"].run(of_node)
    tables = fleet["n1"].run("head -n 1 /var/backups/workrs/*")
    assert "takeovers.csv" in tables
    assert "epoch" in tables


def test_a_node_that_lost_its_disk_is_readmitted(
    operator: Operator, fleet: dict[str, Machine]
) -> None:
    n2 = fleet["n2"]
    n2.run("systemctl stop workrs-node@n2 && rm /var/lib/workrs/n2/ledger.db*")
    n2.run("systemctl start workrs-node@n2 || true")
    why, unit = "no ledger at /var/lib/workrs/n2/ledger.db", "workrs-node@n2"
    until("the reason", lambda: why in n2.run(f"systemctl status {unit} || true"))
    state = "systemctl show -P SubState workrs-node@n2"
    until("its refusal", lambda: n2.run(state).strip() == "failed")
    (block,) = blocks("A node that is replaced")
    n2.run(block)
    until("its re-admission", lambda: log_of(n2, unit, " rejoined "))
    assert "succeeded" in operator.workrs("submit --image busybox:1 --command 'echo again' --wait")


def test_a_fourth_node_is_added_and_removed_again(
    operator: Operator, fleet: dict[str, Machine]
) -> None:
    settled = "curl -s http://127.0.0.1:9464/metrics | grep -c '^workrs_node_list_settled.* 1'"
    for name in list(NODES)[:3]:
        fleet[name].run(f"until {settled}; do sleep 0.2; done")
    yours, each = blocks("A node more, or less")
    operator.type(yours)
    for name in list(NODES)[:3]:
        fleet[name].run(each.replace("n1", name))
    node = blocks("Three machines in ten minutes")[2]
    fleet["n4"].run(node.replace("n1", "n4").replace("curl -s http", "true http"))
    fleet["n4"].run(READY)
    for name in NODES:
        fleet[name].run(f"until {settled}; do sleep 0.2; done")
    assert "succeeded" in operator.workrs("submit --image busybox:1 --command 'echo four' --wait")

    fleet["n4"].run("systemctl disable --now workrs-node@n4")
    operator.type("workrs revoke n4 --cluster farm")
    operator.type(yours.partition("\n")[2].partition("scp -rp")[0])
    for name in list(NODES)[:3]:
        fleet[name].run(each.replace("n1", name))
    for name in list(NODES)[:3]:
        fleet[name].run(f"until {settled}; do sleep 0.2; done")

    (away,) = blocks("Taking it away")
    assert "/opt/workrs" in away  # here a mount, which cannot be removed
    fleet["n4"].run(away.replace(" /opt/workrs", ""))
    assert not fleet["n4"].run(
        "pgrep -x mosquitto || true; systemctl list-unit-files 'workrs*' | grep workrs || true"
    )
