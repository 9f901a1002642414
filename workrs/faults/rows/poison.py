"""Rows about jobs that harm: they fail with a reason, and nobody else notices.

While a poison job runs, two witnesses (ordinary jobs of the same agents) run beside it: each
must be started once and have the right result. A job that kills its agent disturbs the others
of that agent by its nature; there the load's own jobs, which are taken over, are the check.
"""

import itertools
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from device_client import Report, State
from workrs.faults.load import Sent
from workrs.faults.plan import LoadPlan, SitePlan
from workrs.faults.row import ENGINE, Injection, Row, RowError
from workrs.faults.site import Notes, Site

PROCESSES: Final = SitePlan()
CONTAINERS: Final = SitePlan(
    runtime="docker",
    agents=2,
    memory_rung=True,
    # A container costs half a second of a core.
    load=LoadPlan(echo_period_s=4.0, long_jobs=1),
)
ATTEMPTS: Final = 2
KILLS: Final = 3
WITNESS_S: Final = 6.0
END_S: Final = 90.0
_NUMBERS: Final = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """A job that does harm, and what must be said of its end."""

    name: str
    title: str
    command: tuple[str, ...]
    exit_code: int | None
    says: str
    """Part of the reason the device is told."""
    memory_mb: int = 64
    timeout_s: float = 60.0
    kills: bool = False
    """Its agent dies whenever it runs."""
    runtimes: frozenset[str] = field(default_factory=lambda: frozenset({"docker"}))


_BOTH: Final = frozenset({"docker", "process"})
POISONS: Final = (
    Poison(
        name="exit",
        title="a job that exits with 1",
        command=("sh", "-c", "echo these are my last words >&2; exit 1"),
        exit_code=1,
        says="these are my last words",
        runtimes=_BOTH,
    ),
    Poison(
        name="memory",
        title="a job that takes more memory than it may",
        command=("python3", "-c", "x = bytearray(1 << 30); print(len(x))"),
        exit_code=137,
        says="out of memory",
    ),
    Poison(
        name="fork",
        title="a fork bomb",
        # Children that sleep: a bomb that computes slows the whole machine down, by its share.
        command=("sh", "-c", "while :; do sleep 1000 & done"),
        exit_code=2,
        says="can't fork",
        memory_mb=512,
    ),
    Poison(
        name="disk",
        title="a job that fills its disk",
        command=(
            *("python3", "-c"),
            "for n in range(99): open(f'/job/{n}', 'wb').write(bytes(4 << 20))",
        ),
        exit_code=1,
        says="No space left on device",
        memory_mb=512,
    ),
    Poison(
        name="flood",
        title="a job that prints for ever",
        command=("sh", "-c", "yes"),
        exit_code=137,
        says="printed more than",
    ),
    Poison(
        name="flood",
        title="a job that prints for ever",
        command=("sh", "-c", "yes"),
        exit_code=153,
        says="a file grew beyond",
        runtimes=frozenset({"process"}),
    ),
    Poison(
        name="endless",
        title="a job that never ends",
        command=("sh", "-c", "while :; do sleep 1; done"),
        exit_code=None,
        says="timed out after 2 s",
        timeout_s=2.0,
        runtimes=_BOTH,
    ),
    Poison(
        name="agent",
        title="a job whose agent is killed whenever it runs",
        command=("sleep", "600"),
        exit_code=None,
        says="its agent was lost",
        kills=True,
        runtimes=_BOTH,
    ),
)


