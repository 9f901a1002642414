"""Goal: whoever has a credential is told in time that it ends, and what to type.

Method: a real credential, and days on both sides of each boundary; then a command and a watch.
"""

from __future__ import annotations

import asyncio
import logging
import re
from argparse import Namespace
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from workrs.adapters.expiry_watch import watch_expiry
from workrs.cli.connection import caller
from workrs.trust.cluster_directory import create
from workrs.trust.credential import Endpoint, load_credential
from workrs.trust.expiry import ending, renewal
from workrs.trust.kind import Kind
from workrs.trust.register import Register

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(tz=UTC)  # noqa: TID251 (a command looks at the real clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a credential that ends in five days."""
    register = Register(cluster="farm", nodes=(Endpoint("n1", "10.0.0.1", 8883),))
    return create(tmp_path / "farm", register, now=NOW).enrol(Kind.OPERATOR, "ann", now=NOW, days=5)


@pytest.mark.parametrize(
    ("left_days", "words"),
    [
        (31, ""),
        (30, "ends {}, in 30 days"),
        (0, "ends {}, in 0 days"),
        (-1, "ended {}"),
    ],
)
def test_a_warning_begins_thirty_days_before(path: Path, left_days: int, words: str) -> None:
    credential = load_credential(path)
    last = date.fromisoformat(credential.valid_until_wall)
    assert ending(credential, last - timedelta(days=left_days)) == words.format(last)


def test_a_command_says_it_and_goes_on(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = Namespace(credential=path, user=None, node=[], insecure=False)
    assert caller(asked).user == "ann"
    told = capsys.readouterr().err
    # The suite may run over midnight.
    assert re.search(r"in [45] days", told)
    assert "workrs enrol operator ann --cluster DIR --renew" in told


def test_a_program_that_runs_says_it_in_its_log(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def look_once() -> None:
        # It looks before it waits for the first time.
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await watch_expiry(path, "agent[a1]")

    with caplog.at_level(logging.WARNING):
        asyncio.run(look_once())
    assert "credential_ends" in caplog.text
    assert renewal(load_credential(path)) in caplog.text
