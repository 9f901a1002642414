"""Goal: an agent stays under 200 MiB also while it saves and fetches several checkpoints at once.

Method: the benchmark, with programs of many times what may be under way at once.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from bench import two_at_once

if TYPE_CHECKING:
    from pathlib import Path

MIB = 48
MOST_MIB = 200


def test_two_at_once_stay_under_the_bound(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(two_at_once.run, MIB, tmp_path).result() < MOST_MIB