def poison(site: Site, name: str, it: Poison) -> Injection:
    """Submit a poison job and see it fail, and nothing else."""
    device, job = "poisoner", f"{it.name}-{next(_NUMBERS)}"
    pids = {agent: site.cluster.members[agent].pid for agent in site.agents}
    attempts = KILLS if it.kills else ATTEMPTS
    with site.injecting(name) as notes:
        witnesses = [] if it.kills else _call_witnesses(site)
        began_s = notes.mark(f"{device}_{job}", "fault", it.title)
        site.device(device).submit(
            {
                "image": site.stage.image,
                "command": list(it.command),
                "memory_mb": it.memory_mb,
                "timeout_s": it.timeout_s if not it.kills else 600,
                "attempts_max": attempts,
                "checkpoint": {"mode": "off"},
            },
            job=job,
        )
        if it.kills:
            _kill_whoever_runs(site, notes, f"{device}_{job}", attempts)
        report = site.until_state(device, job, lambda r: r.state.is_final, END_S)
        notes.figure("outcome", site.trace.now_s - began_s)
        _judge(it, report, attempts)
        notes.note(f"{report.state.value}, exit code {report.exit_code}: {_short(report.reason)}")
        for witness in witnesses:
            _hear(site, witness)
        if not it.kills:
            _require_same_agents(site, pids)
        site.until_healthy()
    return notes.done()


def _call_witnesses(site: Site) -> list[Sent]:
    sent = [site.send_beads("witness", run_s=WITNESS_S) for _ in range(2)]
    for witness in sent:
        site.until_lease(witness.bus_id)
    return sent


def _hear(site: Site, witness: Sent) -> None:
    """Require that a witness was started once and has ended; its value is the load's to check."""
    site.until(f"the end of {witness.bus_id}", lambda: witness.ended_s is not None, END_S)
    starts = max(record.attempt for record in site.trace.records(witness.bus_id).values())
    if starts != 1:
        raise RowError(f"{witness.bus_id}, which ran beside it, was started {starts} times")


def _kill_whoever_runs(site: Site, notes: Notes, bus_id: str, attempts: int) -> None:
    for attempt in range(1, attempts + 1):
        agent = site.until(
            f"attempt {attempt} of {bus_id}", partial(_runner, site, bus_id, attempt), END_S
        )
        site.kill(agent)
        notes.mark(agent, "fault", f"SIGKILL in attempt {attempt}")
        site.start(agent)


def _runner(site: Site, bus_id: str, attempt: int) -> str:
    """Return the agent that says it has started this attempt, or an empty string."""
    site.diary.refresh()
    wanted = {"job": bus_id, "attempt": str(attempt)}
    for entry in reversed(site.diary.entries):
        if entry.key == "job_started" and wanted.items() <= entry.facts.items():
            return entry.member
    return ""


def _judge(it: Poison, report: Report, attempts: int) -> None:
    if report.state is not State.FAILED:
        raise RowError(f"{report.job} ended as {report.state.value}: {_short(report.reason)}")
    if report.exit_code != it.exit_code:
        raise RowError(f"{report.job} has the exit code {report.exit_code}, not {it.exit_code}")
    if it.says not in report.reason:
        raise RowError(f"{report.job} failed because of {report.reason!r}, not {it.says!r}")
    if report.attempt != attempts:
        raise RowError(f"{report.job} failed after {report.attempt} attempts, not {attempts}")


def _short(reason: str) -> str:
    return reason if len(reason) <= 200 else f"{reason[:100]} … {reason[-100:]}"


def _require_same_agents(site: Site, pids: dict[str, int]) -> None:
    for agent, pid in pids.items():
        member = site.cluster.members[agent]
        if not member.is_running() or member.pid != pid:
            raise RowError(f"agent {agent} did not survive it")


def _row(it: Poison, runtime: str) -> Row:
    in_container = runtime == "docker"
    name = f"poison-{it.name}" if in_container else f"poison-{it.name}-process"
    return Row(
        name=name,
        title=f"{it.title}, as a {'container' if in_container else 'process'}",
        passes_when=f"failed after {KILLS if it.kills else ATTEMPTS} attempts with the reason; "
        "agents survive, others are not disturbed",
        inject=partial(poison, name=name, it=it),
        plan=CONTAINERS if in_container else PROCESSES,
        repeat=3,
        quick=1 if it.name == "exit" and not in_container else 0,
        needs=frozenset({ENGINE}) if in_container else frozenset(),
    )


def _rows() -> tuple[Row, ...]:
    return tuple(
        _row(it, kind) for kind in ("docker", "process") for it in POISONS if kind in it.runtimes
    )


ROWS = _rows()
