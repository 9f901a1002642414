"""Goal: an input's address, which a stranger wrote, ends nothing but the job it came with.

Method: addresses that no machine can ask, in front of the real client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_agent.container import Container
from edge_agent.effect import PrepareStart
from edge_agent.event import Blame, StartFailed
from edge_agent.transfer import fetch_input
from tests.unit.edge_agent.test_container import JOB, World
from workrs.domain.errors import StoreError
from workrs.domain.job import JobSpec
from workrs.ports.store import BlobLostError
from workrs.testing.store import MemoryStores

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.event import Event


def spec(url: str) -> JobSpec:
    """As a node takes it in."""
    return JobSpec(command=("hang",), image="fake", input_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "http://[x",
        "https://]/",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
        "http://h:99999/",
        "http:///path",
    ],
)
def test_what_is_no_address_is_the_jobs_own_fault(tmp_path: Path, url: str) -> None:
    """It was an error of the agent's, which it ended, and then the next agent's."""

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            said: list[Event] = []
            container = Container(JOB, 1, made.tools(), said.append)
            start = PrepareStart(job=JOB, run=1, spec=spec(url), checkpoint=None, stores=())
            await container.prepare(start, made.ahead())
            (failed,) = said
            assert isinstance(failed, StartFailed)
            assert failed.blame is Blame.CONTAINER
            assert "input_url is no address" in failed.reason

    asyncio.run(story())


def test_what_goes_wrong_with_an_address_does_not_show_its_secrets(tmp_path: Path) -> None:
    async def said(url: str) -> str:
        with pytest.raises(StoreError) as caught:
            await fetch_input(
                url, tmp_path / "input", job=JOB, stores=(), open_store=MemoryStores().open, limit=9
            )
        return str(caught.value)

    async def story() -> None:
        for url in (
            "http://me:secret@a..b/x?token=secret",
            "http://[me:secret@",
            "http://h:0x/?secret",
        ):
            text = await said(url)
            assert "secret" not in text, text

    asyncio.run(story())


def test_a_machine_that_does_not_answer_may_do_so_later(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(StoreError) as caught:
            await fetch_input(
                "http://127.0.0.1:1/x",
                tmp_path / "input",
                job=JOB,
                stores=(),
                open_store=MemoryStores().open,
                limit=9,
            )
        assert not isinstance(caught.value, BlobLostError)

    asyncio.run(story())
