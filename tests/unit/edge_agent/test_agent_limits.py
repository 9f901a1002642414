"""Goal: what an agent keeps does not grow with what others send it.

Method: scripted talks with a brain, limits made small.
"""

import pytest

from edge_agent import cluster, roster
from edge_agent.cluster import Cluster
from tests.unit.edge_agent.agent_talk import TIMING, Talk
from workrs.domain.ids import ClientId, Instant, JobId
from workrs.wire.message import Claim, NodeTerms


def test_terms_of_too_many_nodes_are_not_kept() -> None:
    found = Cluster(TIMING)
    terms = NodeTerms(nodes=("n1", "n2", "n3"), timing=TIMING)
    found.see(ClientId("n1"), terms)
    for number in range(100):
        found.see(ClientId(f"stranger-{number}"), terms)
    assert len(found._terms) == cluster.NODES_MAX
    assert found.size == 3
    assert not found.see(ClientId("n1"), terms), "one that is known is still heard"


def test_the_stores_of_nodes_that_do_not_answer_come_last() -> None:
    found = Cluster(TIMING)
    for name in ("n1", "n2", "n3"):
        terms = NodeTerms(nodes=("n1", "n2", "n3"), timing=TIMING, blobs_url=f"u-{name}")
        found.see(ClientId(name), terms)
    assert found.stores == ("u-n1", "u-n2", "u-n3")
    found.hear(ClientId("n2"), Instant(100.0))
    assert found.stores == ("u-n1", "u-n2", "u-n3"), "one answer says nothing of the others"
    for name in ("n2", "n3"):
        found.hear(ClientId(name), Instant(100.1 + TIMING.silence_s))
    assert found.stores == ("u-n2", "u-n3", "u-n1"), "n1 never answered"
    found.hear(ClientId("n1"), Instant(101.0 + TIMING.silence_s))
    assert found.stores == ("u-n1", "u-n2", "u-n3")


def test_while_too_many_releases_are_being_said_nothing_more_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roster, "RELEASING_MAX", 2)
    talk = Talk(slots=4)
    talk.connect()
    jobs = [JobId(f"pump_{number}") for number in range(3)]
    kept = talk.brain.roster
    for job in jobs[:2]:
        talk.offer(job=job)
    kept._freed.update(jobs[:2])
    claims = len(talk.said(Claim))
    talk.offer(job=jobs[2])
    assert len(talk.said(Claim)) == claims
    kept._freed.discard(jobs[0])
    talk.offer(job=jobs[2])
    assert len(talk.said(Claim)) == claims + 1
