"""What the records, device states and specs of one job tell, and what they must never tell.

Everything here reads plain JSON as it travelled, so a mistake in the project's own rules
cannot hide itself. Invariants by their names in docs/faults.md:

- S2: one outcome, of one digest, wherever it shows.
- S3: a node's epochs only grow, and one holder per epoch has a majority.
- S4: a checkpoint, or an accepted outcome, of a lower epoch changes nothing.
- S5: a takeover starts from the newest checkpoint that a majority had accepted before it.
- S9: one spec per id.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

Json = Mapping[str, Any]
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
RESULT = ("result", "result_b64", "result_url")


class Version(NamedTuple):
    """One version of one node's record."""

    order: tuple[int, int]
    at_s: float
    body: Json

    @property
    def epoch(self) -> int:
        """The highest granted."""
        return int(self.body.get("epoch", 0))

    @property
    def holder(self) -> tuple[str, int, str] | None:
        """Client, and both parts of its incarnation."""
        holder = self.body.get("holder")
        if holder is None:
            return None
        number, nonce = holder["incarnation"]
        return (holder["client"], number, nonce)

    @property
    def checkpoints(self) -> frozenset[tuple[int, int]]:
        """Epoch and number of those it names."""
        return frozenset((ref["epoch"], ref["seq"]) for ref in self.body.get("checkpoints") or ())

    @property
    def accepted(self) -> tuple[int, str] | None:
        """Epoch and digest of the outcome it accepted."""
        accepted = self.body.get("accepted")
        return None if accepted is None else (accepted["epoch"], accepted["digest"])

    @property
    def decided(self) -> str | None:
        """Digest of the decided outcome."""
        return self.body.get("decided_digest")


class Start(NamedTuple):
    """A start of the job's program, as its agent's log tells it."""

    at_s: float
    agent: str
    epoch: int
    restored: tuple[int, int] | None
    """Epoch and number of the checkpoint; None: from the beginning."""


@dataclass(slots=True)
class Story:
    """One job."""

    job: str
    versions: dict[str, dict[tuple[int, int], Version]] = field(default_factory=dict)
    """By node and version."""
    digests: set[str] = field(default_factory=set)
    """Of specs that any record names."""
    told: set[str] = field(default_factory=set)
    """Final states with their results, as any broker showed them to its device."""
    ends: set[str] = field(default_factory=set)
    """The same without results."""
    starts: list[Start] = field(default_factory=list)
    damaged: bool = False
    """Its agent found a checkpoint that it could not use."""
    strict: bool = False

    def add_record(self, node: str, at_s: float, body: Json) -> None:
        """Take a node's record, once per version."""
        boot, step = body.get("version", (0, 0))
        self.versions.setdefault(node, {}).setdefault(
            (boot, step), Version((boot, step), at_s, body)
        )
        if body.get("digest"):
            self.digests.add(body["digest"])

    def add_told(self, body: Json) -> None:
        """Take what a device was told; only a final state is kept."""
        if body.get("state") in FINAL:
            end = f"{body['state']} {body.get('exit_code')}"
            self.ends.add(end)
            result = [body[part] for part in RESULT if part in body]
            # Once its retention has passed a job's end is told without the result.
            if result or body["state"] != "succeeded":
                self.told.add(" ".join((end, *map(str, result))))

    def decisions(self) -> set[str]:
        """Return the digests of all outcomes that any record shows as decided."""
        shown = (v.decided for versions in self.versions.values() for v in versions.values())
        return {digest for digest in shown if digest}

    def ordered(self) -> Iterator[tuple[str, list[Version]]]:
        """Yield each node with the versions of its record, oldest first."""
        for node, versions in self.versions.items():
            yield node, [versions[order] for order in sorted(versions)]


def violations(story: Story, nodes: int) -> Iterator[str]:
    """Yield what a job's story breaks, a sentence each, beginning with the invariant's name."""
    if len(decided := story.decisions()) > 1:
        yield f"S2 {story.job} was decided {len(decided)} times: {sorted(decided)}"
    for told in (story.told, story.ends):
        if len(told) > 1:
            yield f"S2 {story.job}'s device was told {len(told)} ends: {sorted(told)}"
            break
    if len(story.digests) > 1:
        yield f"S9 {story.job} has {len(story.digests)} specs: {sorted(story.digests)}"
    for node, versions in story.ordered():
        yield from _steps(story.job, node, versions)
    yield from _holders(story, nodes)
    yield from _restores(story, nodes)


def _steps(job: str, node: str, versions: list[Version]) -> Iterator[str]:
    """Compare each version of a node's record with the one before it."""
    for before, after in pairwise(versions):
        if after.epoch < before.epoch:
            yield f"S3 {node}'s epoch of {job} fell from {before.epoch} to {after.epoch}"
        if before.decided and after.decided != before.decided:
            yield f"S2 {node}'s decision of {job} changed to {after.decided}"
        if after.decided:
            continue  # a decided record has dropped what it was decided from
        late = [ref for ref in after.checkpoints - before.checkpoints if ref[0] < before.epoch]
        if late:
            yield f"S4 {node} at epoch {before.epoch} took a checkpoint {late} of {job}"
        if after.accepted and after.accepted != before.accepted:
            if after.accepted[0] < before.epoch:
                yield f"S4 {node} at epoch {before.epoch} accepted {after.accepted} of {job}"
            if before.accepted and after.accepted[0] == before.accepted[0]:
                yield f"S2 {node} accepted two outcomes of {job} at epoch {after.accepted[0]}"


def _holders(story: Story, nodes: int) -> Iterator[str]:
    voters: dict[tuple[int, int], dict[tuple[str, int, str], set[str]]] = {}
    for node, versions in story.versions.items():
        for version in versions.values():
            if version.holder is not None:
                key = (int(version.body.get("generation", 0)), version.epoch)
                voters.setdefault(key, {}).setdefault(version.holder, set()).add(node)
    for (_, epoch), by_holder in voters.items():
        winners = [who for who, votes in by_holder.items() if len(votes) > nodes // 2]
        if len(winners) > 1:
            yield f"S3 {story.job} at epoch {epoch} is held by {winners}"


def kept_before(story: Story, epoch: int, nodes: int) -> tuple[int, int] | None:
    """Return the newest checkpoint that a majority named before it granted *epoch*."""
    named: dict[tuple[int, int], set[str]] = {}
    for node, versions in story.versions.items():
        for version in versions.values():
            if version.epoch < epoch:
                for ref in version.checkpoints:
                    named.setdefault(ref, set()).add(node)
    kept = [ref for ref, by in named.items() if len(by) > nodes // 2]
    return max(kept, default=None)


def _restores(story: Story, nodes: int) -> Iterator[str]:
    if story.damaged:
        return
    for start in story.starts:
        kept = kept_before(story, start.epoch, nodes)
        if kept is not None and (start.restored is None or start.restored < kept):
            source = "its beginning" if start.restored is None else f"checkpoint {start.restored}"
            yield (
                f"S5 {story.job} at epoch {start.epoch} started from {source}, "
                f"though a majority had {kept}"
            )
