"""Goal: a node's numbers are right, say when it is not to be used, and alerts read what is there.

Method: brains of a cluster at a time of the test's own; promtool as the judge of the text.
"""

import random
import re
import subprocess
from pathlib import Path

import pytest

from broker.metrics import LATE_S, NodeMetrics
from edge_agent.brain import Brain, Settings
from edge_agent.event import LeaveWished
from edge_agent.metrics import AgentMetrics
from edge_agent.uplink import Line
from tests.unit.broker.cluster import Agent, Cluster
from workrs.adapters import log
from workrs.adapters.metric import Metric, render
from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import ClientId, Instant
from workrs.domain.record import Holder, Incarnation

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "workrs.rules.yml"
CASES = RULES.with_name("workrs.test.yml")
PAGE = ROOT / "docs" / "operations.md"


def documented(answer: str) -> str:
    """Return an answer of /health or /ready that the page has."""
    table = PAGE.read_text().partition("<!-- answers:")[2].partition("<!-- end of answers -->")[0]
    said = re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)
    patterns = [re.sub(r"\b[NM]\b", r"\\d+", re.escape(text)).replace("…", ".+") for text in said]
    assert any(re.fullmatch(pattern, answer) for pattern in patterns), answer
    return answer


def seen(cluster: Cluster, folder: Path) -> NodeMetrics:
    return NodeMetrics(cluster.nodes["n1"], folder / "ledger.db", lambda: cluster.now)


def values(metrics: list[Metric]) -> dict[str, float]:
    return {metric.name: metric.samples[0][1] for metric in metrics}


def test_jobs_and_agents_are_counted_and_not_named(tmp_path: Path) -> None:
    cluster = Cluster(3)
    agent = Agent(cluster, at="n1")
    agent.beat()
    running, _ = cluster.submit("n1"), cluster.submit("n1", "j2")
    agent.claim(running, 1)
    (tmp_path / "ledger.db").write_bytes(b"x" * 100)
    metrics = seen(cluster, tmp_path).metrics()
    found = values(metrics)
    names = ("workrs_jobs_open", "workrs_jobs_running", "workrs_agents_live", "workrs_ledger_bytes")
    assert [found[name] for name in names] == [2, 1, 1, 100]
    assert (found["workrs_node_ready"], found["workrs_node_quorum"]) == (1, 1)
    text = render(metrics)
    assert running not in text
    assert {key for metric in metrics for labels, _ in metric.samples for key, _ in labels} == {
        "node",
        "software",
    }


def test_a_node_that_has_not_begun_is_late_from_its_start_on(tmp_path: Path) -> None:
    cluster = Cluster(1)
    cluster.nodes["n1"].next_beat_at = Instant(0.0)  # as before the first turn
    cluster.now = 67_321.0
    looked = seen(cluster, tmp_path)
    assert looked.health() == "ok"
    assert values(looked.metrics())["workrs_node_late_seconds"] == 0
    cluster.now += LATE_S
    assert "nothing for 10 s" in documented(looked.health())


def test_a_node_that_does_nothing_is_not_healthy(tmp_path: Path) -> None:
    cluster = Cluster(1)
    looked = seen(cluster, tmp_path)
    due = cluster.nodes["n1"].next_beat_at
    cluster.now = due + LATE_S - 0.01
    assert looked.health() == looked.ready() == "ok"
    cluster.now = due + LATE_S
    assert "nothing for 10 s" in documented(looked.health())
    assert looked.ready() == looked.health()
    assert values(looked.metrics())["workrs_node_ready"] == 0


def agent_metrics() -> AgentMetrics:
    holder = Holder(client=ClientId("a1"), incarnation=Incarnation(1, "aa"))
    settings = Settings(
        holder=holder, profile=AgentProfile(slots=3, arch="amd64", memory_mb=64, cpus=1), nodes=1
    )
    return AgentMetrics(Brain(settings, random.Random(7)), lambda: 0.0)


def test_an_agent_without_a_node_is_healthy_and_not_ready() -> None:
    looked = agent_metrics()
    assert (documented(looked.health()), documented(looked.ready())) == ("ok", "no node is reached")
    found = values(looked.metrics())
    assert (found["workrs_agent_slots"], found["workrs_agent_connected"]) == (3, 0)


def test_alerts_read_numbers_that_are_there(tmp_path: Path) -> None:
    metrics = seen(Cluster(3), tmp_path).metrics() + agent_metrics().metrics()
    there = {metric.name for metric in metrics} | {"workrs_events_total"}
    read = set(re.findall(r"\b(workrs_\w+)", RULES.read_text()))
    assert len(read) > 8
    assert read <= there


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    # That no other fires in a case is promtool's part: it compares all that do.
    calm, _, others = CASES.read_text().partition("two of three nodes are lost")
    assert "value: 0" in calm
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert len(alerts) > 10
    assert set(re.findall(r'alertname="(\w+)"', others)) == set(alerts)
    # A rule whose numbers are not there never fires, however calm the cluster.
    for name in set(re.findall(r"\bworkrs_\w+(?:{[^}]*})?", RULES.read_text())):
        assert name.rstrip("}") in calm


def test_events_with_an_alert_are_counted_from_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_COUNTS", {})
    seen(Cluster(3), tmp_path)
    alerted = set(re.findall(r'event="(\w+)"', RULES.read_text()))
    assert "protocol_violation" in alerted
    assert log.counts() == dict.fromkeys(alerted, 0)
    log.get("test").event("protocol_violation")
    seen(Cluster(3), tmp_path)
    assert log.counts()["protocol_violation"] == 1


def test_names_and_types_follow_prometheus_conventions(tmp_path: Path) -> None:
    text = render(seen(Cluster(3), tmp_path).metrics() + agent_metrics().metrics())
    ran = subprocess.run(
        ["promtool", "check", "metrics"],
        check=False,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_a_node_is_ready_only_while_it_votes_and_hears_a_majority(tmp_path: Path) -> None:
    cluster = Cluster(3)
    cluster.tick(3.0)
    assert seen(cluster, tmp_path).ready() == "ok"
    cluster.stop("n2", "n3")
    cluster.tick(8.0)
    assert documented(seen(cluster, tmp_path).ready()) == "it hears 1 of 3 nodes, no majority"
    assert seen(cluster, tmp_path).health() == "ok"
    cluster.stop("n1")
    cluster.start("n1")
    assert "before it votes it has to hear n2, n3" in documented(seen(cluster, tmp_path).ready())
    cluster.start("n2", "n3")
    cluster.tick(8.0)
    assert seen(cluster, tmp_path).ready() == "ok"
    cluster.lose_disk("n1")
    cluster.start("n1")
    answers = set[str]()
    for _ in range(250):
        answers.add(documented(seen(cluster, tmp_path).ready()).partition(":")[0])
        cluster.tick(0.1)
    assert answers == {"re-admission", "ok"}
    cluster.stop("n1", "n2", "n3")
    cluster.lose_disk("n1")
    cluster.start("n1")
    assert documented(seen(cluster, tmp_path).ready()).startswith("its disk was lost: 2 other")


def test_an_agent_that_is_to_leave_is_not_ready() -> None:
    looked = agent_metrics()
    brain = looked._brain
    brain.uplink.line = Line.UP
    assert documented(looked.ready()) == "ok"
    brain.handle_all([LeaveWished(leave=True, why="battery")], Instant(0.0))
    brain.uplink.line = Line.UP  # it connects, and here is nobody
    assert documented(looked.ready()) == "it leaves: hook"
