"""Goal: an agent counts votes by a list of nodes that is in use, whatever lists there were before.

Method: terms are shown to what it believes, and to a brain that has votes of a removed node.
"""

from edge_agent.cluster import Cluster
from edge_agent.event import ConnectionLost, TermsSeen
from edge_agent.heart import Heart
from tests.unit.edge_agent.agent_talk import ME, TIMING, Talk
from workrs.domain.ids import ClientId, Instant
from workrs.wire.message import AgentView, NodeTerms


def show(cluster: Cluster, **lists: str) -> None:
    """Let nodes show their lists: n1="n1 n2"."""
    for node, names in lists.items():
        cluster.see(ClientId(node), NodeTerms(nodes=tuple(map(ClientId, names.split()))))


def test_while_two_lists_are_shown_the_larger_one_is_believed() -> None:
    cluster = Cluster(TIMING)
    show(cluster, n1="n1 n2 n3 n4", n2="n1 n2 n3", n3="n1 n2 n3")
    assert (cluster.size, cluster.majority) == (4, 3)


def test_a_removed_node_that_still_shows_its_list_is_not_believed() -> None:
    cluster = Cluster(TIMING)
    show(cluster, n4="n1 n2 n3 n4", n1="n1 n2 n3", n2="n1 n2 n3", n3="n1 n2 n3")
    assert (cluster.size, cluster.majority) == (3, 2)


def test_a_list_of_before_the_last_connect_is_forgotten() -> None:
    # Found by the storm of lists, seed 20: two nodes that were removed named each other.
    cluster = Cluster(TIMING)
    show(cluster, n1="n1 n2", n2="n1 n2")
    cluster.reconnect()
    show(cluster, n2="n2 n3", n3="n2 n3")
    cluster.reconnect()
    show(cluster, n3="n3")
    assert cluster.names == {"n3"}


def test_removed_nodes_that_still_show_lists_are_not_believed_though_they_name_each_other() -> None:
    # Found by the storm of lists, seed 140: n1 and n2 left one after the other, and ran on.
    cluster = Cluster(TIMING)
    show(cluster, n2="n1 n2 n3", n1="n1 n3", n3="n3")
    assert cluster.names == {"n3"}


def test_a_new_node_is_not_believed_before_another_has_its_list() -> None:
    cluster = Cluster(TIMING)
    show(cluster, n1="n1 n2", n2="n1 n2", n3="n1 n2 n3")
    assert cluster.size == 2
    show(cluster, n1="n1 n2 n3")
    assert cluster.size == 3


def test_so_many_nodes_may_come_and_go_as_there_are_names() -> None:
    cluster = Cluster(TIMING)
    for number in range(1, 40):
        cluster.reconnect()
        show(cluster, **{f"n{number}": f"n{number}"})
    assert cluster.names == {"n39"}


def test_no_more_nodes_are_kept_than_fit() -> None:
    cluster = Cluster(TIMING)
    names = " ".join(f"n{number}" for number in range(20))
    show(cluster, **dict.fromkeys(names.split(), names))
    assert len(list(cluster._members())) == 16


def test_the_vote_of_a_removed_node_is_no_part_of_a_majority_of_fewer() -> None:
    talk = Talk(nodes=4)
    talk.connect()
    for node in talk.nodes[1:3]:
        node.deaf = True
    talk.offer()
    assert "lease_won" not in talk.logs()  # n1 and n4 of four
    names = tuple(ClientId(node.name) for node in talk.nodes[:3])
    talk.tell(ConnectionLost(connection=1, reason="the node is started anew"))
    talk.nodes[3].deaf = True
    talk.connect()
    talk.tell(*(TermsSeen(node=name, terms=NodeTerms(nodes=names)) for name in names))
    talk.show((talk.nodes[0], talk.nodes[0].change(note="shown anew")))
    assert "lease_won" not in talk.logs()  # n1 of three: n2 and n3 may have granted it to others
    talk.nodes[1].deaf = False
    talk.wait(5.0)
    assert "lease_won" in talk.logs()


def test_the_receipt_of_a_removed_node_is_no_part_of_a_majority_of_fewer() -> None:
    heart = Heart()
    heart.beat((), Instant(1.0))
    view = AgentView(incarnation=ME.incarnation, connection=1, counter=heart.counter)
    for node in ("n1", "n4"):
        heart.hear(ClientId(node), view, 3, Instant(2.0))
    heart.keep({ClientId("n1"), ClientId("n2"), ClientId("n3")})
    heart.hear(ClientId("n1"), view, 2, Instant(3.0))
    assert heart.heard_at != 3.0
    heart.hear(ClientId("n2"), view, 2, Instant(4.0))
    assert heart.heard_at == 4.0
