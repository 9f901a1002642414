"""An agent in miniature for the warden's tests: guards one program, then does as it is told.

    warden_agent.py STATE KIND DEADLINE_S

Starts a program that writes the warden's clock into a file at every step, prints
`PID TARGET WARDEN DEADLINE`, and waits to be killed.
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
    step = "read now _ </proc/uptime; echo $now >>progress; sleep 0.01"
    script = f"sleep 1000 & while :; do {step}; done"
    deadline = Instant(boottime() + deadline_s)
    request = StartRequest(
        job=JobId("pump_1"),
        epoch=Epoch(1),
        attempt=1,
        spec=JobSpec(image="none", command=("sh", "-c", script)),
        deadline=deadline,
    )
    attempt = await runtime.start(request)
    words = attempt._process.pid, attempt._group.target, warden.pid, deadline
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()
    await warden.lost()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
