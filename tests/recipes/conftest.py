"""A real cluster of three nodes for each recipe; what is left of it is checked as everywhere."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import start_cluster as start_cluster  # noqa: PLC0414 (a fixture)
from tests.recipes.recipe_page import Kitchen
from workrs.cli.cluster import LocalCluster


@pytest.fixture
def cluster(start_cluster: Callable[..., LocalCluster]) -> LocalCluster:
    return start_cluster(nodes=3, agents=1)


@pytest.fixture
def kitchen(cluster: LocalCluster, tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path / "kitchen", cluster.addresses["n1"])
