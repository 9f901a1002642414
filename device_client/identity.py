"""Who a device is to its nodes, and which nodes those are: as it was told, or by its credential.

A credential is the file that `workrs enrol device` wrote. It has all of it, and what was told
beside it must not contradict it.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from device_client.route import NodeAddress, parse_address
from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId, client_id

if TYPE_CHECKING:
    import ssl

    from workrs.trust.credential import Credential

_PORT, _PORT_TLS = 1883, 8883


class Identity(NamedTuple):
    """What a session needs to know before it speaks."""

    name: ClientId
    nodes: tuple[NodeAddress, ...]
    username: str
    password: str | None
    tls: "ssl.SSLContext | None"


def identify(
    name: str | None,
    nodes: Sequence[str],
    *,
    credential: "str | os.PathLike[str] | Credential | None",
    username: str | None,
    password: str | None,
    tls: "ssl.SSLContext | None",
) -> Identity:
    """Return what was told, completed by the credential if there is one.

    Raises:
        ConfigError: Something is missing, told twice or contradicts the credential;
            CredentialError if the file cannot be used.
        IdError: The name is not allowed.
    """
    if isinstance(nodes, str):
        raise ConfigError(f"nodes is the string {nodes!r}: give a list of host:port")
    if credential is None:
        if name is None:
            raise ConfigError("the device has no name: give it one, or a credential")
        port = _PORT if tls is None else _PORT_TLS
        addresses = tuple(parse_address(node, port_default=port) for node in nodes)
        return Identity(client_id(name), addresses, username or name, password, tls)
    if not (username is None and password is None and tls is None):
        raise ConfigError("a credential has user name, password and TLS in it: give it alone")
    shown = _read(credential)
    if name not in (None, shown.name):
        raise ConfigError(f"the credential {shown.path} is of {shown.name}, not of {name}")
    addresses = tuple(parse_address(node, port_default=_PORT_TLS) for node in nodes) or tuple(
        NodeAddress(node.host, node.port) for node in shown.nodes
    )
    return Identity(shown.name, addresses, shown.name, shown.password, shown.client_context())


def require_here(identity: Identity, *, insecure: bool) -> None:
    """Raise ConfigError if a node on another machine would be talked to in the open by mistake."""
    for node in () if insecure or identity.tls is not None else identity.nodes:
        # By hand: importing `ipaddress` costs 5 ms, and of IPv6 there is one loopback address.
        is_loopback = node.host.startswith("127.") and node.host.replace(".", "").isdigit()
        if not is_loopback and node.host not in ("localhost", "::1"):
            raise ConfigError(
                f"{node} is on another machine, and without TLS everybody on the way could read "
                "and change what is said: give the credential that `workrs enrol device` makes, "
                "or insecure=True if that is wanted"
            )


def _read(credential: "str | os.PathLike[str] | Credential") -> "Credential":
    if not isinstance(credential, str | os.PathLike):
        return credential
    from pathlib import Path  # noqa: PLC0415 (2 ms that devices without a credential never need)

    from workrs.trust.credential import load_credential  # noqa: PLC0415 (as above)

    return load_credential(Path(credential))
