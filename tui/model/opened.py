"""A job that is looked at closely: its spec, the end of its log, its result.

Read only while somebody looks, because specs and results of 10,000 jobs would not fit.
"""

from dataclasses import dataclass, field
from typing import Final

from workrs.domain.errors import WireError
from workrs.domain.ids import Instant, JobId, split_job_id
from workrs.domain.job import Outcome, StoredSpec
from workrs.domain.record import Record
from workrs.wire import codec, topics

KINDS: Final = ("spec", "log", "job")
"""What a reader subscribes to of such a job."""


@dataclass(slots=True)
class Opened:
    """What is known of it beyond its row."""

    job: JobId
    spec: StoredSpec | None = None
    log: tuple[str, ...] = ()
    """Lines, without control characters."""
    log_at: Instant | None = None
    outcome: Outcome | None = None
    """With its result."""
    refusal: str = ""
    """Why there is no log."""
    patterns: tuple[str, ...] = field(init=False)
    """Topics to subscribe to."""

    def __post_init__(self) -> None:
        """Work out the topics."""
        self.patterns = tuple(topics.node("+", kind, self.job) for kind in KINDS)

    @property
    def name(self) -> str:
        """Return the job as DEVICE/ID."""
        return "/".join(split_job_id(self.job))

    def apply(self, topic: str, payload: bytes, now: Instant) -> None:
        """Take in a message, if it is about this job."""
        if not payload or not topic.endswith(self.job):
            return
        found = topics.parse_node(topic)
        if found is None or found.name != self.job:
            return
        try:
            match found.kind:
                case "log":
                    self.log, self.log_at = printable_lines(payload), now
                    self.refusal = ""
                case "spec":
                    self.spec = codec.decode(StoredSpec, payload)
                case "job":
                    decided = codec.decode(Record, payload).decided
                    if decided is not None:
                        self.outcome = _fuller(self.outcome, decided)
                case _:
                    pass
        except WireError:
            return  # counted by the view, which reads the same message


def _fuller(known: Outcome | None, shown: Outcome) -> Outcome:
    """Return the one with the result: a node that retired the job shows it without."""
    has_result = shown.inline_result() is not None or shown.result_url is not None
    return shown if known is None or has_result else known


def printable_lines(data: bytes) -> tuple[str, ...]:
    """Return text of unknown origin as lines that a terminal can show without harm."""
    text = data.decode("utf-8", errors="replace").expandtabs(4)
    return tuple(
        "".join(c if c.isprintable() else "\N{MIDDLE DOT}" for c in line)
        for line in text.splitlines()
    )
