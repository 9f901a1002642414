"""Who asks a node's blob store: by its certificate, or by a device's name and password.

1. The certificate is one that TLS has verified, of the authority of the kind it names; one that
   was revoked since its connection stood is nobody's.
2. A password is hashed in a thread, one at a time: a flood of wrong ones holds up no vote. One
   that was right is remembered, by its hash, until the passwords change.
"""

import asyncio
import binascii
import hashlib
import ssl
from base64 import b64decode
from typing import Final

from broker.blob_access import Caller
from workrs.domain.ids import ClientId
from workrs.trust.kind import Kind
from workrs.trust.node_folder import NodeTrust, member

_BASIC: Final = "basic "
_HEADER_MAX: Final = 512
_RIGHT_MAX: Final = 10_000
"""Passwords remembered as right. Beyond, all are forgotten and hashed once more."""


class Identity:
    """Satisfies `broker.blob_guard.Identify`."""

    def __init__(self, trust: NodeTrust) -> None:
        """Believe what *trust* says, until `take`."""
        self._trust = trust
        self._right: set[bytes] = set()
        self._turn = asyncio.Lock()

    @property
    def trust(self) -> NodeTrust:
        """What is believed now."""
        return self._trust

    def take(self, trust: NodeTrust) -> None:
        """Believe *trust* from now on, for open connections as well."""
        self._trust = trust
        self._right.clear()

    async def __call__(self, connection: ssl.SSLObject | None, authorization: str) -> Caller | None:
        """Return who asks, or None."""
        found = member(connection) if connection is not None else None
        if found is not None:
            revoked = self._trust.is_revoked(found)
            return None if revoked else Caller(name=found.name, kind=found.kind)
        return await self._by_password(authorization)

    async def _by_password(self, authorization: str) -> Caller | None:
        pair = _name_and_password(authorization)
        if pair is None or pair[0] not in self._trust.passwords:
            return None
        caller = Caller(name=ClientId(pair[0]), kind=Kind.DEVICE)
        mark = hashlib.sha256(authorization.encode()).digest()
        if mark in self._right:
            return caller
        async with self._turn:
            trust = self._trust
            is_right = await asyncio.to_thread(trust.is_right_password, *pair)
        if not is_right or trust is not self._trust:
            return None
        if len(self._right) >= _RIGHT_MAX:
            self._right.clear()
        self._right.add(mark)
        return caller


def _name_and_password(authorization: str) -> tuple[str, str] | None:
    if authorization[: len(_BASIC)].lower() != _BASIC or len(authorization) > _HEADER_MAX:
        return None
    try:
        text = b64decode(authorization[len(_BASIC) :], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None
