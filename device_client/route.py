"""Which node to talk to, and when: the next of the list, with a pause after each round.

1. A lost or silent node costs one step of the list; the pause grows only when a whole
   round failed, so one dead node never makes a device wait.
2. The pause is half fixed, half random: devices that lost a node together come back apart.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from workrs.domain.errors import ConfigError

_KEEPALIVE_MAX_S = 65_535
"""MQTT has two bytes for it."""
_DIGITS_MAX = 5
"""Of a port."""


class Timing(NamedTuple):
    """How long a device waits for what."""

    connect_timeout_s: float = 2.0
    """From the first packet to the confirmed subscription; looking up a name comes on top."""
    answer_timeout_s: float = 3.0
    """A node that says nothing to a submit for this long is left."""
    keepalive_s: int = 2
    """After so much silence the node is asked for a sign of life. It is what an idle device
    costs: 3 packets and 118 bytes (TCP and IP) each time, measured 212 kB an hour. With 60 it
    is 7 kB, and a silent node is found after a minute."""
    pong_timeout_s: float = 1.5
    """A node that gives no sign of life for so long after it was asked is left."""
    reask_period_s: float = 10.0
    """A job that somebody waits for and that was silent for this long is asked about."""
    snapshot_grace_s: float = 0.3
    """After a connect the retained states come by themselves; only then is asked."""
    out_grace_s: float = 2.0
    """A plain job that succeeded without output is believed after this."""
    backoff_min_s: float = 0.2
    backoff_max_s: float = 2.0
    """A cluster that was restarted as a whole must answer within 5 s: with 10 s here most of
    that time was the device's own pause."""

    def check(self) -> None:
        """Refuse times that would spin or never end, with a ConfigError."""
        for name, value in self._asdict().items():
            if not value > 0:
                raise ConfigError(f"{name} is {value}: write seconds above 0")
        if self.keepalive_s != int(self.keepalive_s) or self.keepalive_s > _KEEPALIVE_MAX_S:
            raise ConfigError(
                f"keepalive_s is {self.keepalive_s}: write whole seconds up to {_KEEPALIVE_MAX_S}"
            )
        if self.backoff_min_s > self.backoff_max_s:
            raise ConfigError(
                f"backoff_min_s {self.backoff_min_s} is above backoff_max_s {self.backoff_max_s}"
            )


class NodeAddress(NamedTuple):
    """Where a node's broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return host:port as one writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, *, port_default: int) -> NodeAddress:
    """Read `host`, `host:port` or `[v6]:port`, or raise ConfigError."""
    host, port_text = text.strip(), ""
    if host.startswith("["):
        host, mark, rest = host[1:].partition("]")
        if not mark or (rest and not rest.startswith(":")):
            raise ConfigError(f"node {text!r}: write [address]:port")
        port_text = rest[1:]
    elif host.count(":") == 1:
        host, _, port_text = host.partition(":")
    if not host or (port_text and not port_text.isascii()) or not (port_text or "0").isdigit():
        raise ConfigError(f"node {text!r}: write host:port")
    # Looked at first: int() raises ValueError for thousands of digits.
    is_short = len(port_text) <= _DIGITS_MAX
    port = int(port_text or port_default) if is_short else 0
    if not 0 < port < 65536:
        raise ConfigError(f"node {text!r}: a port is 1 to 65535")
    return NodeAddress(host, port)


class Route:
    """The position in the list of nodes, and the earliest time of the next attempt."""

    def __init__(self, nodes: Sequence[NodeAddress], *, timing: Timing, rng: Random) -> None:
        if not nodes:
            raise ConfigError("nodes is empty: give at least one host:port")
        self._nodes = tuple(nodes)
        self._timing = timing
        self._rng = rng
        self._position = 0
        self._failures = 0
        """Since a node last answered. Divided by the list's length: whole rounds."""
        self.not_before = 0.0
        """The next attempt may be made at this time of the caller's clock."""

    @property
    def length(self) -> int:
        """How many nodes the list has."""
        return len(self._nodes)

    @property
    def current(self) -> NodeAddress:
        """The node to talk to now."""
        return self._nodes[self._position]

    def answered(self) -> None:
        """Note that the current node does its work."""
        self._failures = 0

    def failed(self, now: float) -> None:
        """Go on to the next node; pause when this ends a round."""
        self._position = (self._position + 1) % len(self._nodes)
        self._failures += 1
        rounds, within = divmod(self._failures, len(self._nodes))
        if within:
            self.not_before = now
            return
        # Past 2**16 the maximum has long been reached; the exponent must not grow for days.
        pause_s = self._timing.backoff_min_s * 2.0 ** min(rounds - 1, 16)
        pause_s = min(pause_s, self._timing.backoff_max_s)
        self.not_before = now + pause_s * self._rng.uniform(0.5, 1.0)
