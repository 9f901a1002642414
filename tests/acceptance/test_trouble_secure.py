"""Goal: what docs/operations.md says of members that are shut out is what they are told.

Method: a real cluster with TLS, in which an agent is revoked while it runs; a node whose
certificate is from five days ahead of its clock.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.acceptance.test_trouble import events, quoted, run
from tests.secure_cluster import SecureCluster, block_of_ports, secure_cluster
from workrs.cli import init
from workrs.cli.calendar import wall_clock
from workrs.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

__all__ = ["secure_cluster"]


def test_a_revoked_agent_is_told_so(secure_cluster: SecureCluster) -> None:
    assert main(("revoke", "a2", "--cluster", str(secure_cluster.folder))) == 0
    symptom = "a member's connection ends again and again"
    agent, node = (secure_cluster.local.members[name].log for name in ("a2", "n1"))
    secure_cluster.until(lambda: quoted(symptom) in agent.read_text())
    secure_cluster.until(lambda: " trust_taken " in node.read_text())
    secure_cluster.until(lambda: " connection_lost " in agent.read_text())
    assert events(symptom) == {"connection_lost", "trust_taken"}


def test_a_node_whose_clock_is_behind_says_so_and_may_be_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "wall_clock", lambda: wall_clock() + timedelta(days=5))
    node = f"n1=127.0.0.1:{block_of_ports()}"
    assert main(("init", str(tmp_path / "farm"), node, "--user", "ann")) == 0
    words = ("--credential", str(tmp_path / "farm" / "nodes" / "n1"), "--init")
    # No 2, after which a unit stays down.
    said = run("node", *words, "--state", str(tmp_path / "n1"), code=3)
    assert quoted('"not valid yet') in said
