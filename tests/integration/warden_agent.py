"""An agent in miniature for the warden's tests: guards one program, then does as it is told.

    warden_agent.py STATE KIND DEADLINE_S [GROWING_FILE]

Starts a program that appends to a file, prints `PID TARGET WARDEN`, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from edge_agent.warden import Warden, boottime
from tests.contract.runtimes import process_runtime
from workrs.domain.ids import Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.ports.runtime import StartRequest


async def main(state: Path, kind: str, deadline_s: float) -> None:
    warden = await Warden.start(state)
    runtime = process_runtime(kind, state / "work", warden, agent=f"warden-{kind}")
    await runtime.sweep()
    # A second process in the group: children die with their parent.
    script = "sleep 1000 & while :; do echo x >>progress; sleep 0.01; done"
    request = StartRequest(
        job=JobId("pump_1"),
        epoch=Epoch(1),
        attempt=1,
        spec=JobSpec(image="none", command=("sh", "-c", script)),
        deadline=Instant(boottime() + deadline_s),
    )
    attempt = await runtime.start(request)
    sys.stdout.write(f"{attempt._process.pid} {attempt._group.target} {warden.pid}\n")
    sys.stdout.flush()
    await warden.lost()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
