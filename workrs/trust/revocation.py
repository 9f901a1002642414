"""Lists of the revoked: one of each authority, signed by it, with a number that only grows.

1. What counts is the signature and the number. So it does not matter who brought a list: a copy
   by hand, a peer, an operator. None of them can make one, and an older one changes nothing.
2. A list is kept as it was read back, and nothing that stood around it: a broker would read that.
3. A password is revoked like a certificate. Its serial number is made of its hash.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from workrs.domain.errors import IdError
from workrs.domain.ids import client_id
from workrs.trust.credential import CredentialError
from workrs.trust.kind import Kind, authority_name

NAME_OID: Final = x509.ObjectIdentifier("2.25.233706171389310458610471034785938262349")
"""Of the name of a revoked member, in its entry of the list: brokers know clients by name."""
_SERIAL_BYTES: Final = 19
"""Of a serial number made of a hash: certificates have 20 at most, and no negative ones."""
_DAMAGES: Final = (
    ValueError,
    TypeError,
    KeyError,
    IdError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
)
"""What reading a list that somebody made up can end with: not all of these are ValueErrors."""


class ListRefusedError(CredentialError):
    """A list of the revoked is not taken; the text says why."""


class ListOlderError(ListRefusedError):
    """There is a newer one in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """One authority's list."""

    kind: Kind
    number: int
    revoked: Mapping[int, str]
    """Names by serial number."""
    text: str
    """PEM."""


def read_list(text: str, authorities: Mapping[Kind, str], *, where: str) -> RevocationList:
    """Return the list that a text holds, checked.

    Args:
        text: PEM.
        authorities: certificates of the cluster's authorities, PEM.
        where: it is from, for the error's text.

    Raises:
        ListRefusedError: it is damaged, or none of *authorities* signed it.
    """
    try:
        found = x509.load_pem_x509_crl(text.encode())
        kind = _kind(found)
        authority = x509.load_pem_x509_certificate(authorities[kind].encode())
        key = authority.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        if found.issuer != authority.subject or not found.is_signature_valid(key):
            raise ListRefusedError(f"{where} was not signed by this cluster's authority")
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        revoked = {entry.serial_number: _name(entry) for entry in found}
    except _DAMAGES as error:
        raise ListRefusedError(f"{where} is damaged: {error}; copy it again") from error
    pem = found.public_bytes(serialization.Encoding.PEM).decode()
    return RevocationList(kind=kind, number=number, revoked=revoked, text=pem)


def newer(known: RevocationList, offered: RevocationList) -> bool:
    """Return whether *offered* is to take the place of *known*; both are of one authority.

    Raises:
        ListOlderError: it is older.
        ListRefusedError: it is another one under the same number.
    """
    if offered.number < known.number:
        raise ListOlderError(
            f"the list of revoked {known.kind.value}s number {offered.number} is older than the "
            f"one in use, number {known.number}"
        )
    if offered.number == known.number and offered.revoked != known.revoked:
        raise ListRefusedError(
            f"there are two lists of revoked {known.kind.value}s number {known.number}: two "
            "copies of the cluster's directory are in use"
        )
    return offered.number > known.number


def password_serial(hashed: str) -> int:
    """Return the number under which a password is on the list of revoked devices.

    Args:
        hashed: the password's hash, as the nodes' file has it.
    """
    return int.from_bytes(hashlib.sha256(hashed.encode()).digest()[:_SERIAL_BYTES], "big")


def _kind(found: x509.CertificateRevocationList) -> Kind:
    """Return whose authority a list says it is of, or raise ValueError."""
    names = [str(part.value) for part in found.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]
    for kind in Kind:
        if names == [authority_name(kind)]:
            return kind
    raise ValueError("it is of no authority of members")


def _name(entry: x509.RevokedCertificate) -> str:
    value = entry.extensions.get_extension_for_oid(NAME_OID).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return client_id(value.value.decode("ascii", errors="replace"))
