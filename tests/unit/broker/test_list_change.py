"""Goal: a cluster gets a node more, or less, while jobs run, and never counts by three lists.

Method: brains that all deliver to each other, started anew one by one with another list.
"""

from dataclasses import replace

import pytest

from broker.event import PeerStateSeen
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId
from workrs.domain.node_list import Stage

THREE, FOUR, FIVE = (tuple(f"n{n}" for n in range(1, size + 1)) for size in (3, 4, 5))


def stages(cluster: Cluster) -> set[Stage]:
    """Return the stages on the disks of the nodes that run."""
    return {disk.standing.stage for name, disk in cluster.disks.items() if name not in cluster.down}


def change(cluster: Cluster, *nodes: str) -> None:
    """Give every node of the new list that list, one after the other, a new one last."""
    for name in nodes:
        cluster.start_with(name, *nodes)
        cluster.tick(7.0)


def running_job(cluster: Cluster) -> Agent:
    """Have a job run."""
    agent = Agent(cluster)
    agent.beat()
    job = cluster.submit("n1")
    agent.claim(job, 1)
    agent.beat((job, 1, 1))
    return agent


def test_a_new_cluster_settles_by_itself() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    assert stages(cluster) == {Stage.OVER}
    assert {disk.standing.nodes for disk in cluster.disks.values()} == {THREE}


def test_a_fourth_node_votes_on_a_job_that_ran_before_and_the_change_ends_with_that_job() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    agent = running_job(cluster)
    change(cluster, *FOUR)
    agent.beat(("pump-7_j1", 1, 1))
    assert stages(cluster) == {Stage.CHANGING, Stage.NEW}
    cluster.stop("n3")  # three of four are left, one of them the new one
    agent.claim("pump-7_j1", 2)
    assert cluster.record("n4", "pump-7_j1").epoch == 2
    agent.outcome("pump-7_j1", 2)
    assert cluster.down_states("pump-7", "j1")[-1] == "succeeded"
    cluster.tick(3.0)
    assert Stage.OVER not in stages(cluster)  # n3 may have one of its own
    cluster.start("n3")
    cluster.tick(8.0)
    assert stages(cluster) == {Stage.OVER}


def test_no_second_change_begins_while_a_job_of_before_is_open() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    agent = running_job(cluster)
    change(cluster, *FOUR)
    with pytest.raises(ConfigError, match="the change before is not over"):
        cluster.start_with("n1", *FIVE)
    cluster.start_with("n1", *FOUR)
    cluster.tick(7.0)
    agent.beat(("pump-7_j1", 1, 1))
    agent.outcome("pump-7_j1", 1)
    cluster.tick(3.0)
    change(cluster, *FIVE)
    cluster.tick(3.0)
    assert stages(cluster) == {Stage.OVER}
    assert cluster.nodes["n5"].admission.votes


def test_a_job_that_came_after_everybody_had_the_list_does_not_hold_the_change_up() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    change(cluster, *FOUR)
    running_job(cluster)
    cluster.tick(3.0)
    assert stages(cluster) == {Stage.OVER}


def test_a_node_is_removed_and_what_it_still_says_counts_no_more() -> None:
    cluster = Cluster(size=5)
    cluster.tick(3.0)
    agent = running_job(cluster)
    cluster.lists["n5"] = FIVE
    change(cluster, *FOUR)
    dropped = cluster.nodes["n1"].dropped
    agent.at = "n5"
    agent.claim("pump-7_j1", 9)
    assert [cluster.record(name, "pump-7_j1").epoch for name in FOUR] == [1] * 4
    assert cluster.nodes["n1"].dropped > dropped
    agent.at = "n1"
    agent.beat(("pump-7_j1", 1, 1))
    agent.outcome("pump-7_j1", 1)
    cluster.stop("n5")
    cluster.tick(3.0)
    assert stages(cluster) == {Stage.OVER}


def test_two_new_nodes_at_once_do_not_vote() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    for name in ("n4", "n5"):
        cluster.start_with(name, *FIVE)
    cluster.tick(20.0)
    assert not any(cluster.nodes[name].admission.votes for name in ("n4", "n5"))
    del cluster.disks["n4"], cluster.disks["n5"]  # they have voted on nothing
    cluster.stop("n4", "n5")
    change(cluster, *FOUR)
    assert cluster.nodes["n4"].admission.votes


def test_a_new_node_that_comes_before_the_others_know_it_waits() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    cluster.start_with("n4", *FOUR)
    cluster.tick(7.0)
    assert not cluster.nodes["n4"].admission.votes
    assert "has to hear n1, n2, n3" in cluster.nodes["n4"].state().health
    for name in THREE:
        cluster.start_with(name, *FOUR)
        cluster.tick(7.0)
    assert stages(cluster) == {Stage.OVER}


