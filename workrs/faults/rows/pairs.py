"""Two faults at a time, drawn at random: the row that knows no schedule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from workrs.faults.plan import SitePlan
from workrs.faults.programs import family, kill_all
from workrs.faults.row import NET, Injection, Row
from workrs.faults.site import Site

Undo = Callable[[], object]
LOSS: Final = 0.1
"""Share of the packets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to break a member, and how to mend it."""

    name: str
    victims: Callable[[Site], Sequence[str]]
    begin: Callable[[Site, str], Undo]


def _nothing() -> None:
    """What mends itself needs no mending."""


def _nodes(site: Site) -> Sequence[str]:
    return site.nodes


def _agents(site: Site) -> Sequence[str]:
    return site.agents


def _members(site: Site) -> Sequence[str]:
    return site.members


def _kill(site: Site, member: str) -> Undo:
    site.kill(member)
    return lambda: site.start(member)


def _stop(site: Site, member: str) -> Undo:
    site.stop(member)
    return lambda: site.resume(member)


def _kill_broker(site: Site, node: str) -> Undo:
    site.kill_broker(node)
    return _nothing


def _stop_broker(site: Site, node: str) -> Undo:
    site.stop_broker(node)
    return lambda: site.resume_broker(node)


def _cut(site: Site, member: str) -> Undo:
    assert site.net is not None
    site.net.cut(member)
    return site.net.heal


def _lose_packets(site: Site, member: str) -> Undo:
    assert site.net is not None
    site.net.lose(LOSS, member)
    return site.net.heal


def _lose_host(site: Site, agent: str) -> Undo:
    assert site.net is not None
    site.net.cut(agent)
    doomed = family(site.cluster.members[agent].pid)
    site.kill(agent)
    kill_all(doomed[1:])
    net = site.net

    def undo() -> None:
        net.heal()
        site.start(agent)

    return undo


FAULTS: Final = (
    Fault(name="daemon killed", victims=_nodes, begin=_kill),
    Fault(name="daemon stopped", victims=_nodes, begin=_stop),
    Fault(name="broker killed", victims=_nodes, begin=_kill_broker),
    Fault(name="broker stopped", victims=_nodes, begin=_stop_broker),
    Fault(name="agent killed", victims=_agents, begin=_kill),
    Fault(name="agent stopped", victims=_agents, begin=_stop),
    Fault(name="cut off", victims=_members, begin=_cut),
    Fault(name="10 % loss", victims=_members, begin=_lose_packets),
    Fault(name="host lost", victims=_agents, begin=_lose_host),
)


def pair(site: Site) -> Injection:
    """Break two members, the second while the first is broken; mend them in any order."""
    first, second = site.rng.sample(FAULTS, 2)
    one = site.rng.choice(first.victims(site))
    other = site.rng.choice([name for name in second.victims(site) if name != one])
    with site.injecting(f"{first.name} ({one}), {second.name} ({other})") as notes:
        undos: list[tuple[str, Undo]] = []
        try:
            for fault, victim in ((first, one), (second, other)):
                notes.mark(victim, "fault", fault.name)
                undos.append((victim, fault.begin(site, victim)))
                site.pause(site.rng.uniform(0.0, 5.0))
        finally:
            site.rng.shuffle(undos)
            for victim, undo in undos:
                undo()
                notes.mark(victim, "heal")
                site.pause(site.rng.uniform(0.0, 2.0))
        notes.note(f"{len(site.trace.takeovers(notes.began_s))} takeovers")
    return notes.done()


ROWS: Sequence[Row] = (
    Row(
        name="pairs",
        title="pairs of the above, random, 30 minutes",
        passes_when="all invariants",
        inject=pair,
        plan=SitePlan(net=True),
        repeat=30,
        quick=1,
        needs=frozenset({NET}),
    ),
)
