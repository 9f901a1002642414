"""Whether this node may vote, and what it does until then.

1. At its start a node does not vote before every peer has answered, or a majority (itself
   included) and LISTEN_S have passed: one of them may have seen more of its disk than there is.
   A peer's state is an answer only if it shows that it has seen this very start; one that was
   retained from before may not show the last second. A cluster of one does not wait.
2. A peer that saw more ends the daemon: votes on that disk are forgotten ones.
3. Until a node votes it writes nothing but what re-admission needs (`rejoin`), shows what it
   has, and keeps what it hears (`backlog`).
4. A node with a lost disk is no witness: what it saw of others went with the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from broker import node_list
from broker.effect import Publish
from workrs.domain import rollback
from workrs.domain.ids import NUMBER_MAX, ClientId, Instant
from workrs.domain.node_list import Stage
from workrs.domain.quorum import majority
from workrs.ports.ledger import Change, Rejoin, SaveSeen, SaveStanding, Standing
from workrs.wire import topics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.event import Event
    from broker.node import Node
    from workrs.domain.record import Record
    from workrs.domain.rollback import Seen
    from workrs.wire.message import NodeState

LISTEN_S = 5.0
"""How long peers have to show up, unless a ttl is shorter: bridges are back within 3 s."""
WAIT_S = 60.0
"""How often a node says in the log what the change of its list waits for."""
TELL_S = 10.0
"""How often a node that waits says in the log what for."""


class Phase(Enum):
    """How far a node is on its way to voting."""

    LISTENING = auto()
    """It waits to hear what its peers saw of its disk."""
    GATHERING = auto()
    """Its disk was lost: it waits for enough others that still have theirs."""
    RAISING = auto()
    """Those raise their generation."""
    COPYING = auto()
    """It reads their ledgers."""
    RESTING = auto()
    """Leases it may have granted and forgotten run out."""
    VOTING = auto()


@dataclass(slots=True)
class Admission:
    """A node's way to voting, and what its peers' disks were seen to hold."""

    phase: Phase = Phase.VOTING
    standing: Standing = field(default_factory=Standing)
    """As on disk, or as this batch will leave it there, but for the serial."""
    serial: int = 0
    """Commits on disk, as of the end of the batch before."""
    serial_at_start: int | None = None
    """None: this node was not started from a ledger, and nobody watches its disk."""
    began_at: Instant = Instant(0.0)  # noqa: RUF009 (a NewType of an immutable float)
    since: Instant = Instant(0.0)  # noqa: RUF009
    """Of the phase."""
    tell_at: Instant = Instant(0.0)  # noqa: RUF009
    seen: dict[ClientId, Seen] = field(default_factory=dict)
    unsaved: dict[ClientId, None] = field(default_factory=dict)
    urgent: bool = False
    """A peer has started anew: that goes to disk though nothing else does."""
    is_save_due: bool = True
    """Once a beat, with a commit that is made anyway: serials of peers rise with every vote."""
    states: dict[ClientId, NodeState] = field(default_factory=dict)
    """The newest of each peer, of this start."""
    held_back: dict[object, Event] = field(default_factory=dict)
    untold: dict[Event, Instant] = field(default_factory=dict)
    """Requests among them whose senders do not know that they wait, and since when."""
    held_back_requests: int = 0
    held_back_bytes: int = 0
    """Of submits and definitions of functions among them."""
    held_back_agents: int = 0
    donors: dict[ClientId, Instant | None] = field(default_factory=dict)
    """Whose ledgers are read, and when to ask again: None while reading or when read."""
    read: set[ClientId] = field(default_factory=set)

    @property
    def votes(self) -> bool:
        """Return whether the node may vote."""
        return self.phase is Phase.VOTING

    @property
    def is_rejoining(self) -> bool:
        """Return whether the node lost its disk and is not re-admitted yet."""
        return self.phase not in (Phase.VOTING, Phase.LISTENING)

    def enter(self, phase: Phase, now: Instant) -> None:
        """Begin a phase."""
        self.phase = phase
        self.since = self.tell_at = now


def begin(node: Node, standing: Standing, seen: Mapping[ClientId, Seen], now: Instant) -> None:
    """Start from a ledger: listen first, or have the node re-admitted."""
    admission = node.admission
    listed = node_list.begin(node, standing, seen)
    if listed == standing:
        admission.standing = standing
    else:
        raise_standing(node, listed)
    admission.serial = admission.serial_at_start = standing.serial
    admission.seen = dict(seen)
    admission.began_at = now
    if node.size == 1:
        return
    rejoining = standing.rejoin is Rejoin.UNDER_WAY
    admission.enter(Phase.GATHERING if rejoining else Phase.LISTENING, now)


def see_record(node: Node, peer: ClientId, record: Record) -> None:
    """Note how far a peer's disk is, by a record of it."""
    _see(node, peer, rollback.Seen(record.version.boot, "", record.serial))


