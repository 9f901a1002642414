"""Why no agent gets a job that waits, as far as the nodes' records tell."""

from workrs.domain import dispatch
from workrs.wire.view import QUEUED, AgentSummary, ClusterView, JobView

NAMES_MAX = 3
"""Agents named for one reason; the others are counted."""


def reasons(view: ClusterView, job: JobView) -> list[str]:
    """Return why nobody runs a queued job, a reason an entry; nothing if it may run at once.

    One that has a checkpoint waits for an agent that can restore it, but not for ever: after
    `dispatch.RESTORE_WAIT_S` it goes to any, and the last entry says to whom. Not promised: how
    much of that time is left, which no record tells.
    """
    if job.state != QUEUED or job.spec is None:
        return []
    need = dispatch.need_of(job.spec.spec, job.checkpoint)
    able, refused = _judged(view, need)
    if any(map(_has_room, able)):
        return []
    found = [_full(able)] if able else [f"{_names(who)}: {why}" for why, who in refused.items()]
    # Without a checkpoint that is to be restored these are the same agents.
    others = [one for one in _judged(view, need._replace(restores=None))[0] if one not in able]
    if others:
        found.append(_later(others))
    return found or ["no agent is there"]


def _judged(
    view: ClusterView, need: dispatch.Need
) -> tuple[list[AgentSummary], dict[str, list[str]]]:
    """Return the agents that may get jobs with a need, and why the others may not, with names."""
    able, refused = [], dict[str, list[str]]()
    for agent in view.agents():
        if agent.state == "gone" or agent.profile is None:
            continue
        why = dispatch.refusal(need, agent.profile)
        if why is None:
            able.append(agent)
        else:
            refused.setdefault(why, []).append(agent.agent)
    return able, refused


def _later(others: list[AgentSummary]) -> str:
    """Return what becomes of a job whose checkpoint nobody restores in time."""
    full = "" if any(map(_has_room, others)) else ", where every slot is taken"
    return (
        f"if none that can restore it takes it within {dispatch.RESTORE_WAIT_S:g} s, it goes to "
        f"{_names([agent.agent for agent in others])}{full}, and begins with less"
    )


def _has_room(agent: AgentSummary) -> bool:
    return agent.profile is not None and len(agent.jobs) < agent.profile.slots


def _full(able: list[AgentSummary]) -> str:
    return f"every slot of {_names([agent.agent for agent in able])} is taken"


def _names(agents: list[str]) -> str:
    more = len(agents) - NAMES_MAX
    return ", ".join(agents[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
