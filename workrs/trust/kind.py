"""The kinds of members a cluster has. A kind is an authority, a listener and a set of topics.

1. Each kind has a certificate authority of its own, and each listener of a node's broker
   trusts one of them. So what a member may do follows from the port it was let in at, the
   broker's permissions are the same few lines for any number of members, and enrolling one
   changes nothing at any node.
2. A name is unique among all kinds of a cluster (`cluster_directory`): brokers know clients by
   their names alone.
"""

from enum import StrEnum
from typing import Final

from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId, client_id


class Kind(StrEnum):
    """What a member is. The value stands in its certificate, as the organisational unit."""

    NODE = "node"
    AGENT = "agent"
    DEVICE = "device"
    OPERATOR = "operator"


LISTEN_PORT: Final = 8883
"""MQTT over TLS, as registered: where devices find a node unless told otherwise."""
PASSWORD_PORT_OFFSET: Final = 1
"""From the port of devices with certificates to that of devices with passwords."""
PORT_OFFSETS: Final = {Kind.DEVICE: 0, Kind.AGENT: 2, Kind.OPERATOR: 3, Kind.NODE: 4}
"""From a node's first port to the one that each kind is let in at."""
PORTS: Final = 5
"""How many ports a node's broker takes, from the first on."""
PROBE: Final = "probe"
"""First part of the names that self-tests connect under; nobody else gets one like it."""


def authority_name(kind: Kind) -> str:
    """Return the common name of the authority of a kind."""
    return f"authority of {kind.value}s"


def member_name(text: str) -> ClientId:
    """Return a name that a member may have, or raise.

    Raises:
        IdError: it breaks the alphabet of names.
        ConfigError: it is kept for the nodes' own use.
    """
    name = client_id(text)
    if name.partition(".")[0] == PROBE:
        raise ConfigError(f"{PROBE!r} and names '{PROBE}.…' are kept for the nodes' self-test")
    return name
