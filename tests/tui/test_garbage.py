"""Goal: garbage is looked for while nobody types, and what closed pages leave goes in the end."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from tui.garbage import PERIOD_S, QUIET_S, WHOLE_PERIOD_S, WHOLE_QUIET_S, Garbage
from workrs.domain.ids import Instant

if TYPE_CHECKING:
    from collections.abc import Iterator


class Page:
    """Something in a cycle."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_nothing_is_looked_for_before_everything_was_read() -> None:
    garbage, thresholds = Garbage(), gc.get_threshold()
    garbage.consider(Instant(WHOLE_PERIOD_S), WHOLE_QUIET_S)
    assert garbage.collected_at is None
    assert gc.get_threshold() == thresholds


def test_new_garbage_goes_once_nobody_types() -> None:
    garbage = Garbage()
    garbage.begin(Instant(0))
    page = weakref.ref(Page())
    garbage.consider(Instant(PERIOD_S), QUIET_S - 0.1)
    garbage.consider(Instant(PERIOD_S - 0.1), QUIET_S)
    assert page() is not None
    garbage.consider(Instant(PERIOD_S), QUIET_S)
    assert page() is None


def test_what_was_in_use_before_is_left_alone_until_all_is_looked_through() -> None:
    garbage = Garbage()
    kept = [Page()]
    page = weakref.ref(kept[0])
    garbage.begin(Instant(0))
    kept.clear()
    garbage.consider(Instant(PERIOD_S), WHOLE_QUIET_S)
    garbage.consider(Instant(WHOLE_PERIOD_S), WHOLE_QUIET_S - 0.1)
    assert page() is not None
    garbage.consider(Instant(WHOLE_PERIOD_S), WHOLE_QUIET_S)
    assert page() is None
