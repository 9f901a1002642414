"""What `workrs top` shows, as lines of text and as JSON: a function of the model and the time."""

from collections.abc import Collection, Sequence
from typing import Final

from tui.model.agent import Agent
from tui.model.cluster import Model
from tui.model.job import Job
from tui.model.node import Node
from workrs.cli import jobs as job_list
from workrs.cli import nodes
from workrs.cli.harmless import harmless
from workrs.cli.table import cut, fitted, percent
from workrs.domain.ids import Instant
from workrs.wire.view import ARRIVING, CANCELLING, QUEUED, RUNNING

_MINUTE: Final = 60
_RATE_S: Final = 5
"""Seconds that a rate of ends is taken from. Before, none is shown."""
_RANKS: Final = {CANCELLING: 0, RUNNING: 1, QUEUED: 2, ARRIVING: 3}
"""Jobs in the order in which they may need somebody; ended ones are counted alone."""
_NODES: Final = (*nodes.COLUMNS[:-1], "msg/s")
_AGENTS: Final = ("agent", "state", "slots", "load", "rung", "beat", "labels")
_JOBS: Final = ("job", "state", "progress", "agent", "epoch", "lease", "saved", "note")
_ROWS_MIN: Final = 3
"""Of agents and of jobs, however small the screen is."""
_ENDS: Final = ("succeeded", "failed", "cancelled", "expired")


def lines(
    model: Model, now: Instant, *, width: int, height: int | None, is_coloured: bool
) -> list[str]:
    """Return the screen.

    Args:
        model: of the cluster.
        now: of the clock that fed it.
        width: of a line, in characters.
        height: how many lines there may be; None: as many as there are.
        is_coloured: whether states stand out.
    """
    head = [cut(harmless(line), width) for line in (*_summary(model, now), *_warnings(model, now))]
    parts = [*head, ""]
    rows = [[*nodes.row(node, model.nodes, now)[:-1], _rate(node.rate)] for node in _nodes(model)]
    parts += _table(_NODES, rows, width, None, is_coloured=is_coloured)
    agents, jobs = _agents(model), _jobs(model)
    left = None if height is None else max(2 * _ROWS_MIN, height - len(parts) - 6)
    most = None if left is None else max(_ROWS_MIN, min(len(agents), left // 2, left - len(jobs)))
    shown = [_agent(agent, now) for agent in agents]
    parts += ["", *_table(_AGENTS, shown, width, most, is_coloured=is_coloured)]
    if left is not None and most is not None:
        most = max(_ROWS_MIN, left - min(len(agents), most))
    gone = {agent.name for agent in model.agents.values() if agent.state == "gone"}
    shown = [_job(model, job, gone, now) for job in jobs]
    parts += ["", *_table(_JOBS, shown, width, most, is_coloured=is_coloured)]
    return parts if height is None else parts[:height]


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    most: int | None,
    *,
    is_coloured: bool,
) -> list[str]:
    if not rows:
        return [f"no {columns[0]}s"]
    clean = [[harmless(" ".join(cell.split())) for cell in row] for row in rows[:most]]
    found = fitted(columns, clean, width, is_coloured=is_coloured).split("\n")
    more = len(rows) - len(clean)
    return [*found, f"… {more:,} more"] if more else found


def _summary(model: Model, now: Instant) -> list[str]:
    counts = model.counts
    heard = sum(node.is_heard(now) for node in model.nodes.values())
    live = [agent for agent in model.agents.values() if agent.state != "gone"]
    slots = sum(agent.slots for agent in live)
    held = sum(agent.held for agent in live)
    states = (RUNNING, QUEUED, ARRIVING, CANCELLING, *_ENDS)
    always = (RUNNING, QUEUED, "succeeded", "failed")
    jobs = [f"{counts[state]:,} {state}" for state in states if counts[state] or state in always]
    takeovers = int(sum(model.history.last("takeovers", _MINUTE)))
    plural = "" if len(live) == 1 else "s"
    there = f"{heard} of {len(model.nodes)} nodes, {len(live):,} agent{plural}"
    if gone := len(model.agents) - len(live):
        there += f" ({gone:,} gone)"
    found = [
        f"workrs {model.via}: {there}, {held:,} of {slots:,} slots in use",
        f"jobs: {', '.join(jobs)}",
    ]
    if len(model.history.last("throughput", _RATE_S)) == _RATE_S:
        rate = model.history.rate("throughput", _RATE_S)
        found.append(f"{rate:.1f} jobs end a second; taken over in the last minute: {takeovers}")
    return found


def _warnings(model: Model, now: Instant) -> list[str]:
    if model.trouble:
        return [f"! {model.trouble}; trying the next node, what is shown is old"]
    warning = model.minority(now)
    return [f"! {warning}"] if warning else []


def _nodes(model: Model) -> list[Node]:
    return [model.nodes[name] for name in sorted(model.nodes)]


def _agents(model: Model) -> list[Agent]:
    there = [agent for agent in model.agents.values() if agent.state != "gone"]
    return sorted(there, key=lambda agent: (-agent.held, agent.name))


def _jobs(model: Model) -> list[Job]:
    opened = [job for job in model.jobs.values() if job.view.is_open]
    return sorted(opened, key=lambda job: (_RANKS.get(job.state, len(_RANKS)), job.name))


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.0f}"


def _agent(agent: Agent, now: Instant) -> list[str]:
    profile = agent.profile
    return [
        agent.name,
        agent.state,
        f"{agent.held}/{agent.slots}",
        "" if profile is None else f"{profile.load:.1f}",
        "" if profile is None else profile.rung,
        agent.beat.text(now),
        "" if profile is None else " ".join(profile.labels),
    ]


def _job(model: Model, job: Job, gone: Collection[str], now: Instant) -> list[str]:
    view = job.view
    left_s = model.lease_left_s(job, now)
    return [
        job.name,
        job.state,
        percent(view.progress),
        job_list.holder(view.agent, gone),
        str(view.epoch or ""),
        "" if left_s is None else f"{left_s:.0f}s",
        "" if job.checkpointed is None else f"{job.checkpointed.text(now)} ago",
        view.note or view.reason,
    ]


def as_json(model: Model, now: Instant) -> dict[str, object]:
    """Return the same as one document."""
    agents = _agents(model)
    states = (ARRIVING, QUEUED, RUNNING, CANCELLING, *_ENDS)
    return {
        "via": model.via,
        "warnings": _warnings(model, now),
        "jobs": {state: model.counts[state] for state in states},
        "agents": {
            "live": sum(agent.state == "live" for agent in agents),
            "draining": sum(agent.state == "draining" for agent in agents),
            "gone": len(model.agents) - len(agents),
            "slots": sum(agent.slots for agent in agents),
            "slots_used": sum(agent.held for agent in agents),
        },
        "nodes": [
            {
                **nodes.as_json(node, model.nodes, now),
                "messages_per_s": None if node.rate is None else round(node.rate, 1),
            }
            for node in _nodes(model)
        ],
    }
