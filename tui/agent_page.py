"""The page of one agent: what it can do, what it holds, and what was seen of it."""

from tui import sign
from tui.agent_columns import agent_state
from tui.cell import Cell, Look, Piece
from tui.job_columns import progress
from tui.model.agent import Agent
from tui.page import Section, fact, facts, table, timeline
from workrs.domain.ids import ClientId

_BAR = 24
JOBS_MAX = 40


def sections(look: Look, name: ClientId) -> list[Section]:
    """Return the page."""
    agent = look.model.agents.get(name)
    if agent is None:
        return [Section("agent", [[Piece("No node shows it any more.", "dim")]])]
    mine = (event for event in look.model.events if event.subject == name)
    return [
        Section("state", _state(agent, look)),
        Section("can", _profile(agent)),
        Section(f"jobs {agent.held}", _jobs(agent, look), 1),
        Section("as each node sees it", _views(agent, look), 1),
        Section("what happened", timeline(mine, look.now), 1),
    ]


def _state(agent: Agent, look: Look) -> list[Cell]:
    timing = look.model.timing
    return [
        fact("state", *sign.state(agent_state(agent, look)), f"  for {agent.since.text(look.now)}"),
        fact("slots", *sign.slots(agent.held, agent.slots, 20), f" {agent.held} of {agent.slots}"),
        fact(
            "heartbeat",
            f"{agent.beat.text(look.now)} ago; one every {timing.heartbeat_period_s:g} s, "
            f"a lease lasts {timing.ttl_s:g} s",
        ),
        fact("incarnation", str(agent.incarnation)),
    ]


def _profile(agent: Agent) -> list[Cell]:
    profile = agent.profile
    if profile is None:
        return [[Piece("it has not said", "dim")]]
    host = profile.host
    return facts(
        [
            ("runtime", profile.runtime),
            ("rung", profile.rung),
            ("machine", f"{profile.arch}, {profile.cpus:g} CPUs, {profile.memory_mb} MiB"),
            ("load", f"{profile.load:.2f} of {profile.cpus:g} CPUs"),
            ("battery", "" if agent.charge is None else f"{agent.charge:.0%}"),
            ("labels", ", ".join(agent.labels)),
            ("kernel", host.kernel if host else ""),
            ("criu", host.criu if host else ""),
            ("images", ", ".join(profile.images[:4])),
        ]
    )


def _jobs(agent: Agent, look: Look) -> list[Cell]:
    held = sorted(look.model.held.get(agent.name, ()))[:JOBS_MAX]
    jobs = [job for each in held if (job := look.model.jobs.get(each)) is not None]
    if not jobs:
        return [[Piece("none", "dim")]]
    rows = [(job.name, f"{job.view.epoch}", progress(job, _BAR)) for job in jobs]
    return table(("job", "epoch", "progress"), rows, right=("epoch",))


def _views(agent: Agent, look: Look) -> list[Cell]:
    rows = []
    for node in sorted(look.model.nodes):
        seen = look.model.view.receipt(node, agent.name)
        if seen is None:
            rows.append((node, "-", "-", "never heard of it"))
            continue
        said = "gone" if seen.gone else f"{len(seen.refused)} refused" if seen.refused else "ok"
        rows.append((node, f"{seen.incarnation.number}.{seen.connection}", f"{seen.counter}", said))
    return table(("node", "connection", "heartbeat", "says"), rows, right=("heartbeat",))
