"""The ladder: memory, files, none. Where a checkpoint can be restored, and as what.

0. A sealed checkpoint can be read only by an agent that has the key, one in shared stores only by
   one that may open one of them: to all others it is of no use, on any rung. An agent that does not
   tell its keys or its stores may try.

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


class Saved(NamedTuple):
    """What of a checkpoint decides who can restore it."""

    rung: str
    host: HostFacts | None = None
    """The machine it was saved on, where it is known."""
    key: str = ""
    """Id of the cluster's key that opens it, where it is known and sealed."""
    stores: tuple[str, ...] = ()
    """Shared stores that hold it; none where a node does, whose store everybody may open."""


class Able(NamedTuple):
    """What of an agent decides what it can restore."""

    rung: str
    """Its best."""
    host: HostFacts | None = None
    """Its machine, where it is known."""
    keys: tuple[str, ...] | None = None
    """Ids of the cluster's keys it has; None: it does not tell."""
    stores: tuple[str, ...] | None = None
    """Shared stores it may open; None: it does not tell."""


def saved_as(ref: CheckpointRef) -> Saved:
    """Return what of *ref* decides who can restore it."""
    shared = not any(url.startswith(("http://", "https://")) for url in ref.location)
    return Saved(ref.rung, ref.host, ref.key, ref.location if shared else ())


class Way(NamedTuple):
    """One way to start a job again."""

    ref: CheckpointRef
    rung: str
    """Of the start; `files` may be less than the checkpoint holds."""


def refusal(saved: Saved, able: Able) -> str | None:
    """Return why an agent cannot restore a checkpoint on the checkpoint's own rung, or None."""
    if saved.rung != MEMORY and able.rung == NONE:
        return "it restores nothing"
    if saved.rung == MEMORY and able.rung != MEMORY:
        return "it restores no memory"
    unread = unreadable(saved, able)
    if unread is not None or saved.rung != MEMORY or saved.host is None or able.host is None:
        return unread
    return can_restore(saved.host, able.host)


def unreadable(saved: Saved, able: Able) -> str | None:
    """Return why an agent cannot even read a checkpoint, or None."""
    if saved.key and able.keys is not None and saved.key not in able.keys:
        return f"it has not the checkpoint key {saved.key}"
    if saved.stores and able.stores is not None and not {*saved.stores} & {*able.stores}:
        return f"it may not open {saved.stores[0]}"
    return None


def ways(refs: Iterable[CheckpointRef], *, able: Able, mode: CheckpointMode) -> list[Way]:
    """Return how an agent can start the job again from *refs*, newest first, best way first."""
    if able.rung == NONE:
        return []
    newest_first = [ref for ref in refs if unreadable(saved_as(ref), able) is None]
    whole = [Way(ref, ref.rung) for ref in newest_first if refusal(saved_as(ref), able) is None]
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
