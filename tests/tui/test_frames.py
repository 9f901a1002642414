"""Goal: what a key changed is painted soon. Method: the program's own start, in a process."""

from __future__ import annotations

import subprocess
import sys

FRAME_MAX_S = 0.005


def test_textual_paints_more_often_than_by_itself() -> None:
    said = subprocess.check_output(
        [sys.executable, "-c", "import tui.app, textual.screen as it; print(it.UPDATE_PERIOD)"],
        text=True,
    )
    assert float(said) < FRAME_MAX_S
