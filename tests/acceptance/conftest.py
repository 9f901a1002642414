"""Real clusters for acceptance tests: `workrs node` and `workrs agent` as processes.

Goal: what the README promises, seen from outside. Method: free ports, default timings unless
a test says otherwise, conditions polled with a deadline. After every test the ledgers, the
bus and the agents must agree on every job, and nothing may be left running.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.agreement import assert_agreement, assert_nothing_left
from workrs.cli.cluster import AgentPlan, ClusterPlan, LocalCluster, local_cluster
from workrs.cli.stage import Stage, stage
from workrs.examples.functions import functions_toml

StartCluster = Callable[..., LocalCluster]


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """Return a function that starts a cluster which ends with the test."""
    started: list[LocalCluster] = []
    with ExitStack() as stack:

        def start(
            *, nodes: int = 3, agents: int = 1, image: str = "none", **plan: object
        ) -> LocalCluster:
            functions = tmp_path / "functions.toml"
            functions.write_text(functions_toml(image))
            members = plan.pop("agent_plans", None) or tuple(
                AgentPlan(name=f"a{i + 1}", runtime="process", slots=4) for i in range(agents)
            )
            asked = ClusterPlan(
                root=tmp_path / "cluster",
                nodes=nodes,
                agents=members,  # type: ignore[arg-type]
                functions=functions,
                **plan,  # type: ignore[arg-type]
            )
            cluster = stack.enter_context(local_cluster(asked))
            started.append(cluster)
            return cluster

        yield start
        for cluster in started:
            assert_agreement(cluster)
    for cluster in started:
        assert_nothing_left(cluster)


@pytest.fixture
def engine_stage(tmp_path: Path) -> Iterator[Stage]:
    """Run two Docker Engines of our own, with an image and functions."""
    with stage(tmp_path / "stage", purpose="test", runtime="docker", engines=2) as found:
        yield found


@pytest.fixture
def start_engine_cluster(engine_stage: Stage, start_cluster: StartCluster) -> StartCluster:
    """Return a function that starts a cluster whose agents run containers on two engines."""

    def start(*, agents: int = 2, **plan: object) -> LocalCluster:
        members = tuple(
            AgentPlan(
                name=f"a{i + 1}",
                runtime="docker",
                engine=engine_stage.engine(i),
                slots=4,
                options=("--offline",),
            )
            for i in range(agents)
        )
        return start_cluster(image=engine_stage.image, agent_plans=members, **plan)

    return start
