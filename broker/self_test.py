"""Before a secure node serves anybody, it tries what its broker must refuse.

1. At every port: to connect without a certificate, and to publish wherever a member of that kind
   must not (`workrs.trust.acl.forbidden`).
2. One that is let through ends the node. A broker that ignores a line of its configuration,
   because of another version or of an edited template, is so found before the first device.

The members it connects as are made for the test and end with it (`workrs.trust.probe`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING, Final

from workrs.adapters import log
from workrs.adapters import mqtt as adapter
from workrs.domain.errors import BusError, ConfigError
from workrs.ports.bus import Address, BusDeniedError, Message
from workrs.trust.acl import forbidden
from workrs.trust.kind import PASSWORD_PORT_OFFSET, PORT_OFFSETS, PROBE, Kind
from workrs.trust.probe import PASSWORD_PROBE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from workrs.ports.bus import Bus, Connect
    from workrs.trust.node_folder import NodeTrust
    from workrs.trust.probe import Probes

_TIMEOUT_S: Final = 5.0
_LOG: Final = log.get("node")


class OpenBrokerError(ConfigError):
    """The broker lets through what it must refuse."""


async def try_permissions(
    first: Address, trust: NodeTrust, connect: Connect, probes: Probes
) -> None:
    """Return if the broker that has just started refuses all that it must.

    Args:
        first: the first of its ports.
        trust: the node's folder.
        connect: how to get a connection.
        probes: whom `broker.mosquitto_config.write_trust` has had let in.

    Raises:
        OpenBrokerError: it does not; the text says what it let through.
        ConfigError: a probe was refused.
        BusError: the broker was not there in time, or the clock is not right yet: try again.
    """
    logging.getLogger(adapter.__name__).addFilter(hide_refusals)
    nameless = _unchecked(trust)
    for offset in (PASSWORD_PORT_OFFSET, *PORT_OFFSETS.values()):
        at = Address(host=first.host, port=first.port + offset)
        await _try_nameless(at, nameless, connect)
    refused = 0
    for kind in Kind:
        at = Address(host=first.host, port=first.port + PORT_OFFSETS[kind])
        name, context = probes.name(kind), probes.context(kind, trust.credential.authority)
        entry = partial(connect, address=at, client_id=name, tls=context)
        refused += await _try_kind(kind, name, entry)
    at = Address(host=first.host, port=first.port + PASSWORD_PORT_OFFSET)
    entry = partial(connect, address=at, client_id=PASSWORD_PROBE, tls=nameless)
    entry = partial(entry, username=PASSWORD_PROBE, password=probes.password)
    refused += await _try_kind(Kind.DEVICE, PASSWORD_PROBE, entry)
    _LOG.event("permissions_tried", node=trust.credential.name, refused=refused)


def _unchecked(trust: NodeTrust) -> ssl.SSLContext:
    """Return TLS without a certificate of its own.

    It is this node's own broker, whatever address that was told to listen at.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trust.credential.authority)
    context.check_hostname = False
    return context


async def _try_nameless(at: Address, nameless: ssl.SSLContext, connect: Connect) -> None:
    """Try to connect with neither certificate nor password, with and without TLS."""
    for tls in (nameless, None):
        try:
            async with connect(address=at, client_id=PROBE, tls=tls, timeout_s=_TIMEOUT_S):
                pass
        except BusError:
            continue
        raise OpenBrokerError(f"the broker at {at} lets in who shows no certificate")


async def _try_kind(
    kind: Kind, name: str, entry: Callable[[], AbstractAsyncContextManager[Bus]]
) -> int:
    """Try all that a member of one kind must not publish; return how much that was."""
    topics = forbidden(kind, name)
    try:
        async with asyncio.timeout(_TIMEOUT_S), entry() as bus:
            for topic in topics:
                bus.publish(Message(topic, b""))
                try:
                    await bus.flush()
                except BusDeniedError:
                    continue
                raise OpenBrokerError(f"the broker lets a {kind.value} publish to {topic}")
    except TimeoutError:
        raise BusError(f"the broker does not answer its self-test as a {kind.value}") from None
    except BusError as error:
        # Another code than for what has to be changed by hand: a machine that is busy or has no
        # clock of its own when it starts is started again until the test can be made.
        why = f"the self-test as a {kind.value} cannot be made: {error}"
        raise (ConfigError if isinstance(error, BusDeniedError) else BusError)(why) from error
    return len(topics)


def hide_refusals(record: logging.LogRecord) -> bool:
    """Return whether a line of the log is to be kept: refusals of probes are as they should be."""
    return f"bus_publish_refused client_id={PROBE}." not in record.getMessage()
