"""Goal: what logs say reaches everybody who asks, once.

Method: a log that grows, read by two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.faults.diary import Diary

if TYPE_CHECKING:
    from pathlib import Path

LINE = '07:00:0{} INFO    agent[a1] start_failed job=pump_1 blame=checkpoint why="no store"\n'


def test_what_a_row_had_read_is_still_news_to_the_judge(tmp_path: Path) -> None:
    log = tmp_path / "a1.log"
    diary = Diary(tmp_path, zero_wall_s=7 * 3600.0)
    log.write_text(LINE.format("1.000") + LINE.format("2.000")[:20])
    diary.refresh()
    assert [entry.at_s for entry in diary.entries] == [1.0]
    with log.open("a") as more:
        more.write(LINE.format("2.000")[20:])
    assert [entry.at_s for entry in diary.take()] == [1.0, 2.0]
    assert diary.take() == []
    assert [entry.facts["why"] for entry in diary.entries] == ["no store", "no store"]
