"""The configuration of a node's own Mosquitto, filled into the templates of `mosquitto/`.

1. Without a credential there is one listener, in plain text and without names. Whoever starts
   the node has made sure that this is wanted (`broker.config`).
2. With one, each kind of member has a TLS listener and permissions of its own, and the daemon
   comes in by a socket file that nobody else can open.

The files that a secure configuration names are copies, written by `write_trust` after they were
checked: what is half copied into the node's folder never reaches the broker.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Final

from broker.mosquitto import write_private
from workrs.adapters.mqtt_packet import PACKET_MAX_BYTES
from workrs.domain.errors import ConfigError
from workrs.ports.bus import PAYLOAD_MAX_BYTES, Address
from workrs.trust.acl import acl
from workrs.trust.kind import PASSWORD_PORT_OFFSET, PORT_OFFSETS, Kind
from workrs.trust.node_folder import AUTHORITY_NAME, PASSWORDS_FILE, REVOKED_NAME
from workrs.trust.password import hash_password
from workrs.trust.probe import PASSWORD_PROBE
from workrs.wire.topics import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from workrs.trust.node_folder import NodeTrust
    from workrs.trust.probe import Probes

MEMORY_MAX_BYTES: Final = 1024**3
"""Heap of the broker, at most."""
RELAYED: Final = (
    "+/beat",
    "+/claim/+",
    "+/outcome/+",
    "+/checkpoint/+",
    "+/release/+",
    "+/progress/+",
    "+/cancel/+",
    "+/order/+",
)
"""What bridges carry of `up/`."""
CONNECTIONS_MAX: Final = 10_000
"""Of clients at one port. A flood of them leaves those that stand, and other kinds' ports."""
SOCKET_PATH_MAX_BYTES: Final = 107
"""What the kernel takes for a socket's path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another node, to whose broker this one builds a bridge."""

    name: str
    address: Address


def bridge_client_id(node: str, *, secure: bool = False) -> str:
    """Return the name under which a node's bridges are known at its peers.

    With certificates it is the certificate's, as everybody's.
    """
    return node if secure else f"bridge-{node}"


def own_socket(folder: Path) -> Address:
    """Return where the daemon of a secure node reaches its broker, whose files are in *folder*.

    Raises:
        ConfigError: the path is too long for a socket.
    """
    path = str((folder / "own.sock").absolute())
    if len(os.fsencode(path)) > SOCKET_PATH_MAX_BYTES:
        raise ConfigError(f"{path} is too long for a socket: choose a shorter --state")
    return Address(host=path, port=0)


def bridge_state_topic(node: str, peer: str) -> str:
    """Return where a node's broker retains ``1`` while its bridge to a peer is up, else ``0``."""
    return f"$SYS/broker/connection/{node}-to-{peer}/state"


def render(
    *,
    node: str,
    listener: Address,
    peers: Sequence[Peer] = (),
    user: str = "",
    trust: Path | None = None,
) -> str:
    """Return the configuration of a node's broker.

    Args:
        node: this node's name.
        listener: where to listen; with *trust*, the first of the ports.
        peers: the other nodes of the cluster, with their first ports.
        user: whom the process runs as if it is started by root; by default who runs this.
        trust: the folder that `write_trust` filled, for a secure node.

    Raises:
        ConfigError: a value could be read as more than one word of the configuration.
    """
    user = user or pwd.getpwuid(os.geteuid()).pw_name
    for word in (node, listener.host, user, *(w for p in peers for w in (p.name, p.address.host))):
        if not word or not word.isprintable() or set(word) & set(" #+/"):
            raise ConfigError(f"{word!r} cannot stand in the broker's configuration")
    return _template("node").substitute(
        node=node,
        listeners=_listeners(listener, trust),
        connection_messages="false" if trust is None else "true",
        user=user,
        memory_max_bytes=MEMORY_MAX_BYTES,
        payload_max_bytes=PAYLOAD_MAX_BYTES,
        packet_max_bytes=PACKET_MAX_BYTES,
    ) + "".join(
        _template("bridge").substitute(
            root=ROOT,
            relayed="\n".join(
                f"topic {pattern} out 1 {ROOT}/up/ {ROOT}/relay/{node}/" for pattern in RELAYED
            ),
            node=node,
            peer=peer.name,
            host=peer.address.host,
            port=peer.address.port + (0 if trust is None else PORT_OFFSETS[Kind.NODE]),
            client_id=bridge_client_id(node, secure=trust is not None),
            state=bridge_state_topic(node, peer.name),
        )
        + ("" if trust is None else _template("bridge_tls").substitute(folder=trust))
        for peer in peers
    )


def _listeners(first: Address, trust: Path | None) -> str:
    if trust is None:
        return _template("open").substitute(
            host=first.host, port=first.port, connections_max=CONNECTIONS_MAX
        )
    text = _template("own").substitute(socket=own_socket(trust).host)
    for kind, offset in PORT_OFFSETS.items():
        text += _template("listener").substitute(
            kind=kind.value,
            host=first.host,
            port=first.port + offset,
            folder=trust,
            connections_max=CONNECTIONS_MAX,
            # Two terminals of one operator are two clients; any other member is one.
            one_client="false" if kind is Kind.OPERATOR else "true",
        )
    port = first.port + PASSWORD_PORT_OFFSET
    return text + _template("password").substitute(
        host=first.host, port=port, folder=trust, connections_max=CONNECTIONS_MAX
    )


def _template(name: str) -> Template:
    return Template((files("mosquitto") / f"{name}.conf").read_text())


def write_trust(folder: Path, trust: NodeTrust, probes: Probes | None = None) -> None:
    """Write what a secure configuration names; the broker reads it when it starts or reloads.

    Args:
        folder: of the broker; made if absent, and closed to others.
        trust: the node's folder, read and checked.
        probes: who is let in besides, until this is called again and the broker reloads.
    """
    files = dict(trust.files)
    if probes is not None:
        for kind in Kind:
            files[AUTHORITY_NAME.format(kind.value)] += probes.authorities[kind]
            files[REVOKED_NAME.format(kind.value)] += probes.lists[kind]
        files[PASSWORDS_FILE] += f"{PASSWORD_PROBE}:{hash_password(probes.password)}\n"
    for name, text in files.items():
        write_private(folder, name, text)
    for kind in Kind:
        write_private(folder, f"acl-{kind.value}", acl(kind))
    folder.chmod(0o700)
