"""An agent in miniature that runs one container, for tests that kill it.

    container_agent.py STATE ENGINE IMAGE

Sweeps, starts a container that never ends, writes `LEFT CONTAINER CGROUP` and waits.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from edge_agent.runtimes.docker import DockerRuntime
from edge_agent.warden import Warden
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.ports.runtime import StartRequest


async def main(state: Path, engine: str, image: str) -> None:
    warden = await Warden.start(state)
    runtime = await DockerRuntime.open(
        url=engine, agent=ClientId("victim"), work=state / "work", warden=warden
    )
    left = await runtime.sweep()
    attempt = await runtime.start(
        StartRequest(
            job=JobId("pump_1"),
            epoch=Epoch(1),
            attempt=1,
            spec=JobSpec(image=image, command=("sh", "-c", "sleep 1000 & wait"), memory_mb=32),
            deadline=Instant(1e12),
        )
    )
    sys.stdout.write(f"{left} {attempt.container_id} {attempt._cgroup.path}\n")
    sys.stdout.flush()
    await warden.lost()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
