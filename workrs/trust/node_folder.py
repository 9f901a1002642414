"""What a node has of its cluster: the folder that `workrs init` wrote for it.

    node.pem               the node's own credential (`workrs.trust.credential`)
    authority-KIND.pem     whose signature makes somebody a member of that kind
    revoked-KIND.pem       that authority's list of revoked certificates
    passwords              hashed passwords of devices without a certificate

1. `load_node` checks all of it, so a file that is damaged, half copied or of another cluster
   is never used: the node goes on with what it had.
2. A list counts by its number, wherever it came from: an older one in the folder changes nothing,
   or an old copy would let the revoked in.
"""

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple, cast

from workrs.domain.errors import IdError
from workrs.domain.ids import ClientId, client_id
from workrs.trust.credential import Credential, CredentialError, load_credential
from workrs.trust.kind import Kind, authority_name
from workrs.trust.password import is_right
from workrs.trust.revocation import RevocationList, password_serial, read_list

NODE_FILE: Final = "node.pem"
PASSWORDS_FILE: Final = "passwords"
AUTHORITY_NAME: Final = "authority-{}.pem"
REVOKED_NAME: Final = "revoked-{}.pem"


class Member(NamedTuple):
    """Whom a certificate stands for."""

    kind: Kind
    name: ClientId
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTrust:
    """Everything in the folder, checked."""

    folder: Path
    credential: Credential
    node_text: str = field(repr=False)
    """Of the node's credential."""
    authorities: Mapping[Kind, str]
    """Certificates, PEM."""
    lists: Mapping[Kind, RevocationList]
    filed_passwords: Mapping[str, str] = field(repr=False)
    """Hashes by name as the folder has them, those that a list names included."""
    passwords: Mapping[str, str] = field(repr=False)
    """Of these, those in force."""

    @property
    def files(self) -> dict[str, str]:
        """Return the contents of what the broker needs, by file name."""
        found = {NODE_FILE: self.node_text}
        for kind in Kind:
            found[AUTHORITY_NAME.format(kind.value)] = self.authorities[kind]
            found[REVOKED_NAME.format(kind.value)] = self.lists[kind].text
        lines = (f"{name}:{hashed}\n" for name, hashed in self.passwords.items())
        return {**found, PASSWORDS_FILE: "".join(lines)}

    def with_lists(self, lists: Iterable[RevocationList]) -> "NodeTrust":
        """Return this with those of *lists* that have higher numbers; they were checked."""
        newest = dict(self.lists)
        for each in lists:
            if each.number > newest[each.kind].number:
                newest[each.kind] = each
        return replace(
            self, lists=newest, passwords=_in_force(self.filed_passwords, newest[Kind.DEVICE])
        )

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


def load_node(folder: Path) -> NodeTrust:
    """Read and check a node's folder.

    Raises:
        CredentialError: a file is absent, damaged, or of another cluster; the text names it.
    """
    credential = load_credential(folder / NODE_FILE)
    if credential.kind is not Kind.NODE:
        raise CredentialError(f"{credential.path} is the credential of a {credential.kind.value}")
    authorities = {kind: _text(authority_file(folder, kind)) for kind in Kind}
    lists = {kind: _load_list(revoked_file(folder, kind), kind, authorities) for kind in Kind}
    if authorities[Kind.NODE].strip() != credential.authority.strip():
        raise CredentialError(f"{credential.path} is of another cluster than the rest of {folder}")
    credential.client_context()
    filed = _read_passwords(folder / PASSWORDS_FILE)
    return NodeTrust(
        folder=folder,
        credential=credential,
        node_text=_text(folder / NODE_FILE),
        authorities=authorities,
        lists=lists,
        filed_passwords=filed,
        passwords=_in_force(filed, lists[Kind.DEVICE]),
    )


def shut_out(old: NodeTrust, new: NodeTrust) -> frozenset[str]:
    """Return the names whose live connections end with the step from *old* to *new*."""
    names = {name for name, was in old.passwords.items() if new.passwords.get(name) != was}
    return frozenset(names).union(*(revoked_since(old, new, kind) for kind in Kind))


def revoked_since(old: NodeTrust, new: NodeTrust, kind: Kind) -> frozenset[str]:
    """Return the members of one kind that are on the list of *new*, and not of *old*."""
    before = old.lists[kind].revoked
    return frozenset(
        name for serial, name in new.lists[kind].revoked.items() if serial not in before
    )


def _load_list(path: Path, kind: Kind, authorities: Mapping[Kind, str]) -> RevocationList:
    found = read_list(_text(path), authorities, where=str(path))
    if found.kind is not kind:
        raise CredentialError(f"{path} is the list of {found.kind.value}s; copy it again")
    return found


def _in_force(filed: Mapping[str, str], revoked: RevocationList) -> dict[str, str]:
    """Return the passwords that the list of devices does not name."""
    return {
        name: hashed
        for name, hashed in filed.items()
        if password_serial(hashed) not in revoked.revoked
    }


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
