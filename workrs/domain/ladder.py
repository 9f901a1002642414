"""The ladder: memory, files, none. Where a checkpoint can be restored, and as what.

1. A checkpoint on the memory rung goes on as memory only on an agent of that rung whose machine
   `host.can_restore` passes. Of a machine that does not tell its facts nothing is known: it may
   try.
2. Of a job that leaves the rung open (`auto`) the files in a checkpoint of its memory are as good
   as a checkpoint on the files rung: it has to expect one, because an agent without CRIU takes no
   other. A job that asks for memory never begins again with files that it did not leave so.
3. A checkpoint as what it is comes before one as less; of either kind the newer before the older.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from workrs.domain.host import HostFacts, can_restore
from workrs.domain.job import CheckpointMode
from workrs.domain.record import CheckpointRef

MEMORY = "memory"
FILES = "files"
NONE = "none"


class Way(NamedTuple):
    """One way to start a job again."""

    ref: CheckpointRef
    rung: str
    """Of the start; `files` may be less than the checkpoint holds."""


def refusal(
    saved_rung: str, saved_on: HostFacts | None, rung: str, host: HostFacts | None
) -> str | None:
    """Return why an agent cannot restore a checkpoint on the checkpoint's own rung, or None.

    Args:
        saved_rung: the rung of the checkpoint.
        saved_on: facts of the machine it was saved on, where they are known.
        rung: the best rung of the agent.
        host: facts of the agent's machine, where they are known.
    """
    if saved_rung != MEMORY:
        return "it restores nothing" if rung == NONE else None
    if rung != MEMORY:
        return "it restores no memory"
    if saved_on is None or host is None:
        return None
    return can_restore(saved_on, host)


def ways(
    refs: Iterable[CheckpointRef], *, rung: str, host: HostFacts | None, mode: CheckpointMode
) -> list[Way]:
    """Return how an agent can start the job again from *refs*, newest first, best way first."""
    if rung == NONE:
        return []
    newest_first = list(refs)
    whole = [
        Way(ref, ref.rung)
        for ref in newest_first
        if refusal(ref.rung, ref.host, rung, host) is None
    ]
    if mode is CheckpointMode.MEMORY:
        return whole
    fallen = [Way(ref, FILES) for ref in newest_first if ref.rung == MEMORY]
    return whole + fallen


def fall(refs: Sequence[CheckpointRef], way: Way | None, why: str) -> str:
    """Return what to tell of a start that goes back further than the newest checkpoint, or "".

    Args:
        refs: the checkpoints of the job, newest first.
        way: how it is started; None: from its beginning.
        why: why not better.
    """
    if not refs or (way is not None and way == (refs[0], refs[0].rung)):
        return ""
    newest = refs[0]
    lost = f"checkpoint {newest.epoch}.{newest.seq} ({newest.rung}) is of no use here: {why}"
    if way is None:
        return f"began again: {lost}"
    if way.rung == newest.rung:
        return f"went on from {way.ref.epoch}.{way.ref.seq}: {lost}"
    return f"began again with the files of {way.ref.epoch}.{way.ref.seq}: {lost}"
