"""One screen tells what counts, at any size, from what the nodes say."""

import pytest

from tui.model.cluster import Model
from workrs.cli import top_view
from workrs.cli.table import cells
from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.record import Holder, Incarnation, Record
from workrs.wire import codec, topics
from workrs.wire.message import AgentView, NodeState

ONE = Incarnation(1, "aa")
NODES = ("n1", "n2", "n3")


def model(*, jobs: int = 1, agents: int = 1, quorum: bool = True) -> Model:
    """Return what was read from a cluster of three nodes."""
    found = Model()
    found.begin("127.0.0.1:1883", Instant(0.0))
    profile = AgentProfile(slots=4, arch="amd64", memory_mb=1, cpus=1.0, labels=("gpu",), load=0.5)
    seen = AgentView(incarnation=ONE, connection=1, counter=1, profile=profile)
    for node in NODES:
        state = NodeState(boot=1, nonce="x", nodes=NODES, quorum=quorum)
        found.apply(topics.node(node, "state"), codec.encode(state), Instant(0.0))
        for number in range(agents):
            topic = topics.node(node, "agent", f"a{number}")
            found.apply(topic, codec.encode(seen), Instant(0.0))
        for number in range(jobs):
            holder = Holder(client=ClientId("a0"), incarnation=ONE) if number == 0 else None
            job = JobId(f"pump-7_{number:04}")
            record = Record(
                job=job,
                digest=Digest("d" * 64),
                epoch=Epoch(1),
                holder=holder,
                progress=0.5,
                note="half\nway",
            )
            found.apply(topics.record(node, job), codec.encode(record), Instant(0.0))
    found.complete(Instant(0.0))
    while found.settle(Instant(0.0), limit=100):
        pass
    found.tick(Instant(0.0))
    return found


def shown(it: Model, width: int = 80, height: int | None = None) -> list[str]:
    return top_view.lines(it, Instant(1.0), width=width, height=height, is_coloured=False)


def test_the_first_lines_say_how_much_there_is_of_everything() -> None:
    text = "\n".join(shown(model(jobs=3)))
    assert "workrs 127.0.0.1:1883: 3 of 3 nodes, 1 agent, 1 of 4 slots in use" in text
    assert "jobs: 1 running, 2 queued, 0 succeeded, 0 failed" in text
    assert "pump-7/0000  running  50 %      a0     1      9s" in text
    assert "half way" in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 10), (20, 3)])
def test_it_fits_the_screen(width: int, height: int) -> None:
    lines = shown(model(jobs=200, agents=50), width, height)
    assert len(lines) <= height
    assert all(cells(line) <= width for line in lines)


def test_what_does_not_fit_is_counted() -> None:
    lines = shown(model(jobs=200, agents=50), 80, 24)
    more = [line for line in lines if line.startswith("… ")]
    agents = sum(line.startswith("a") for line in lines)
    jobs = sum(line.startswith("pump-7/") for line in lines)
    assert more == [f"… {50 - agents} more", f"… {200 - jobs} more"]
    assert min(agents, jobs) >= 3


def test_a_minority_and_a_lost_node_are_said_first() -> None:
    it = model(quorum=False)
    assert shown(it)[2].startswith("! no majority")
    it.lose("127.0.0.1:1883 was lost", Instant(1.0))
    assert shown(it)[2].startswith("! 127.0.0.1:1883 was lost")


def test_the_document_has_the_same() -> None:
    found = top_view.as_json(model(jobs=3), Instant(1.0))
    assert found["jobs"] == {
        **dict.fromkeys(("arriving", "cancelling", "succeeded", "failed", "cancelled"), 0),
        "expired": 0,
        "queued": 2,
        "running": 1,
    }
    assert found["agents"] == {"live": 1, "draining": 0, "gone": 0, "slots": 4, "slots_used": 1}
    nodes = found["nodes"]
    assert isinstance(nodes, list)
    assert [node["health"] for node in nodes] == ["ok"] * 3


def test_a_job_whose_agent_is_gone_says_so() -> None:
    it = model(agents=2)
    seen = AgentView(incarnation=ONE, connection=1, counter=2, gone=True)
    for node in NODES:
        it.apply(topics.node(node, "agent", "a0"), codec.encode(seen), Instant(0.0))
    while it.settle(Instant(0.0), limit=100):
        pass
    text = "\n".join(shown(it, width=100))
    assert "1 agent (1 gone)" in text
    assert "a0 (gone)" in text
