"""One job, followed over the bus until it has ended, by whichever node answers.

1. A node that is lost is replaced by the next; when none answers any more, a second apart they are
   tried again, because a job that runs for hours outlives a restart of its nodes.
2. A broker that was started again has nothing until its node has filled it, so a job that was shown
   before is waited for, REFILL_S at most.
3. Where the job's device is named nothing of other jobs is read: with 10,000 of them it counts.

Not promised: every change. What came in one batch is seen as one.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

from workrs.cli import job_name
from workrs.cli.connection import Caller, connected, fill
from workrs.cli.error import NoNodeError
from workrs.domain.errors import BusError
from workrs.domain.ids import JobId
from workrs.ports.bus import Bus
from workrs.wire.view import PATTERNS, ClusterView, JobView

REFILL_S: Final = 10.0
_RETRY_S: Final = 1.0


async def follow(who: Caller, text: str) -> AsyncGenerator[tuple[JobView, ClusterView], None]:
    """Yield the job that *text* names whenever it may have changed, at last with its outcome.

    Raises:
        ConfigError: it is no name of a job, or several devices have a job of this id.
        NotFoundError: no node shows such a job.
        NoNodeError: no node could be reached at the beginning.
    """
    found: JobView | None = None
    while True:
        try:
            async with connected(who) as bus:
                view = await _view_of(bus, text)
                if found is not None:
                    text = f"{found.device}/{found.id}"
                    await await_shown(found.job, view, bus)
                found = job_name.find_job(view, text)
                while True:
                    yield found, view
                    if not found.is_open:
                        return
                    for message in await bus.receive():
                        view.apply(message.topic, message.payload)
                    # A decided job whose retention ended meanwhile is gone: its last view stays.
                    found = view.job(found.job) or found
        except BusError:
            # The node was lost meanwhile: the others show the same.
            who = await who.next_first()
        except NoNodeError:
            if found is None:
                raise
            await asyncio.sleep(_RETRY_S)


async def await_shown(job: JobId, view: ClusterView, bus: Bus) -> None:
    """Fold into *view* what comes until it has the job, or REFILL_S are over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(REFILL_S):
            while view.job(job) is None:
                for message in await bus.receive():
                    view.apply(message.topic, message.payload)


async def _view_of(bus: Bus, text: str) -> ClusterView:
    view = ClusterView()
    job = job_name.exact(text)
    if job is not None:
        mine = [pattern.replace("job/#", f"job/{job}") for pattern in PATTERNS]
        mine = [pattern.replace("spec/#", f"spec/{job}") for pattern in mine]
        await fill(view, bus, mine)
    if job is None or view.job(job) is None:
        await fill(view, bus)
    return view