def see_state(node: Node, peer: ClientId, state: NodeState) -> None:
    """Note how far a peer's disk is, and whether it saw more of the own than there is."""
    admission = node.admission
    node_list.see(node, peer, state)
    if state.live:
        admission.states[peer] = state
    else:
        admission.states.pop(peer, None)
    if _see(node, peer, rollback.Seen(state.boot, state.nonce, state.serial)):
        # It waits for that, to know that this is all that was seen of its disk.
        node.say(Publish(topics.node(node.name, "state"), node.state()))
    own = state.seen.get(node.name)
    start = admission.serial_at_start
    if own is None or start is None or admission.is_rejoining:
        return
    if rollback.is_older(node.settings.incarnation, start, admission.serial, own):
        _refuse_disk(node, peer, own)


def _see(node: Node, peer: ClientId, shown: Seen) -> bool:
    """Keep the most that was seen of a peer's disk; return whether a start of it is new here."""
    admission = node.admission
    known = admission.seen.get(peer, rollback.NOTHING)
    most = rollback.merge(known, shown)
    if most == known:
        return False
    admission.seen[peer] = most
    admission.unsaved[peer] = None
    is_start = most[:2] != known[:2]
    admission.urgent |= is_start
    return is_start


def _refuse_disk(node: Node, peer: ClientId, seen: Seen) -> None:
    boot, serial = node.settings.incarnation.number, node.admission.serial
    node.fact("disk_is_older", node=node.name, peer=peer, boot=boot, serial=serial, seen=list(seen))
    node.effects.halt = (
        f"the ledger of node {node.name} is older than its peers saw it: it is at start {boot} "
        f"and commit {serial}, and {peer} saw start {seen.boot} and commit {seen.serial} of it. "
        "Its disk was lost, or replaced by a copy, or a second daemon runs on a copy; votes on "
        "it are forgotten and could be given twice. Move the ledger away and have the node "
        "re-admitted by the others: workrs node --rejoin … (docs/ledger.md)"
    )


def listen(node: Node, now: Instant) -> None:
    """Begin to vote once enough peers have said what they saw of this disk."""
    admission = node.admission
    if admission.phase is not Phase.LISTENING:
        return
    waited = now >= admission.since + min(LISTEN_S, node.settings.timing.ttl_s)
    answered = _answered(node)
    witnesses = [peer for peer in answered if not admission.states[peer].rejoining]
    is_enough = 1 + len(witnesses) >= majority(node.size)
    everyone = len(answered) == node.size - 1
    if is_enough and (everyone or waited):
        admission.enter(Phase.VOTING, now)
        waited_s = round(now - admission.began_at, 3)
        node.fact("voting", node=node.name, answered=answered, waited_s=waited_s)
        node.say(Publish(topics.node(node.name, "state"), node.state()))
    else:
        tell(node, now)


def _answered(node: Node) -> list[ClientId]:
    """Return the peers that have seen this start."""
    own = node.settings.incarnation
    seen = {n: s.seen.get(node.name, rollback.NOTHING) for n, s in node.admission.states.items()}
    return [
        n
        for n, s in sorted(seen.items())
        if (s.boot, s.nonce) == own and node_list.is_near(node, node.admission.states[n])
    ]


def able(node: Node) -> list[ClientId]:
    """Return the others that vote from disks of their own, and so can re-admit this node."""
    return [
        name
        for name, state in node.admission.states.items()
        if state.ready
        and not state.rejoining
        and node.peers[name].live
        and set(state.nodes) == set(node.settings.nodes)
    ]


