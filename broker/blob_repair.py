"""Which copies of checkpoints this node should have and has not. Pure.

A checkpoint's reference in the records names the stores that hold it, two as a rule. A node
that is named, but lost its blobs, or some of them, fetches them from the others that are named.

1. Of a job only its two newest checkpoints count: older ones were deleted, or will be.
2. A copy is missing when its manifest is: a manifest is stored after all that it names.
3. Copies that were there when the node started are compared once with what another node has,
   since a disk may have lost parts and kept the manifest.
4. Only live nodes of the cluster are asked, whatever a reference names.

Not promised: that a copy which a node for good will never have again is made elsewhere. The
job's next checkpoint goes to two live nodes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from broker.entry import JobEntry
from workrs.domain import quorum
from workrs.domain.ids import ClientId, Digest, JobId
from workrs.domain.record import Record

CHECKPOINTS: Final = 2
Copy = tuple[JobId, Digest]
"""A checkpoint that this node should have: its job, and its manifest's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What to fetch for one job."""

    job: JobId
    manifests: tuple[Digest, ...]
    """Stored after everything else."""
    sources: tuple[str, ...]
    """Base URLs of the nodes that should have it."""


def copies(records: Mapping[ClientId, Record], own_url: str) -> dict[Digest, tuple[str, ...]]:
    """Return the checkpoints of a job that lie here, by the records, and where else they do."""
    if not own_url or not any(record.checkpoints for record in records.values()):
        return {}
    return {
        ref.manifest: tuple(url for url in ref.location if url != own_url)
        for ref in quorum.newest_checkpoints(records)[:CHECKPOINTS]
        if own_url in ref.location
    }


def repairs(
    entries: Iterable[JobEntry],
    *,
    own_url: str,
    live_urls: Collection[str],
    whole: Collection[Copy],
    is_here: Callable[[JobId, Digest], bool],
) -> Iterator[Repair]:
    """Say which open jobs lack copies here that a live node should have.

    Args:
        entries: of this node, decided ones too.
        own_url: of its blob store, as references name it.
        live_urls: of the stores of its live peers.
        whole: copies known to be here from the first byte to the last.
        is_here: whether a manifest that is not among those is on disk, and needs no comparison.
    """
    for entry in entries:
        if not entry.is_open:
            continue
        found = copies(entry.records, own_url)
        missing = {
            manifest: [url for url in urls if url in live_urls]
            for manifest, urls in found.items()
            if (entry.job, manifest) not in whole and not is_here(entry.job, manifest)
        }
        sources = dict.fromkeys(url for urls in missing.values() for url in urls)
        if sources:
            manifests = tuple(manifest for manifest, urls in missing.items() if urls)
            yield Repair(job=entry.job, manifests=manifests, sources=tuple(sources))
