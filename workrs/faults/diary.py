"""What nodes and agents say of themselves in their logs, on the trace's clock.

Nothing is judged by it alone: it tells which checkpoint an agent restored, and when, which no
message does.
"""

import json
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

_LINE: Final = re.compile(r"(\d\d):(\d\d):(\d\d\.\d{3}) (\w+) +(\S+) (\w+)(.*)")
_FIELD: Final = re.compile(r' (\w+)=("(?:[^"\\]|\\.)*"|\S*)')
_DAY_S: Final = 86_400.0
KEPT: Final = 50_000


class Entry(NamedTuple):
    """One event of a log."""

    at_s: float
    member: str
    key: str
    facts: Mapping[str, str]
    line: str = ""
    """All of it."""
    alarming: bool = False
    """It is a warning or an error."""

    def number(self, name: str) -> int:
        """Return a fact that is a whole number."""
        return int(self.facts[name])


def parse(line: str, member: str, zero_wall_s: float) -> Entry | None:
    """Return the event in *line*, or None when it holds none.

    Args:
        line: of a log.
        member: whose log.
        zero_wall_s: seconds of the local day at which the trace's clock was 0.
    """
    found = _LINE.match(line)
    if found is None:
        return None
    hours, minutes, seconds, level, _, key, rest = found.groups()
    wall_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    # The stamps have no date: a run may pass midnight once.
    at_s = (wall_s - zero_wall_s + _DAY_S / 2) % _DAY_S - _DAY_S / 2
    facts = {
        name: json.loads(value) if value.startswith('"') else value
        for name, value in _FIELD.findall(rest)
    }
    return Entry(at_s, member, key, facts, line, level in {"WARNING", "ERROR", "CRITICAL"})


def local_day_s() -> float:
    """Return the seconds of the local day now, as the logs stamp them."""
    wall_s = time.clock_gettime(time.CLOCK_REALTIME)
    here = time.localtime(wall_s)
    return here.tm_hour * 3600 + here.tm_min * 60 + here.tm_sec + wall_s % 1


@dataclass(slots=True)
class Diary:
    """Reads the logs of all members as they grow."""

    folder: Path
    zero_wall_s: float
    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=KEPT))
    """The newest of what was read so far."""
    _read: dict[str, int] = field(default_factory=dict)
    _untaken: list[Entry] = field(default_factory=list)

    def refresh(self) -> None:
        """Read what is new."""
        fresh = [entry for path in sorted(self.folder.glob("*.log")) for entry in self._tail(path)]
        self.entries += fresh
        self._untaken += fresh

    def take(self) -> list[Entry]:
        """Return what is new since this was last called, whoever had it read."""
        self.refresh()
        taken, self._untaken = self._untaken, []
        return taken

    def _tail(self, path: Path) -> Iterator[Entry]:
        with path.open("rb") as log:
            log.seek(self._read.get(path.stem, 0))
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read[path.stem] = self._read.get(path.stem, 0) + len(whole)
        for line in whole.decode(errors="replace").splitlines():
            entry = parse(line, path.stem, self.zero_wall_s)
            if entry is not None:
                yield entry
