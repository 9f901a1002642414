"""Rows in which the network is cut: an agent from its node, from all; an island from the rest."""

from collections.abc import Callable
from typing import Final

from device_client import State
from workrs.cli.container_watch import ContainerWatch
from workrs.faults.evidence import read_testimony
from workrs.faults.load import Sent
from workrs.faults.plan import LoadPlan, SitePlan
from workrs.faults.programs import programs
from workrs.faults.row import CRIU, ENGINE, NET, Injection, Row, RowError
from workrs.faults.site import Notes, Site
from workrs.faults.whereabouts import (
    Walk,
    chase,
    healing,
    home,
    require_end,
    require_kept,
    until_home,
    until_moved,
    walk,
)

NET_PLAN: Final = SitePlan(net=True)
MEMORY_PLAN: Final = SitePlan(
    net=True,
    runtime="docker",
    agents=2,
    memory_rung=True,
    load=LoadPlan(echo_period_s=2.0, long_jobs=1),
)
_TTL_S: Final = NET_PLAN.timing.ttl_s
_DEADLINE_S: Final = NET_PLAN.timing.ttl_s - NET_PLAN.timing.margin_s
"""A program of an agent that hears nobody is frozen at the latest so long after."""
_ISLANDERS: Final = ("islander-1", "islander-2", "islander-3")
_LONG_S: Final = (20.0, 60.0)
_IN_FLIGHT_S: Final = 0.5
"""What was on its way when a cut was made may still arrive and be decided upon, in so long on a
machine that has time for it."""
_BOTH: Final = "both ways"
_OUT: Final = "what it sends"
_IN: Final = "what it is sent"


def _agent_cut_from_node(site: Site) -> Injection:
    return _cut_from_node(site, "agent-cut-from-node", _BOTH)


def _agent_cut_from_node_one_way(site: Site) -> Injection:
    return _cut_from_node(site, "agent-cut-from-node-one-way", site.rng.choice((_OUT, _IN)))


def _cut_from_node(site: Site, name: str, lost: str) -> Injection:
    with site.injecting(name) as notes:
        walked = walk(site, run_s=6.0)
        agent, node = walked.agent, walked.home
        with healing(site) as net:
            at_s = notes.mark(agent, "fault", f"cut off from {node}: {lost}")
            _lose(net.cut, net.cut_one_way, agent, node, lost)
            moved_s = until_moved(site, agent, at_s, node)
            notes.figure("moved", moved_s - at_s)
            site.pause(site.rng.uniform(0.0, _TTL_S))
        notes.mark(agent, "heal")
        require_end(site, walked.sent)
        require_kept(site, walked)
    return notes.done()


def _lose(
    cut: Callable[..., None], one_way: Callable[..., None], agent: str, node: str, lost: str
) -> None:
    """Cut an agent and a node apart, or one of the ways between them."""
    if lost == _BOTH:
        cut(agent, node)
    elif lost == _OUT:
        one_way(agent, node)
    else:
        one_way(node, agent)


def _agent_cut_from_all(site: Site) -> Injection:
    return _cut_from_all(site, "agent-cut-from-all", _BOTH)


def _agent_cut_from_all_one_way(site: Site) -> Injection:
    return _cut_from_all(site, "agent-cut-from-all-one-way", site.rng.choice((_OUT, _IN)))


def _agent_cut_from_all_memory(site: Site) -> Injection:
    return _cut_from_all(site, "agent-cut-from-all-memory", _BOTH)


def _cut_from_all(site: Site, name: str, lost: str) -> Injection:
    with site.injecting(name) as notes:
        walked = walk(site, run_s=8.0)
        agent, job = walked.agent, walked.sent.bus_id
        if site.plan.memory_rung:
            site.until_checkpointed([walked.sent])
        with healing(site) as net:
            at_s = notes.mark(agent, "fault", f"cut off from all: {lost}")
            if lost == _BOTH:
                net.cut(agent)
            elif lost == _OUT:
                net.cut_one_way(agent)
            else:
                net.deafen(agent)
            lease = site.until_lease(job, above=walked.lease.epoch, timeout_s=6 * _TTL_S)
            _require_takeover(walked, lease.agent)
            notes.figure("lease", lease.at_s - at_s)
            # The new program has to run before the old one is let back in, or nothing is shown.
            site.until(f"{job} at {lease.agent}", lambda: _seen(site, job, lease.agent))
            notes.figure("running", _seen(site, job, lease.agent)[0] - at_s)
            site.pause(site.rng.uniform(0.0, _TTL_S))
            notes.figure("ran_on", max(0.0, _seen(site, job, agent)[-1] - at_s))
        healed_s = notes.mark(agent, "heal")
        _measure_return(site, notes, walked, healed_s)
        require_end(site, walked.sent)
    return notes.done()


