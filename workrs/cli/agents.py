"""`workrs agents`: who runs jobs, and what each can do."""

import asyncio
from argparse import Namespace
from dataclasses import asdict

from workrs.cli.connection import add_node_options, caller, read_view
from workrs.cli.error import OK
from workrs.cli.minority import warn_of_minorities
from workrs.cli.options import Options
from workrs.cli.table import print_json, print_table
from workrs.domain.ids import split_job_id
from workrs.wire.view import AgentSummary


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "agents",
        "list agents",
        examples=("workrs agents", "workrs agents --all --json"),
    )
    it.flag("--all", help="also those that are gone")
    it.flag("--json", help="print JSON")
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Read, choose, print."""
    view = asyncio.run(read_view(caller(asked), slim=True))
    warn_of_minorities(view)
    agents = [agent for agent in view.agents() if asked.all or agent.state != "gone"]
    if asked.json:
        print_json([_as_json(agent) for agent in agents])
    else:
        columns = ("agent", "state", "slots", "rung", "runtime", "arch", "memory", "labels", "jobs")
        print_table(columns, [_row(agent) for agent in agents], empty="no agents")
    return OK


def _row(agent: AgentSummary) -> list[str]:
    profile = agent.profile
    jobs = " ".join("/".join(split_job_id(job)) for job in agent.jobs)
    if profile is None:
        return [agent.agent, agent.state, "", "", "", "", "", "", jobs]
    return [
        agent.agent,
        agent.state,
        f"{len(agent.jobs)}/{profile.slots}",
        profile.rung,
        profile.runtime,
        profile.arch,
        f"{profile.memory_mb} MiB",
        ",".join(profile.labels),
        jobs,
    ]


def _as_json(agent: AgentSummary) -> dict[str, object]:
    profile = agent.profile
    return {
        "agent": agent.agent,
        "state": agent.state,
        "incarnation": agent.incarnation,
        "jobs": ["/".join(split_job_id(job)) for job in agent.jobs],
        "profile": None if profile is None else asdict(profile),
    }
