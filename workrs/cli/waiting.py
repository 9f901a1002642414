"""Why no agent gets a job that waits, as far as the nodes' records tell."""

from workrs.domain import dispatch
from workrs.wire.view import QUEUED, AgentSummary, ClusterView, JobView

NAMES_MAX = 3
"""Agents named for one reason; the others are counted."""


def reasons(view: ClusterView, job: JobView) -> list[str]:
    """Return why nobody runs a queued job, a reason an entry; nothing if it may run at once.

    One that has a checkpoint waits for an agent that can restore it, but not for ever: after
    `dispatch.RESTORE_WAIT_S` it goes to any, which these reasons do not foresee.
    """
    if job.state != QUEUED or job.spec is None:
        return []
    need = dispatch.need_of(job.spec.spec, job.checkpoint)
    able, refused = [], dict[str, list[str]]()
    for agent in view.agents():
        if agent.state == "gone" or agent.profile is None:
            continue
        why = dispatch.refusal(need, agent.profile)
        if why is None:
            able.append(agent)
        else:
            refused.setdefault(why, []).append(agent.agent)
    if able:
        return [] if any(map(_has_room, able)) else [_full(able)]
    if not refused:
        return ["no agent is there"]
    return [f"{_names(agents)}: {why}" for why, agents in refused.items()]


def _has_room(agent: AgentSummary) -> bool:
    return agent.profile is not None and len(agent.jobs) < agent.profile.slots


def _full(able: list[AgentSummary]) -> str:
    return f"every slot of {_names([agent.agent for agent in able])} is taken"


def _names(agents: list[str]) -> str:
    more = len(agents) - NAMES_MAX
    return ", ".join(agents[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
