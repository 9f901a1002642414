"""The one special function of the checkpoint model: Lambert's W near its branch point.

Every optimum of the model has the form 1 + W0((d - 1) / e) with a small d >= 0. Computed as
it is written, W0 is near -1 there and the sum loses half of its digits; so the sum itself is
what is solved for. It is the u >= 0 with (u - 1) e^u = d - 1.
"""

import math

_SERIES_TO = 1e-6
"""Below this d the series is good to 13 digits; above it cancellation leaves 10 and more."""
_ROUNDS_MAX = 20


def one_plus_w0(d: float) -> float:
    """Return 1 + W0((d - 1) / e) to 10 digits or more.

    Args:
        d: distance from the branch point, 0 or more.
    """
    p = math.sqrt(2.0 * d)
    if d < _SERIES_TO:
        return p * (1.0 - p / 3.0 + 11.0 / 72.0 * p * p - 43.0 / 540.0 * p**3)
    u = p * (1.0 - p / 3.0 + 11.0 / 72.0 * p * p) if d < 0.3 else math.log1p(d)
    for _ in range(_ROUNDS_MAX):
        # Halley on f = (u - 1) + (1 - d) e^-u, whose derivatives are bounded however large d is.
        shrunk = (1.0 - d) * math.exp(-u)
        f, slope = u - 1.0 + shrunk, 1.0 - shrunk
        step = 2.0 * f * slope / (2.0 * slope * slope - f * shrunk)
        u -= step
        if abs(step) <= 1e-14 * u:
            break
    return u
