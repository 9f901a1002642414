"""The job: it works by the clock, so that a dozen of them share two cores.

Its work is a number of ticks that it waits for. What it has done is in its memory alone, so a
restore brings it back and a start from nothing does not. A tick that comes more than LATE_S
late is a time in which it stood still: it is noted, not made up for. Smaller delays are the
machine's and are made up for at the next tick, so undisturbed work takes exactly its time.
"""

import json
from dataclasses import dataclass

TICK_S = 0.02
LATE_S = 0.1
LAST_S = 1.5
"""Added to the work that is divided into segments, or one more checkpoint than asked for would
fall due at the very end: an agent does not see all of the time that its program stands still."""
_PROGRAM = """
import json, sys, time

def attempt():
    with open("/job/attempt") as told:
        return json.load(told)["attempt"]

work_s, tick_s, late_s = map(float, sys.argv[1:4])
ballast = bytearray(b"x" * (int(sys.argv[4]) << 20))
ticks, clock, mine, stood, shown = round(work_s / tick_s), time.monotonic, attempt(), [], 0
due = clock()
for done in range(1, ticks + 1):
    due += tick_s
    time.sleep(max(0.0, due - clock()))
    if clock() - due > late_s:
        former, mine, now = mine, attempt(), clock()
        stood.append([round(done * tick_s, 3), round(now - due, 4), mine != former])
        due = now
    if done * 20 // ticks > shown:
        shown = done * 20 // ticks
        with open("/job/progress", "w") as told:
            told.write(f"{shown / 20}\\n")
print(json.dumps({"ticks": done, "stood": stood}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a job's program told at its end."""

    complete: bool
    """It did all of its ticks, each once."""
    stood_s: list[float]
    """Every time it stood still for a checkpoint; those of runs that were lost are not in it."""


def spec(
    *, image: str, work_s: float, checkpoints: int, memory_mib: int, until_s: float
) -> dict[str, object]:
    """Return the spec of a job with *checkpoints* checkpoints at equal distances of work."""
    segment_s = (work_s + LAST_S) / (checkpoints + 1)
    wanted = {"mode": "memory", "interval_s": segment_s} if checkpoints else {"mode": "off"}
    words = [*map(str, (work_s, TICK_S, LATE_S, memory_mib))]
    return {
        "image": image,
        "command": ["python3", "-c", _PROGRAM, *words],
        "memory_mb": 64 + 2 * memory_mib,
        "checkpoint": wanted,
        "attempts_max": 100,
        "timeout_s": 2 * until_s,
        "retention_s": 60.0,
    }


def read(value: bytes, *, work_s: float) -> Told:
    """Return what a result says."""
    found = json.loads(value)
    return Told(
        complete=found["ticks"] == round(work_s / TICK_S),
        stood_s=[stood_s for _, stood_s, restored in found["stood"] if not restored],
    )
