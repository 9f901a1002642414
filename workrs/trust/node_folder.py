"""What a node has of its cluster: the folder that `workrs init` wrote for it.

    node.pem               the node's own credential (`workrs.trust.credential`)
    authority-KIND.pem     whose signature makes somebody a member of that kind
    revoked-KIND.pem       that authority's list of revoked certificates
    passwords              hashed passwords of devices without a certificate

1. `load_node` checks all of it, so a file that is damaged, half copied or of another cluster
   is never used: the node goes on with what it had.
2. A list that is older than the one in use is refused, or an old copy would let the revoked in.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from workrs.domain.errors import IdError
from workrs.domain.ids import ClientId, client_id
from workrs.trust.credential import Credential, CredentialError, load_credential
from workrs.trust.kind import Kind
from workrs.trust.password import is_right

NODE_FILE: Final = "node.pem"
PASSWORDS_FILE: Final = "passwords"
AUTHORITY_NAME: Final = "authority-{}.pem"
REVOKED_NAME: Final = "revoked-{}.pem"
NAME_OID: Final = x509.ObjectIdentifier("2.25.233706171389310458610471034785938262349")
"""Of the name of a revoked member, in its entry of the list: brokers know clients by name."""


class Member(NamedTuple):
    """Whom a certificate stands for."""

    kind: Kind
    name: ClientId
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """One authority's list."""

    number: int
    revoked: Mapping[int, str]
    """Names by serial number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTrust:
    """Everything in the folder, checked."""

    folder: Path
    credential: Credential
    lists: Mapping[Kind, RevocationList]
    passwords: Mapping[str, str] = field(repr=False)
    """Hashes by name."""
    files: Mapping[str, str] = field(repr=False)
    """Contents of what the broker needs, by file name."""

    def client_context(self) -> ssl.SSLContext:
        """Return what proves this node to other nodes, for MQTT and HTTPS."""
        return self.credential.client_context()

    def server_context(self) -> ssl.SSLContext:
        """Return what an HTTPS server of this node needs.

        Certificates of all kinds are taken, and none is demanded: a device may have a password
        instead. Ask `member` who it is; None is nobody, whom nothing may be given. Revoked
        certificates are refused at the handshake, by the lists of this moment: the caller makes
        a new context when the folder has changed, or asks `is_revoked` at each request.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.credential.path)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        for kind in Kind:
            context.load_verify_locations(authority_file(self.folder, kind))
            context.load_verify_locations(revoked_file(self.folder, kind))
        # A session that is taken up again would skip the check of the list.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        return context

    def is_revoked(self, member: Member) -> bool:
        """Return whether the member's certificate is on the list of this folder."""
        return member.serial in self.lists[member.kind].revoked

    def is_right_password(self, name: str, password: str) -> bool:
        """Return whether a device without a certificate gave its own password."""
        return is_right(password, self.passwords.get(name, ""))


def authority_file(folder: Path, kind: Kind) -> Path:
    """Return where the certificate of an authority is."""
    return folder / AUTHORITY_NAME.format(kind.value)


def revoked_file(folder: Path, kind: Kind) -> Path:
    """Return where an authority's list of the revoked is."""
    return folder / REVOKED_NAME.format(kind.value)


def member(connection: ssl.SSLObject | ssl.SSLSocket) -> Member | None:
    """Return whom the other end of a TLS connection is, by its verified certificate.

    None: it showed no certificate. Kinds are told apart by the authority that signed, which
    gives its own kind alone; the certificate's unit only repeats it.
    """
    shown = connection.getpeercert()
    if not shown:
        return None
    subject, issuer = _words(shown["subject"]), _words(shown["issuer"])
    try:
        kind = Kind(subject["organizationalUnitName"])
        if issuer["commonName"] != authority_name(kind):
            return None
        name = client_id(subject["commonName"])
    except (KeyError, ValueError, IdError):
        return None
    return Member(kind, name, int(str(shown["serialNumber"]), 16))


def _words(name: object) -> dict[str, str]:
    """Return the parts of a distinguished name as the `ssl` module gives one."""
    parts = cast("tuple[tuple[tuple[str, str], ...], ...]", name)
    return {word: value for part in parts for word, value in part}


def authority_name(kind: Kind) -> str:
    """Return the common name of the authority of a kind."""
    return f"authority of {kind.value}s"


def load_node(folder: Path) -> NodeTrust:
    """Read and check a node's folder.

    Raises:
        CredentialError: a file is absent, damaged, or of another cluster; the text names it.
    """
    credential = load_credential(folder / NODE_FILE)
    if credential.kind is not Kind.NODE:
        raise CredentialError(f"{credential.path} is the credential of a {credential.kind.value}")
    lists = {kind: _load_list(folder, kind) for kind in Kind}
    if _text(authority_file(folder, Kind.NODE)).strip() != credential.authority.strip():
        raise CredentialError(f"{credential.path} is of another cluster than the rest of {folder}")
    credential.client_context()
    return NodeTrust(
        folder=folder,
        credential=credential,
        lists=lists,
        passwords=_read_passwords(folder / PASSWORDS_FILE),
        files={path.name: _text(path) for path in _of_broker(folder)},
    )


def _of_broker(folder: Path) -> list[Path]:
    found = [folder / NODE_FILE, folder / PASSWORDS_FILE]
    return found + [of(folder, kind) for kind in Kind for of in (authority_file, revoked_file)]


def check_newer(old: NodeTrust, new: NodeTrust) -> None:
    """Raise CredentialError if *new* forgets a revocation that *old* knew."""
    for kind in Kind:
        if new.lists[kind].number < old.lists[kind].number:
            raise CredentialError(
                f"{revoked_file(new.folder, kind)} is older than the list in use: copy the newest"
            )


def shut_out(old: NodeTrust, new: NodeTrust) -> frozenset[str]:
    """Return the names whose live connections end with the step from *old* to *new*."""
    names = {
        name
        for kind in Kind
        for serial, name in new.lists[kind].revoked.items()
        if serial not in old.lists[kind].revoked
    }
    names |= {name for name, was in old.passwords.items() if new.passwords.get(name) != was}
    return frozenset(names)


def _load_list(folder: Path, kind: Kind) -> RevocationList:
    path = revoked_file(folder, kind)
    try:
        authority = x509.load_pem_x509_certificate(_text(authority_file(folder, kind)).encode())
        found = x509.load_pem_x509_crl(_text(path).encode())
        key = authority.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        is_valid = found.is_signature_valid(key)
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        revoked = {entry.serial_number: _name(entry) for entry in found}
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CredentialError(f"{path} is damaged: {error}; copy it again") from error
    if not is_valid:
        raise CredentialError(f"{path} was not signed by this cluster's authority")
    return RevocationList(number=number, revoked=revoked)


def _name(entry: x509.RevokedCertificate) -> str:
    value = entry.extensions.get_extension_for_oid(NAME_OID).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return client_id(value.value.decode("ascii", errors="replace"))


def _read_passwords(path: Path) -> dict[str, str]:
    found = {}
    for line in _text(path).splitlines():
        name, mark, hashed = line.partition(":")
        if not mark:
            raise CredentialError(f"{path} is damaged: copy it again")
        found[name] = hashed
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise CredentialError(f"cannot read {path}: {reason}; copy the node's folder") from error
