"""When to checkpoint a job whose length is unknown: the exact optimum of the fault model.

Faults strike work, checkpoints and restores alike at a constant rate 1 / M; a checkpoint
costs C. The interval that wastes least is M (1 + W0(-e^(-C/M - 1))); Young's sqrt(2 C M) is
its first term and too long by about C / 3. Restore and detection times multiply the whole
and do not move the optimum, so they are not asked for.
"""

import math

MTBF_PRIOR_S = 3600.0
"""Mean time between losses of an agent, assumed while nothing was observed."""


def lambert_w0(x: float) -> float:
    """Return the principal branch of Lambert's W for x from -1/e to 0, both included.

    Halley's iteration from the series at the branch point: four rounds give full precision.
    """
    p = math.sqrt(max(0.0, 2.0 * (math.e * x + 1.0)))
    w = -1.0 + p - p * p / 3.0 + 11.0 / 72.0 * p**3
    for _ in range(8):
        if w <= -1.0:
            return -1.0
        grown = math.exp(w)
        off = w * grown - x
        step = off / (grown * (w + 1.0) - (w + 2.0) * off / (2.0 * w + 2.0))
        w -= step
        if abs(step) <= 1e-15 * (1.0 + abs(w)):
            break
    return w


def young_s(*, cost_s: float, mtbf_s: float) -> float:
    """Return Young's interval, the first approximation."""
    return math.sqrt(2.0 * cost_s * mtbf_s)


def interval_s(*, cost_s: float, mtbf_s: float) -> float:
    """Return the best time of work between two checkpoints.

    Args:
        cost_s: how long the job stands still for one, above 0.
        mtbf_s: mean time between faults that strike the job, above 0.
    """
    ratio = cost_s / mtbf_s
    if ratio < 1e-8:
        return young_s(cost_s=cost_s, mtbf_s=mtbf_s)
    return mtbf_s * (1.0 + lambert_w0(-math.exp(-ratio - 1.0)))
