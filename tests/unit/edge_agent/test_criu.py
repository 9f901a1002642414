"""Goal: CRIU is told only what its version understands, since it ends at any other word.

Method: versions as they occur, on both sides of the first that knows.
"""

from __future__ import annotations

import pytest

from edge_agent.runtimes.criu import dump_settings


@pytest.mark.parametrize("version", ["3.19", "4.0", "4.1.1", "4.2-rc1", "10.0"])
def test_a_program_without_a_network_is_saved_without_a_lock_on_it(version: str) -> None:
    assert dump_settings(version) == "network-lock skip\n"


@pytest.mark.parametrize("version", ["", "3.17.1", "3.18", "3.9", "unknown"])
def test_a_criu_that_cannot_skip_the_lock_is_not_asked_to(version: str) -> None:
    assert dump_settings(version) == ""
