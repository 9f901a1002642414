"""Goal: a checkpoint made with what was fetched ahead is byte for byte the one in the stores.

Method: random runs over shared blobs, put together by hand; then real checkpoints of a program
whose files and memory grow, shrink and change in between.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from array import array
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.checkpoint import load, load_ahead
from edge_agent.checkpoint.base import Base, Run, Runs, adopt, difference
from edge_agent.checkpoint.manifest import HOLE, PACK_BYTES
from tests.unit.edge_agent.test_checkpoint import (
    BIG,
    JOB,
    RING,
    make_snapshot,
    noise,
    store,
    tree,
)
from tests.unit.edge_agent.test_checkpoint_manifest import blob, file, manifest
from workrs.testing.store import MemoryStores

if TYPE_CHECKING:
    from pathlib import Path

BLOBS = [noise(64, seed) for seed in range(3)]
PIECES = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, HOLE]), st.integers(0, 40), st.integers(1, 24)),
    min_size=1,
    max_size=8,
)


def runs_of(pieces: list[tuple[int, int, int]]) -> list[Run]:
    found, at = [], 0
    for number, offset, length in pieces:
        found.append(Run(at, at + length, number, 0 if number == HOLE else offset))
        at += length
    return found


def content(runs: list[Run]) -> bytes:
    return b"".join(
        bytes(run.end - run.begin)
        if run.blob == HOLE
        else BLOBS[run.blob][run.offset : run.offset + run.end - run.begin]
        for run in runs
    )


@given(PIECES, PIECES, st.permutations([0, 1, 2]), st.integers(0, 3))
def test_what_is_left_out_is_the_same_and_the_rest_is_named(
    old: list[tuple[int, int, int]],
    new: list[tuple[int, int, int]],
    order: list[int],
    shared: int,
) -> None:
    wanted, before = runs_of(new), runs_of(old)
    # The former manifest numbers its blobs in another order, and has not all of them.
    renumbered = [
        run if run.blob == HOLE else run._replace(blob=order.index(run.blob)) for run in before
    ]
    same = {number: order[number] for number in range(shared)}
    size = wanted[-1].end
    # What lies beyond is what a file grown by truncate has, and must be written all the same.
    made = bytearray(content(before)[:size].ljust(size, b"\xff"))
    for run in difference(wanted, renumbered, same):
        made[run.begin : run.end] = content([run])
    assert bytes(made) == content(wanted)


def test_files_are_made_of_the_extents_that_their_bytes_lie_in() -> None:
    """Extents end where they like: within files, at their ends, and beyond several."""
    sizes = [3, 1, 7, 4, 9, 2]
    extents = [(0, 5, 2), (1, 0, 9), (HOLE, 0, 8), (0, 40, 1), (1, 20, 6)]
    made = manifest(
        *(file(size, f"job/{n}") for n, size in enumerate(sizes)),
        blobs=[blob(64, "a"), blob(64, "b")],
        extents=[number for extent in extents for number in extent],
    )
    runs = Runs(made)
    whole = content(runs_of(extents))
    parts = []
    for n, size in enumerate(sizes):
        of_file = list(runs.of(f"job/{n}"))
        assert [run.begin for run in of_file[1:]] == [run.end for run in of_file[:-1]]
        assert (of_file[0].begin, of_file[-1].end) == (0, size)
        parts.append(content(of_file))
    assert b"".join(parts) == whole
    assert "job/0" in runs
    assert "stdout" not in runs
    assert list(runs.of("stdout")) == []


def test_what_a_base_spares_is_found_in_little_memory(tmp_path: Path) -> None:
    """A gigabyte that changes page by page has half a million extents; agents have 200 MiB."""
    count = 40_000
    changed = array("I")
    for number in range(count):
        changed.extend((number % 2, number, 1))
    before, after = (
        manifest(
            file(count),
            blobs=[blob(PACK_BYTES, first), blob(PACK_BYTES, "b")],
            extents=changed,
        )
        for first in "ac"
    )
    folders = [tmp_path / "base", tmp_path / "made"]
    for folder in folders:
        (folder / "job").mkdir(parents=True)
        (folder / "job" / "a").touch()
    base = Base(path=folders[0], manifest=before)
    tracemalloc.start()
    try:
        uses = adopt(folders[1], after, base)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [len(places) for places in uses] == [3 * count // 2, 0]
    assert peak_bytes < 100 * count


def test_equal_runs_differ_in_nothing() -> None:
    runs = runs_of([(0, 0, 10), (HOLE, 0, 5), (1, 3, 7)])
    assert list(difference(runs, runs, {0: 0, 1: 1})) == []


@pytest.mark.parametrize("change", ["nothing", "some", "grow", "shrink", "zero", "all"])
def test_a_later_checkpoint_on_a_base_is_what_it_is_without(tmp_path: Path, change: str) -> None:
    async def story() -> None:
        stores = MemoryStores()
        pages = noise(1 << 20)
        first = await store(stores, make_snapshot(tmp_path / "one", pages=pages))
        changed = {
            "nothing": pages,
            "some": pages[:4096] + noise(8192, 5) + pages[12288:],
            "grow": pages + noise(9000, 6),
            "shrink": pages[: 500 << 10],
            "zero": pages[:8192] + bytes(16384) + pages[24576:],
            "all": noise(1 << 20, 9),
        }[change]
        later = make_snapshot(tmp_path / "two", pages=changed)
        (later.path / "job" / "text").write_bytes(b"hello, and more")
        second = await store(stores, later, seq=2, previous=first)
        wanted = {"job": JOB, "open_store": stores.open, "limit_bytes": BIG, "keys": RING}
        base = await load_ahead(first.ref, path=tmp_path / "ahead", **wanted)  # type: ignore[arg-type]
        made = await load(second.ref, path=tmp_path / "made", base=base, **wanted)  # type: ignore[arg-type]
        assert tree(made.path) == tree(later.path)

    asyncio.run(story())


def test_of_a_base_that_is_the_same_nothing_is_fetched_but_the_manifest(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        snapshot = make_snapshot(tmp_path / "one", pages=noise(1 << 20))
        saved = await store(stores, snapshot)
        wanted = {"job": JOB, "open_store": stores.open, "limit_bytes": BIG, "keys": RING}
        base = await load_ahead(saved.ref, path=tmp_path / "ahead", **wanted)  # type: ignore[arg-type]
        for url in saved.ref.location:
            for name in saved.manifest.blobs:
                stores.open(url).blobs.pop((JOB, saved.ref.epoch, name.name))
        made = await load(saved.ref, path=tmp_path / "made", base=base, **wanted)  # type: ignore[arg-type]
        assert tree(made.path) == tree(snapshot.path)

    asyncio.run(story())
