"""Goal: a plain process that writes too much is ended, and its end is told in words.

Method: real programs with a small disk; one is the limit's own victim, one a shell's child.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_agent.runtimes.process import ProcessRuntime
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.ports.runtime import StartRequest
from workrs.testing.runtime import FakeWarden

if TYPE_CHECKING:
    from pathlib import Path

DISK_BYTES = 1 << 20


@pytest.mark.parametrize("command", [("yes",), ("sh", "-c", "yes; exit $?")], ids=["own", "child"])
def test_a_flood_of_output_ends_the_program(tmp_path: Path, command: tuple[str, ...]) -> None:
    async def story() -> None:
        runtime = ProcessRuntime(
            agent=ClientId("a1"), work=tmp_path, warden=FakeWarden(), disk_bytes=DISK_BYTES
        )
        request = StartRequest(
            job=JobId("pump_1"),
            epoch=Epoch(1),
            attempt=1,
            spec=JobSpec(image="none", command=command),
            deadline=Instant(1e12),
        )
        attempt = await runtime.start(request)
        async with asyncio.timeout(120):
            ended = await attempt.wait()
        await attempt.remove()
        await runtime.close()
        assert ended.code == 153
        assert ended.problem == f"a file grew beyond {DISK_BYTES} bytes"

    asyncio.run(story())