def test_a_node_that_is_started_two_steps_away_from_the_others_ends() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    change(cluster, *FOUR)
    cluster.tick(3.0)
    cluster.lists["n5"] = FIVE
    # Its own disk would not have let it, but for a ledger of before lists were written down.
    standing = cluster.disks["n3"].standing
    cluster.disks["n3"].standing = replace(standing, nodes=())
    cluster.disks["n3"].seen.clear()
    cluster.start_with("n3", "n1", "n2", "n3", "n5")
    cluster.tick(3.0)
    assert "they may differ by one node" in cluster.halted["n3"]


def test_an_upgrade_of_a_ledger_from_before_lists_removes_no_node_that_it_knows() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    standing = cluster.disks["n3"].standing
    cluster.disks["n3"].standing = replace(standing, nodes=(), stage=Stage.NEW)
    with pytest.raises(ConfigError, match="start once with the list as it was"):
        cluster.start_with("n3", "n3", "n4", "n5")
    cluster.start_with("n3", *THREE)
    cluster.tick(7.0)
    assert stages(cluster) == {Stage.OVER}


def test_a_node_that_says_nothing_of_lists_holds_the_change_up() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    standing = cluster.disks["n1"].standing
    cluster.disks["n1"].standing = replace(standing, nodes=(), stage=Stage.NEW)
    state = replace(cluster.nodes["n2"].state(), list_drained=False, list_ready=False)
    cluster.stop("n2")  # by an older version
    cluster.start_with("n1", *THREE)
    for _ in range(20):
        cluster.feed("n1", PeerStateSeen(ClientId("n2"), state))
        cluster.tick(0.5)
    assert cluster.disks["n1"].standing.stage is Stage.NEW


@pytest.mark.parametrize("waits", ["n3", "pump-7_j1"])
def test_a_node_says_what_a_change_waits_for(waits: str) -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    running_job(cluster)
    change(cluster, *FOUR)
    if waits == "n3":
        cluster.start_with("n1", *FOUR)
        cluster.stop("n3")
        cluster.start_with("n1", *FOUR)
    cluster.tick(70.0)
    whys = [fact.fields["why"] for name, fact in cluster.facts if fact.event == "node_list_waits"]
    assert any(waits in str(why) for why in whys)


def test_a_list_is_on_disk_before_anything_is_said_under_it() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    cluster.start_with("n1", *FOUR)
    assert cluster.disks["n1"].standing.nodes == FOUR
    cluster.stop("n1")
    with pytest.raises(ConfigError, match="the change before is not over"):
        cluster.start_with("n1", *THREE)


def test_a_cluster_of_one_grows_to_three() -> None:
    cluster = Cluster(size=1)
    cluster.tick(2.0)
    change(cluster, *THREE[:2])
    cluster.tick(3.0)
    change(cluster, *THREE)
    cluster.tick(3.0)
    assert stages(cluster) == {Stage.OVER}
    agent = running_job(cluster)
    cluster.stop("n1")
    agent.at = "n3"
    agent.outcome("pump-7_j1", 1)
    assert cluster.down_states("pump-7", "j1")[-1] == "succeeded"


def test_a_job_that_was_retired_under_the_first_of_three_lists_is_known_under_the_third() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    cluster.stop("n3")
    cluster.tick(15.0)
    agent = Agent(cluster)
    agent.beat()
    agent.claim(cluster.submit("n1", retention_s=1.0), 1)
    agent.beat(("pump-7_j1", 1, 1))
    agent.outcome("pump-7_j1", 1)
    cluster.tick(30.0)
    assert [bool(cluster.disks[name].retired) for name in THREE] == [True, True, False]
    cluster.start("n3")
    cluster.tick(8.0)
    for nodes in (FOUR, FIVE):
        change(cluster, *nodes)
        cluster.tick(5.0)
        assert stages(cluster) == {Stage.OVER}
    cluster.stop("n1", "n2")
    cluster.tick(15.0)
    before = len(cluster.down_states("pump-7", "j1"))
    cluster.submit("n3", retention_s=1.0)
    cluster.tick(1.0)
    assert set(cluster.down_states("pump-7", "j1")[before:]) == {"succeeded"}


def test_a_change_is_not_over_while_a_ledger_cannot_be_read() -> None:
    cluster = Cluster()
    cluster.tick(3.0)
    cluster.unreadable.add("n2")
    change(cluster, *FOUR)
    cluster.tick(70.0)
    whys = {fact.fields["why"] for _, fact in cluster.facts if fact.event == "node_list_waits"}
    assert "what is over has to be read in the ledgers of n2" in whys
    assert Stage.OVER not in stages(cluster)
    cluster.unreadable.clear()
    cluster.tick(3.0)
    assert stages(cluster) == {Stage.OVER}