def _measure_return(site: Site, notes: Notes, walked: Walk, healed_s: float) -> None:
    """Wait until the agent is back and its old program is dead; both are figures."""
    agent, job = walked.agent, walked.sent.bus_id

    def back() -> float | None:
        heard = site.trace.home(agent)
        return heard.at_s if heard is not None and heard.at_s > healed_s else None

    back_s = site.until(f"{agent} back", back)
    site.until(f"the end of {agent}'s program of {job}", lambda: not _is_alive(site, walked))
    notes.figure("back", back_s - healed_s)
    notes.figure("killed", max(0.0, site.trace.now_s - back_s))
    lived_on = [at_s for at_s in _seen(site, job, agent) if at_s > healed_s]
    if lived_on:
        raise RowError(f"{agent}'s program of {job} ran again {lived_on[0] - healed_s:.2f} s after")


def _require_takeover(walked: Walk, agent: str) -> None:
    if agent == walked.agent:
        raise RowError(f"{agent}, cut off from all nodes, got a lease")


def _seen(site: Site, job: str, agent: str) -> list[float]:
    """Return when a job's program was seen running at an agent, oldest first."""
    runs = [*read_testimony(site.evidence, site.trace.zero_s, job), *site.eyes.runs()]
    return sorted(
        t for run in runs if (run.key.job, run.key.agent) == (job, agent) for t in run.seen_s
    )


def _is_alive(site: Site, walked: Walk) -> bool:
    """Return whether the program of a lease exists, frozen or not."""
    job, lease = walked.sent.bus_id, walked.lease
    if site.plan.runtime == "process":
        return bool(programs(site, lease.agent, job, lease.epoch))
    with ContainerWatch(site.stage.engines) as watch:
        found = watch.running(job)
    return (lease.agent, lease.epoch) in {(at.agent, at.epoch) for at in found}


def _short_split(site: Site) -> Injection:
    return _split(site, "split", site.rng.uniform(0.0, 2.0) * _TTL_S)


def _long_split(site: Site) -> Injection:
    """Outlast the time in which TCP tries again often, and all that hangs on it."""
    return _split(site, "split-long", site.rng.uniform(*_LONG_S))


def _split(site: Site, name: str, more_s: float) -> Injection:
    """Part one node, one agent and one device from the rest; look at both sides."""
    with site.injecting(name) as notes:
        walked = walk(site, run_s=8.0)
        node, agent = walked.home, walked.agent
        islander = _islander(site, node)
        with healing(site) as net:
            at_s = notes.mark(node, "fault", f"alone with {agent} and {islander}")
            net.split(node, agent, islander)
            value = f"from the island of {node}"
            spec = {"function": "echo", "input": value}
            sent = site.load.send(islander, site.device(islander), spec, value.encode(), 0.0)
            lease = site.until_lease(
                walked.sent.bus_id, above=walked.lease.epoch, timeout_s=6 * _TTL_S
            )
            _require_takeover(walked, lease.agent)
            notes.figure("lease", lease.at_s - at_s)
            notes.figure("told", _told_s(site, islander, sent) - at_s)
            site.pause(more_s)
            healed_s = site.trace.now_s
            if sent.accepted_s is not None:
                raise RowError(f"{node}, alone, told {islander} that its job was accepted")
            _require_undecided(site, node, at_s + site.allowed_s(_IN_FLIGHT_S), healed_s)
            notes.figure("accepted_meanwhile", *_waits(site, islander, at_s, healed_s))
        notes.mark(node, "heal")
        accepted_s = site.until(f"{sent.bus_id} to be accepted", lambda: sent.accepted_s)
        notes.figure("accepted_after", accepted_s - healed_s)
        notes.figure("whole_after", site.until_healthy() - healed_s)
        require_end(site, walked.sent)
    return notes.done()


def _told_s(site: Site, islander: str, sent: Sent) -> float:
    """Wait until a device hears that its node reaches no majority; return when that is."""

    def look() -> bool:
        report = site.device(islander).state(sent.job)
        return report.state is State.WAITING and f"1 of {len(site.nodes)} nodes" in report.note

    site.until(f"{islander} to hear that its node is alone", look)
    return site.trace.now_s


