"""How the connections of a node to its own broker are kept up."""

from typing import Final

RETRY_S: Final = 1.0
RETRY_FIRST_S: Final = 0.02
"""A broker that is back takes what devices send, and nobody hears it before this node is there."""
SETTLED_S: Final = 10.0
"""A connection that held this long was good: the next try comes soon, and its loss is logged."""

KEEPALIVE_S: Final = 5
CONNECT_S: Final = 2.0
"""For the own broker to answer. One that stands still is asked again, as agents do."""


def pause_s(refused: int) -> float:
    """Return how long to wait after so many failures: 0.05 s after a second, 1 s after 50 s."""
    return min(RETRY_FIRST_S * 1.02 ** min(refused, 200), RETRY_S)
