"""The invariants of docs/faults.md over a recorded trace, the disks and the programs' testimony.

The checker reads the trace's lines as they are written; it shares no state with rows, load
or recorder, so a finished trace gives the same verdict.

Not checked here: S8 (tenants), since everybody may speak under any name at a site: `tests/hostile`
shows it with credentials; S10 is measured by soaks, L3 by how soon rows see a lease held by
another agent.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from workrs.domain.lease import LeaseTiming
from workrs.faults import disks, running
from workrs.faults.diary import Entry
from workrs.faults.evidence import Run
from workrs.faults.receipts import Lease, Receipts, Renewal
from workrs.faults.story import Start, Story, violations
from workrs.wire import topics

SETTLED_S: Final = 20.0
"""So long after its last sign of life a decided job is judged for good, and forgotten."""


@dataclass(slots=True, kw_only=True)
class Checker:
    """Judges a running or finished site."""

    trace: Path
    nodes: Sequence[str]
    timing: LeaseTiming
    stories: dict[str, Story] = field(default_factory=dict)
    """Jobs that are not settled yet."""
    now_s: float = 0.0
    """Of the newest line."""
    outcomes: dict[str, str] = field(default_factory=dict)
    """Digest of every decided job that was settled: what comes later must say the same."""
    _renewals: dict[tuple[str, int, str], list[Renewal]] = field(default_factory=dict)
    _receipts: dict[tuple[str, int, str], Receipts] = field(default_factory=dict)
    """By agent and incarnation."""
    _kills: dict[str, list[float]] = field(default_factory=dict)
    _touched: dict[str, float] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _offset: int = 0

    def read(self) -> None:
        """Take what was written into the trace since the last time."""
        with self.trace.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for raw in whole.splitlines():
            line = json.loads(raw)
            self.now_s = line["t"]
            if line["kind"] == "message" and line.get("text"):
                self._take(line["topic"], line["text"], self.now_s)
            elif line["kind"] == "process" and line["what"] == "kill":
                self._kills.setdefault(line["name"], []).append(self.now_s)

    def take_diary(self, entries: Iterable[Entry]) -> None:
        """Take what agents' logs say of starts."""
        for entry in entries:
            story = self.stories.get(entry.facts.get("job", ""))
            if story is None:
                continue
            match entry.key:
                case "job_started":
                    restored = None
                case "restored":
                    restored = (entry.number("from_epoch"), entry.number("seq"))
                case "start_failed":
                    story.damaged |= entry.facts.get("blame") == "checkpoint"
                    continue
                case _:
                    continue
            start = Start(entry.at_s, entry.member, entry.number("epoch"), restored)
            story.starts.append(start)

    def judge(
        self, runs: Sequence[Run], ledgers: dict[str, disks.Disk | None], accepted: Iterable[str]
    ) -> list[str]:
        """Return what is violated and was not returned before.

        Args:
            runs: when programs were seen running.
            ledgers: what the nodes' disks hold.
            accepted: bus ids of jobs that their device heard to be accepted, before the
                ledgers were read.
        """
        found: list[str] = []
        for story in self.stories.values():
            found += violations(story, len(self.nodes))
            found += self._changed(story)
        strict = frozenset(job for job, story in self.stories.items() if story.strict)
        found += running.overlaps(runs, strict)
        found += running.survivors(runs, self._kills, self._renewals)
        found += running.late_runs(runs, self._renewals, self.timing, read_s=self.now_s)
        found += disks.lost(accepted, ledgers)
        found += disks.torn(ledgers)
        fresh = [text for text in dict.fromkeys(found) if text not in self._known]
        self._known.update(fresh)
        return fresh

    def settle(self, forget: Callable[[frozenset[str]], None]) -> None:
        """Forget jobs that were decided a while ago, so that memory stays bounded.

        Args:
            forget: told which, to forget what else is kept of them.
        """
        old = frozenset(
            job
            for job, story in self.stories.items()
            if story.decisions() and self.now_s - self._touched[job] > SETTLED_S
        )
        for job in old:
            self.outcomes[job] = min(self.stories.pop(job).decisions())
            del self._touched[job]
        self._renewals = {key: at for key, at in self._renewals.items() if key[0] not in old}
        forget(old)

    def _changed(self, story: Story) -> Iterator[str]:
        before = self.outcomes.get(story.job)
        for digest in story.decisions():
            if before not in (None, digest):
                yield f"S2 {story.job} was decided as {before}, then as {digest}"

    def _take(self, topic: str, text: str, at_s: float) -> None:
        shown = topics.parse_node(topic)
        if shown is not None:
            if shown.kind == "job":
                self._take_record(shown.node, shown.name, json.loads(text), at_s)
            elif shown.kind == "spec":
                spec = json.loads(text)["spec"]
                self._story(shown.name).strict = spec.get("takeover") == "strict"
            elif shown.kind == "agent":
                view = json.loads(text)
                receipts = self._receipts_of(shown.name, view)
                self._renew(shown.name, receipts.take_view(shown.node, view, at_s))
            return
        said = topics.parse_up(topic)
        if said is not None and said.verb == "beat":
            beat = json.loads(text)
            receipts = self._receipts_of(said.client, beat)
            self._renew(said.client, receipts.take_beat(beat, at_s))
        told = topics.parse_down(topic)
        if told is not None and not told[2]:
            story = self.stories.get(f"{told[0]}_{told[1]}")
            if story is not None:  # else it answers an order
                story.add_told(json.loads(text))

    def _story(self, job: str) -> Story:
        return self.stories.setdefault(job, Story(job))

    def _take_record(self, node: str, job: str, body: Any, at_s: float) -> None:
        self._story(job).add_record(node, at_s, body)
        self._touched[job] = at_s
        holder = body.get("holder")
        if holder is not None:
            key = (job, int(body.get("epoch", 0)), str(holder["client"]))
            self._renewals.setdefault(key, [Renewal(at_s, at_s)])

    def _receipts_of(self, agent: str, body: Any) -> Receipts:
        number, nonce = body["incarnation"]
        majority = len(self.nodes) // 2 + 1
        return self._receipts.setdefault((agent, number, nonce), Receipts(majority))

    def _renew(self, agent: str, renewed: Iterable[tuple[Lease, Renewal]]) -> None:
        for (job, epoch), renewal in renewed:
            known = self._renewals.get((job, epoch, agent))
            if known is not None:
                known.append(renewal)
