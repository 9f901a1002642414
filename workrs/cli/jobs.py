"""`workrs jobs`: the jobs of the cluster."""

import asyncio
from argparse import Namespace
from collections.abc import Collection

from workrs.cli.connection import add_node_options, caller, read_view
from workrs.cli.error import OK
from workrs.cli.minority import warn_of_minorities
from workrs.cli.options import Options
from workrs.cli.table import percent, print_json, print_table
from workrs.domain.ids import ClientId, client_id
from workrs.wire.view import ClusterView, JobView


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "jobs",
        "list jobs",
        examples=(
            "workrs jobs",
            "workrs jobs --open --device pump-7",
            "workrs jobs --json | jq '.[] | select(.state == \"failed\") | .reason'",
        ),
    )
    it.flag("--open", help="only jobs without an outcome")
    it.value("--device", convert=client_id, metavar="NAME", help="only jobs of this device")
    it.flag("--json", help="print JSON")
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Read, choose, print."""
    view = asyncio.run(read_view(caller(asked), slim=True))
    warn_of_minorities(view)
    jobs = [
        job
        for job in view.jobs()
        if (job.is_open or not asked.open) and asked.device in (None, job.device)
    ]
    if asked.json:
        print_json([as_json(job) for job in jobs])
    else:
        columns = ("job", "state", "progress", "agent", "attempt", "checkpoint", "note")
        gone = gone_agents(view)
        print_table(columns, [_row(job, gone) for job in jobs], empty="no jobs")
    return OK


def gone_agents(view: ClusterView) -> frozenset[ClientId]:
    """Return the agents that are not there any more."""
    return frozenset(agent.agent for agent in view.agents() if agent.state == "gone")


def holder(agent: str | None, gone: Collection[str]) -> str:
    """Return who holds a job, and whether it waits for somebody else to take it over."""
    return f"{agent or ''} (gone)" if agent in gone else agent or ""


def _row(job: JobView, gone: Collection[str]) -> list[str]:
    checkpoint = job.checkpoint
    return [
        f"{job.device}/{job.id}",
        job.state,
        percent(job.progress),
        holder(job.agent, gone),
        str(job.attempt or ""),
        "" if checkpoint is None else f"{checkpoint.epoch}.{checkpoint.seq}",
        " ".join((job.reason or job.note).split()),
    ]


def as_json(job: JobView) -> dict[str, object]:
    """Return what `--json` says of a job. Results are left to `workrs result`."""
    checkpoint, outcome = job.checkpoint, job.outcome
    return {
        "job": f"{job.device}/{job.id}",
        "state": job.state,
        "epoch": job.epoch,
        "attempt": job.attempt,
        "agent": job.agent,
        "progress": job.progress,
        "note": job.note,
        "reason": job.reason,
        "nodes": job.nodes,
        "exit_code": None if outcome is None else outcome.exit_code,
        "result_bytes": None if outcome is None else outcome.result_bytes,
        "checkpoint": None
        if checkpoint is None
        else {
            "epoch": checkpoint.epoch,
            "seq": checkpoint.seq,
            "rung": checkpoint.rung,
            "bytes": checkpoint.bytes,
            "progress": checkpoint.progress,
            "location": list(checkpoint.location),
        },
    }
