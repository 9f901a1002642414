"""Numbers about one program, in the text that Prometheus reads.

1. No label has a value that clients choose: no job, device or agent. What a program can say of
   itself is bounded by its code, however long it runs.
2. Nothing is counted for it beside what the program keeps anyway, but how often each event was
   logged: one addition a line.

By hand instead of by prometheus_client: that counts in objects of its own, in a registry for the
whole process, where ours are read off the brain at the moment of the question.
"""

import os
import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from workrs.adapters import log

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number or several that differ in labels, with what they mean."""

    name: str
    """In base units; ends in ``_total`` if, and only if, it is a counter."""
    kind: Literal["counter", "gauge"]
    text: str
    """One line: what it counts or measures."""
    samples: Sequence[tuple[Labels, float]]


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a number that goes up and down."""
    return Metric(name=name, kind="gauge", text=text, samples=[((), value)])


def counter(name: str, text: str, value: float) -> Metric:
    """Return a number that only grows while the program runs."""
    return Metric(name=name, kind="counter", text=text, samples=[((), value)])


def info(name: str, text: str, /, **labels: str) -> Metric:
    """Return a 1 that carries facts as labels, for joins."""
    return Metric(name=name, kind="gauge", text=text, samples=[(tuple(labels.items()), 1)])


def render(metrics: Iterable[Metric]) -> str:
    """Return the text of *metrics*, in their order."""
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, value in metric.samples:
            named = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels)
            shown = f"{{{named}}}" if named else ""
            lines.append(f"{metric.name}{shown} {float(value):.17g}")
    return "\n".join(lines) + "\n"


def of_process() -> list[Metric]:
    """Return what every program says of itself: events, and what it takes of the machine."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    events = sorted(log.counts().items())
    return [
        Metric(
            name="workrs_events_total",
            kind="counter",
            text="Events since the start, by their key; docs/events.md lists them.",
            samples=[((("event", key),), count) for key, count in events],
        ),
        counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            used.ru_utime + used.ru_stime,
        ),
        gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            pages * os.sysconf("SC_PAGE_SIZE"),
        ),
        gauge(
            "process_open_fds",
            "Number of open file descriptors.",
            len(os.listdir("/proc/self/fd")),  # noqa: PTH208 (no objects for a count)
        ),
    ]
