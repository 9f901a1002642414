"""Reports of progress that nobody looks at: kept as they came, and read when somebody does.

1. Most of what nodes say is how far programs are, again and again, of jobs that are not in view.
   To decode all of it took a fifth of the dashboard's CPU.
2. A record is deferred only if it is, byte for byte, the one that was read last but for version,
   progress, note and serial. Whatever else is new, or is written in another way, is read at once.
3. Each deferred record is read in the end: those of jobs in view with the next picture, the others
   in turn. Of several of one node the newest alone.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from workrs.domain.ids import JobId

_HEAD: Final = re.compile(rb'\{"job":"[^"\\]*","version":\[\d+,\d+\]')
_TAIL: Final = re.compile(rb',"progress":[\d.e+-]+(?:,"note":"[^"\\]*")?(?:,"serial":\d+)?\}')
_MARK: Final = b',"progress":'


def besides_progress(payload: bytes) -> bytes | None:
    """Return what a record says but for how far the program is; None if that cannot be told."""
    # A mark inside of a string would have a backslash: the last one is a key.
    at = payload.rfind(_MARK)
    head = _HEAD.match(payload)
    if head is None or at < head.end() or _TAIL.fullmatch(payload, at) is None:
        return None
    return payload[head.end() : at]


@dataclass(slots=True)
class Deferred:
    """What was not read yet."""

    _read: dict[str, bytes] = field(default_factory=dict)
    """By topic: what the record that was read last says besides progress."""
    _waiting: dict[JobId, dict[str, bytes]] = field(default_factory=dict)

    def defer(self, topic: str, payload: bytes) -> bool:
        """Return whether the record is kept for later; else it is to be read now."""
        job = JobId(topic.rpartition("/")[2])
        rest = besides_progress(payload)
        if rest is not None and self._read.get(topic) == rest:
            self._waiting.setdefault(job, {})[topic] = payload
            return True
        if rest is None:
            self._read.pop(topic, None)
        else:
            self._read[topic] = rest
        if (waiting := self._waiting.get(job)) is not None:
            waiting.pop(topic, None)
        return False

    def take(self, jobs: Iterable[JobId], others_max: int) -> Iterator[tuple[str, bytes]]:
        """Yield topic and payload of what waits of *jobs*, and of some others, the oldest first."""
        wanted = [job for job in jobs if job in self._waiting]
        for job in [*wanted, *islice(self._waiting, others_max)]:
            yield from self._waiting.pop(job, {}).items()