def tell(node: Node, now: Instant) -> None:
    """Say in the log what this node waits for, every TELL_S."""
    admission = node.admission
    if now >= admission.tell_at + TELL_S:
        admission.tell_at = now
        node.fact("not_voting", node=node.name, why=health(node))


def health(node: Node) -> str:
    """Return what this node waits for, or `ok`."""
    admission = node.admission
    unanswered = sorted(set(node.settings.nodes) - set(_answered(node)) - {node.name})
    match admission.phase:
        case Phase.VOTING:
            return "ok"
        case Phase.LISTENING:
            others = node_list.others_lists(node, admission.states)
            return f"before it votes it has to hear {', '.join(unanswered) or 'more nodes'}{others}"
        case Phase.GATHERING:
            return (
                f"its disk was lost: {majority(node.size)} other nodes that vote and have their "
                f"disks must be there for its re-admission{_unable(node)}"
            )
        case Phase.RAISING:
            return f"re-admission: others raise their generation to {node.generation}"
        case Phase.COPYING:
            left = sorted(set(admission.donors) - admission.read)
            return f"re-admission: reads the ledgers of {', '.join(left)}"
        case Phase.RESTING:
            return "re-admission: waits for a ttl"


def _unable(node: Node) -> str:
    """Return which others cannot re-admit this node now, and why, for humans; or nothing."""
    lacking = sorted(set(node.settings.nodes) - {node.name, *able(node)})
    known = node.admission.states
    silent = [name for name in lacking if name not in known or not node.peers[name].live]
    others = [name for name in lacking if name not in silent]
    parts = {"not heard": silent, "heard, and not voting with the same list of nodes": others}
    return "".join(f"; {why}: {', '.join(names)}" for why, names in parts.items() if names)


def raise_generation(node: Node, generation: int) -> None:
    """Vote at a higher generation from now on: all undecided records are restamped with it.

    In one commit, and shown only after it: a peer's record of the generation before is from
    before the raise, whoever still shows it.
    """
    if not node.generation < generation <= NUMBER_MAX:
        return
    raise_standing(node, replace(node.admission.standing, generation=generation))
    for entry in node.entries.values():
        if entry.is_open:
            settled = entry.record.settled or entry.check_stored(node.size)
            record = replace(entry.record, generation=generation, settled=settled)
            is_vote = record.digest is not None or record.epoch or record.cancel or record.abstains
            node.change(
                entry,
                replace(entry.vote, record=record),
                save=bool(is_vote),
                publish=bool(is_vote),
            )
    node.fact("generation_raised", generation=generation)
    node.say(Publish(topics.node(node.name, "state"), node.state()))


def raise_standing(node: Node, standing: Standing) -> None:
    """Put a higher standing on disk with this batch."""
    node.admission.standing = standing
    node.effects.changes.append(SaveStanding(standing=standing))


def watch_list(node: Node, now: Instant) -> None:
    """Write down once that the change to the present list of nodes is over."""
    was_drained = node_list.is_drained(node)
    if node_list.ends(node, now):
        raise_standing(node, replace(node.admission.standing, stage=Stage.OVER))
        node.fact("node_list_settled", nodes=list(node.settings.nodes))
    elif node_list.is_drained(node) is not was_drained:
        node.say(Publish(topics.node(node.name, "state"), node.state()))
    elif node.admission.standing.stage is not Stage.OVER and now >= node.admission.tell_at + WAIT_S:
        node.admission.tell_at = now
        node.fact("node_list_waits", why=node_list.waits_for(node))


def finish(node: Node, changes: list[Change]) -> None:
    """Count the batch's commit, if it is one, and put what was seen of peers into it."""
    admission = node.admission
    is_due = admission.urgent or (changes and admission.is_save_due)
    if admission.unsaved and admission.votes and is_due:
        changes.extend(SaveSeen(node=n, seen=admission.seen[n]) for n in admission.unsaved)
        admission.unsaved.clear()
        admission.urgent = admission.is_save_due = False
    if changes:
        raised = any(isinstance(change, SaveStanding) for change in changes)
        floor = admission.standing.serial if raised else 0
        admission.serial = max(admission.serial + 1, floor)
