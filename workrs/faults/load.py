"""The steady stream of jobs beside every fault: each has a value that is known beforehand."""

import hashlib
import json
from dataclasses import dataclass


def beads(
    *, steps: int, pace_s: float = 0.1, seed: str = "", interval_s: float | None = 1.0
) -> dict[str, object]:
    """Return the spec of a job that takes steps x pace_s and can go on from any step.

    It appends a line to the site's evidence at each step, saves its state, and prints
    what `beads_value` says.
    """
    given = {"steps": steps, "pace_s": pace_s, "seed": seed}
    return {
        "function": "beads",
        "input": json.dumps(given),
        "checkpoint": {"interval_s": interval_s},
    }


def beads_value(*, steps: int, seed: str = "") -> bytes:
    """Return what an undisturbed run of `beads` prints."""
    value = seed.encode()
    for step in range(steps):
        value = hashlib.sha256(value + str(step).encode()).digest()
    return value.hex().encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A job of the stream."""

    device: str
    job: str
    """Local id."""
    expected: bytes
    sent_s: float

    @property
    def bus_id(self) -> str:
        """Its id on the bus."""
        return f"{self.device}_{self.job}"
