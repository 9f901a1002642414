"""Goal: agents of different epochs of one job never disturb each other's checkpoints.

Method: hypothesis interleaves what two agents do to the same job in the same stores: saving what
changed a little, saving that is cut short, deleting what two newer ones replaced, deleting all
when fenced. What an agent stored last may be of the other's epoch, as after a lease that was
claimed anew. After every step each checkpoint that somebody still counts on is loaded, and holds
what was saved. Both write the same bytes, so that names would meet if they could.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_agent.checkpoint import KeyRing, Saved, discard
from tests.properties.checkpoint_world import JOB, RING, URL, restore, snapshot, store
from workrs.domain.errors import StoreError
from workrs.ports.store import StoreRefusedError
from workrs.testing.store import MemoryStore, MemoryStores

if TYPE_CHECKING:
    from workrs.domain.ids import Digest
    from workrs.ports.store import Space

AGENTS = st.sampled_from([2, 3])
"""By their epochs."""
PAGES = 6


class Failing(MemoryStore):
    """Takes no more after a while."""

    left = -1

    async def put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        """Keep it, or not."""
        if self.left == 0:
            raise StoreRefusedError(f"{self.location} is full")
        self.left -= 1
        await super().put(digest, data, space)


class TwoAgents(RuleBasedStateMachine):
    """The two, and what each still counts on."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.stores = MemoryStores()
        self.store = Failing(URL)
        self.stores.stores[URL] = self.store
        self.memory = {2: [0] * PAGES, 3: [0] * PAGES}
        self.kept: dict[int, list[tuple[Saved, bytes]]] = {2: [], 3: []}
        self.seq = {2: 0, 3: 0}
        self.keys: KeyRing | None = None

    @initialize(sealed=st.booleans())
    def begin(self, *, sealed: bool) -> None:
        self.keys = RING if sealed else None

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def _save(self, agent: int) -> None:
        content = b"".join(bytes([n + 1]) * 4096 for n in self.memory[agent])
        path = self.root / "taken"
        kept = self.kept[agent]
        self.seq[agent] += 1
        try:
            saved = asyncio.run(
                store(
                    self.stores,
                    snapshot(path, pages=content),
                    epoch=agent,
                    seq=self.seq[agent],
                    previous=self._before(agent),
                    keys=self.keys,
                )
            )
        finally:
            shutil.rmtree(path)
        kept.append((saved, content))

    def _before(self, agent: int) -> Saved | None:
        """Return what the agent stored last, of another epoch if it has just claimed anew."""
        for kept in (self.kept[agent], self.kept[5 - agent]):
            if kept:
                return kept[-1][0]
        return None

    @rule(agent=AGENTS, page=st.integers(0, PAGES - 1), value=st.integers(0, 2))
    def save(self, agent: int, page: int, value: int) -> None:
        """Change a page, perhaps back to what it was, and save."""
        self.memory[agent][page] = value
        self._save(agent)

    @rule(agent=AGENTS, puts=st.integers(0, 2), value=st.integers(0, 2))
    def save_in_vain(self, agent: int, puts: int, value: int) -> None:
        """Change all, and have no room for it in the store."""
        self.memory[agent] = [value] * PAGES
        self.store.left = puts
        try:
            self._save(agent)
        except StoreError:
            pass
        finally:
            self.store.left = -1

    @rule(agent=AGENTS)
    def prune(self, agent: int) -> None:
        """Delete the oldest of more than two."""
        if len(self.kept[agent]) > 2:
            doomed, _ = self.kept[agent].pop(0)
            self._discard(doomed, [saved for saved, _ in self.kept[agent]])

    @rule(agent=AGENTS)
    def fence(self, agent: int) -> None:
        """Delete all that is the agent's, as who learns that it lost the job may."""
        others = [saved for each, kept in self.kept.items() if each != agent for saved, _ in kept]
        while self.kept[agent]:
            doomed, _ = self.kept[agent].pop()
            self._discard(doomed, others)

    def _discard(self, doomed: Saved, keep: list[Saved]) -> None:
        asyncio.run(
            discard(
                doomed.ref,
                job=JOB,
                keep=[saved.ref for saved in keep],
                open_store=self.stores.open,
                keys=self.keys,
            )
        )

    @invariant()
    def what_is_kept_is_whole(self) -> None:
        for kept in self.kept.values():
            for saved, content in kept[-2:]:
                path = self.root / "loaded"
                asyncio.run(restore(self.stores, saved, path, self.keys))
                assert (path / "image" / "pages-1.img").read_bytes() == content
                shutil.rmtree(path)

    @invariant()
    def nothing_piles_up_that_no_manifest_names(self) -> None:
        named = {
            name
            for kept in self.kept.values()
            for saved, _ in kept
            for name in (*saved.manifest.names(), saved.ref.manifest)
        }
        stored = {name for _, _, name in self.store.blobs}
        assert stored == named


TestTwoAgents = TwoAgents.TestCase
TestTwoAgents.settings = settings(max_examples=60, stateful_step_count=25)