def _waits(site: Site, islander: str, since_s: float, until_s: float) -> list[float]:
    """Return how long jobs of the other devices waited to be accepted, so far."""
    sent = [s for s in site.load.sent if s.device != islander and since_s <= s.sent_s < until_s]
    return [(s.accepted_s or s.ended_s or site.trace.now_s) - s.sent_s for s in sent]


def _islander(site: Site, node: str) -> str:
    """Return a device that is connected to *node*."""
    for number, name in enumerate(_ISLANDERS):
        turn = number % len(site.nodes)
        site.device(name, [*site.nodes[turn:], *site.nodes[:turn]])
        until_home(site, name)
    found = [name for name in _ISLANDERS if home(site, name) == node]
    if not found:
        found = [site.rng.choice(_ISLANDERS)]
        chase(site, found[0], node)
    return found[0]


def _require_undecided(site: Site, node: str, since_s: float, until_s: float) -> None:
    """Raise RowError if a node decided a job in a time when it was alone."""
    for job in site.trace.jobs():
        own = [shown for shown in site.trace.history(job) if shown.node == node]
        before = any(s.record.decided is not None for s in own if s.at_s < since_s)
        within = [s for s in own if since_s <= s.at_s <= until_s and s.record.decided is not None]
        if within and not before:
            raise RowError(f"{node}, alone, decided {job} at {within[0].at_s:.2f} s")


ROWS = (
    Row(
        name="agent-cut-from-node",
        title="agent cut off from its node",
        passes_when="it moves to another node; its job is not taken over",
        inject=_agent_cut_from_node,
        plan=NET_PLAN,
        repeat=12,
        needs=frozenset({NET}),
        bounds={"moved": 4.0},
    ),
    Row(
        name="agent-cut-from-node-one-way",
        title="agent cut off from its node, one way only",
        passes_when="it moves to another node; its job is not taken over",
        inject=_agent_cut_from_node_one_way,
        plan=NET_PLAN,
        repeat=12,
        needs=frozenset({NET}),
        bounds={"moved": 4.0},
    ),
    Row(
        name="agent-cut-from-all",
        title="agent cut off from all nodes",
        passes_when="takeover within 1.5 ttl; its program frozen at the deadline, dead 1 s after "
        "its return",
        inject=_agent_cut_from_all,
        plan=NET_PLAN,
        repeat=12,
        quick=1,
        needs=frozenset({NET}),
        bounds={"lease": 1.5 * _TTL_S, "ran_on": _DEADLINE_S + 0.3, "killed": 1.0},
    ),
    Row(
        name="agent-cut-from-all-one-way",
        title="agent cut off from all nodes, one way only",
        passes_when="takeover within 1.5 ttl; its program frozen at the deadline, dead 1 s after "
        "its return",
        inject=_agent_cut_from_all_one_way,
        plan=NET_PLAN,
        repeat=12,
        needs=frozenset({NET}),
        bounds={"lease": 1.5 * _TTL_S, "ran_on": _DEADLINE_S + 0.3, "killed": 1.0},
    ),
    Row(
        name="agent-cut-from-all-memory",
        title="agent cut off from all nodes, containers with memory checkpoints",
        passes_when="as agent-cut-from-all",
        inject=_agent_cut_from_all_memory,
        plan=MEMORY_PLAN,
        repeat=6,
        needs=frozenset({NET, ENGINE, CRIU}),
        bounds={"lease": 1.5 * _TTL_S, "ran_on": _DEADLINE_S + 0.3, "killed": 1.0},
    ),
    Row(
        name="split",
        title="one node, one agent and one device split from the rest",
        passes_when="they accept and decide nothing and say so; the others take over; all heals "
        "by itself",
        inject=_short_split,
        plan=NET_PLAN,
        repeat=12,
        quick=1,
        needs=frozenset({NET}),
        bounds={"lease": 1.5 * _TTL_S},
    ),
    Row(
        name="split-long",
        title="the same for 20 to 60 s",
        passes_when="as split; whole again within 10 s",
        inject=_long_split,
        plan=NET_PLAN,
        repeat=4,
        needs=frozenset({NET}),
        bounds={"lease": 1.5 * _TTL_S, "whole_after": 10.0},
    ),
)
