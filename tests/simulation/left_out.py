"""What the parts did before they were corrected: each function takes one rule out while entered.

A scenario is run so, too, or nobody would notice that it has come to show nothing: corrections
made later often cover an earlier one's case.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

from broker import backlog, brain, intake, peers, proposer, retirement, settle, turns
from broker.effect import Publish
from broker.node import Node
from edge_agent import holding, planning, saving
from edge_agent.effect import DiscardCheckpoint, StartContainer
from workrs.domain import quorum
from workrs.domain.ids import ClientId, Instant
from workrs.domain.record import Version
from workrs.testing.simulator import node as simulated
from workrs.testing.simulator.hands import Hands
from workrs.testing.simulator.warden import Warden
from workrs.wire import topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.entry import JobEntry
    from broker.event import PeerRecordSeen
    from edge_agent.agent import Agent
    from edge_agent.work import Work
    from workrs.domain.record import CheckpointRef, Holder, Record
    from workrs.ports.ledger import RetiredJob
    from workrs.testing.simulator.container import Container

LeftOut = AbstractContextManager[object]

_begin = Hands._begin
_ranked = proposer._ranked
_discard = saving.discard
_learn = planning.on_saved
_on_record = peers.on_record
_retire = Node.retire


def report_may_still_be_taken() -> LeftOut:
    """Delete a checkpoint that no record names, though one may name it in a moment."""

    def discard(work: Work, agent: Agent, *, decided: bool) -> None:
        _discard(work, agent, decided=decided)
        if decided or quorum.is_fenced(work.records, work.epoch, agent.cluster.size):
            return
        named = {ref for record in work.records.values() for ref in record.checkpoints}
        for ref in work.kept:
            if ref.epoch == work.epoch and ref not in named:
                agent.do(DiscardCheckpoint(job=work.job, ref=ref, keep=tuple(named)))

    return patch.object(saving, "discard", discard)


def checkpoint_holds_the_work_of_its_own_begin() -> LeftOut:
    """Take every checkpoint for as young as the one that was begun last."""

    def learn(work: Work, agent: Agent, ref: CheckpointRef, frozen_s: float) -> CheckpointRef:
        work.begun_at.pop((ref.epoch, ref.seq), None)
        return _learn(work, agent, ref, frozen_s)

    return patch.object(planning, "on_saved", learn)


def start_waits_for_its_lease() -> LeftOut:
    """Begin a program when its start is done, whether or not its lease still holds."""

    def begin(hands: Hands, effect: StartContainer, container: Container) -> None:
        with patch.object(Warden, "may_run", lambda *_: True):
            _begin(hands, effect, container)

    return patch.object(Hands, "_begin", begin)


def spec_once_accepted_counts() -> LeftOut:
    """Count a spec that a majority had, one vote of it on a lost disk, like any other."""
    return patch.object(quorum, "is_settled", quorum.is_stored)


def turns_shorter_than_a_lease() -> LeftOut:
    """Wait between two claims of a node for a ttl for each node there is."""

    def turn_at(node: Node, entry: JobEntry, now: Instant, *, after: int) -> Instant:
        rank = _ranked(node, entry, after=0).index(node.name)
        turns = 1 + node.size + rank if after else rank
        return Instant(now + turns * node.settings.timing.ttl_s)

    return patch.object(proposer, "_turn_at", turn_at)


@contextmanager
def no_two_wait_equally_long() -> Iterator[None]:
    """Let a node wait for its rank among the live, and as many turns more as it claimed often."""

    def wait_turns(after: int, rank: int, nodes: int) -> float:
        assert rank < nodes
        return after + rank

    with patch.object(proposer, "wait_turns", wait_turns), turns_go_by_all_nodes_after_a_claim():
        yield


def claim_by_node_shown_again() -> LeftOut:
    """Show a vote again only where no majority is known to have the job."""

    def is_unsure(node: Node, entry: JobEntry) -> bool:
        shows = entry.record.digest is not None or entry.record.abstains
        return entry.is_open and shows and not entry.check_stored(node.size)

    return patch.object(settle, "_is_unsure", is_unsure)


def vote_without_majority_shown_again() -> LeftOut:
    """Say a vote once."""

    def ask(node: Node, now: Instant) -> None:
        """Ask nobody."""

    return patch.object(brain, "ask", ask)


@contextmanager
def claim_may_be_repeated_before_the_next_offer() -> Iterator[None]:
    """Offer a job anew the moment that it is let go, and wait for the vote of who abstains."""
    with patch.object(turns, "CLAIM_TURN_S", -100.0), who_abstains_never_grants():
        yield


def who_abstains_never_grants() -> LeftOut:
    """Let an agent wait for the vote of a node that abstains."""
    former = holding._is_refused

    def is_refused(record: Record, work: Work, me: Holder) -> bool:
        return former(replace(record, abstains=False), work, me)

    return patch.object(holding, "_is_refused", is_refused)


def copies_of_peers_emptied_soon() -> LeftOut:
    """Leave it to a peer for 15 s to empty its own topics."""
    return patch.object(retirement, "COPIES_S", 15.0)


def order_kept_before_a_vote_undoes_none() -> LeftOut:
    """Keep every order until the node votes, and carry it out then."""
    return patch.object(backlog, "_may_come_late", lambda _: True)


def own_broker_asked_again_soon() -> LeftOut:
    """Give the own broker 5 s to answer a connect."""
    return patch.object(simulated, "CONNECT_S", 5.0)


def timer_goes_with_its_job() -> LeftOut:
    """Keep the timer of a job that is retired."""

    def retire(node: Node, entry: JobEntry, kept: RetiredJob) -> None:
        due = node._due.get(entry.job)
        _retire(node, entry, kept)
        if due is not None:
            node._due[entry.job] = due

    return patch.object(Node, "retire", retire)


def spec_shown_to_who_has_another() -> LeftOut:
    """Leave it to whoever showed a spec first to show it to a peer that names another."""

    def on_record(node: Node, event: PeerRecordSeen, now: Instant) -> None:
        show_spec = intake.show_spec

        def show(shower: Node, entry: JobEntry) -> None:
            if event.record.digest in (None, entry.record.digest):
                show_spec(shower, entry)

        with patch.object(intake, "show_spec", show):
            _on_record(node, event, now)

    return patch.object(peers, "on_record", on_record)


def nothing_said_of_a_job_that_just_came() -> LeftOut:
    """Say at once that a job is unknown, though it may come in the same batch."""

    def reply(node: Node, record: Record) -> None:
        node.step += 1
        shown = replace(record, version=Version(node.settings.incarnation.number, node.step))
        node.say(Publish(topics.record(node.name, record.job), shown, retain=False))

    return patch.object(Node, "reply", reply)


def turns_go_by_all_nodes_after_a_claim() -> LeftOut:
    """Rank the nodes that are taken for live, after a split vote, too."""

    def ranked(node: Node, entry: JobEntry, *, after: int) -> list[ClientId]:
        del after
        return _ranked(node, entry, after=0)

    return patch.object(proposer, "_ranked", ranked)
