"""Goal: no full collection comes by itself, and garbage in cycles goes all the same.

Method: Python's own collector, with a great many objects that live on.
"""

import gc
import weakref
from collections.abc import Iterator

import pytest

from broker.collector import FULL_NEVER, MIDDLE, YOUNG, spare_full_collections


class Knot:
    """Something in a cycle."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    # Python makes no full collection before the young are a quarter of all that it looked through
    # last time; whatever other tests keep would be among that.
    gc.collect()
    gc.freeze()
    gc.collect()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def full_collections() -> int:
    return gc.get_stats()[2]["collections"]


def grow() -> list[list[int]]:
    return [[number] for number in range(3 * YOUNG * MIDDLE)]


def test_what_a_node_keeps_is_not_looked_through_as_it_grows() -> None:
    spare_full_collections()
    before = full_collections()
    kept = [grow() for _ in range(4)]
    assert full_collections() == before
    gc.set_threshold(YOUNG, MIDDLE, 1)
    kept += [grow() for _ in range(8)]
    assert full_collections() > before, "as it would be otherwise"
    assert gc.get_threshold()[2] != FULL_NEVER


def test_young_garbage_in_cycles_goes() -> None:
    spare_full_collections()
    gone = weakref.ref(Knot())
    kept = grow()
    assert gone() is None
    assert kept
