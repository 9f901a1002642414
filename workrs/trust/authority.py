"""A certificate authority for one kind of member: makes itself, issues, and revokes.

1. Keys are EC P-256: every TLS library of a small device knows them, and a handshake costs
   a Cortex-M4 a second where RSA-2048 costs ten.
2. A certificate carries the name as its common name and the kind as its organisational unit.
   It begins a day before it was made: a device's clock may be behind.
3. Only nodes' certificates serve as a server's, and only for the hosts they were issued for.
4. A list of the revoked ends with the authority, not earlier: a list that ran out would shut
   everybody out, and what makes a new one count is its number.

Pure but for the random numbers of keys: the time is an argument.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId
from workrs.trust.kind import Kind, authority_name
from workrs.trust.revocation import NAME_OID

AUTHORITY_DAYS: Final = 3650
DAYS: Final = {Kind.NODE: 730, Kind.AGENT: 730, Kind.OPERATOR: 365, Kind.DEVICE: 3650}
"""How long a certificate lasts unless told otherwise. A device is out in the field: what ends it
early is its revocation. None outlives its authority."""
_BACKDATED: Final = timedelta(days=1)
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate and its key, both PEM, and what a register keeps of it."""

    key: str
    certificate: str
    serial: int
    ends: datetime


class Revocation(NamedTuple):
    """One line of a list of the revoked."""

    serial: int
    name: str
    at: datetime


class Authority:
    """One kind's authority. Made by `new_authority` or `load_authority`."""

    def __init__(
        self, kind: Kind, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        """Take the key and the certificate that belongs to it."""
        self.kind = kind
        self._key = key
        self._certificate = certificate

    @property
    def ends(self) -> datetime:
        """When its own certificate ends, and with it all others."""
        return self._certificate.not_valid_after_utc

    @property
    def certificate(self) -> str:
        """Its certificate, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key(self) -> str:
        """Its private key, PEM: whoever has it can make members of this kind."""
        return _pem(self._key)

    def issue(
        self, name: ClientId, *, cluster: str, now: datetime, days: int, hosts: Sequence[str] = ()
    ) -> Issued:
        """Return a new certificate of this kind.

        Args:
            name: the member's.
            cluster: for humans who look at the certificate.
            now: when it is made.
            days: how long it lasts, at most as long as the authority.
            hosts: addresses and DNS names of a node.

        Raises:
            ConfigError: a host is neither.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        ends = min(now + timedelta(days=days), self.ends)
        is_node = self.kind is Kind.NODE
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        purposes += [ExtendedKeyUsageOID.SERVER_AUTH] if is_node else []
        builder = (
            _builder(_subject(name, self.kind, cluster), key, now, ends)
            .issuer_name(self._certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(
            key=_pem(key),
            certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            serial=certificate.serial_number,
            ends=certificate.not_valid_after_utc,
        )

    def revocation_list(self, revoked: Sequence[Revocation], *, number: int, now: datetime) -> str:
        """Return the list of the revoked, PEM.

        Args:
            revoked: those of this authority.
            number: higher than of the list before.
            now: when it is made.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now)
            .next_update(self.ends)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        for each in revoked:
            name = x509.UnrecognizedExtension(NAME_OID, each.name.encode())
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial)
            entry = entry.revocation_date(each.at).add_extension(name, critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()


def new_authority(kind: Kind, *, cluster: str, now: datetime) -> Authority:
    """Return a new authority with a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, authority_name(kind)),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
        ]
    )
    certificate = (
        _builder(subject, key, now, now + timedelta(days=AUTHORITY_DAYS))
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(kind, key, certificate)


def load_authority(kind: Kind, *, key: str, certificate: str) -> Authority:
    """Return the authority that two PEM files hold.

    Raises:
        ConfigError: they are damaged or do not belong together.
    """
    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
        public = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError as error:
        raise ConfigError(f"the authority of {kind.value}s is damaged: {error}") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or (
        private.public_key() != public.public_key()
    ):
        raise ConfigError(f"key and certificate of the authority of {kind.value}s do not match")
    return Authority(kind, private, public)


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: ClientId, kind: Kind, cluster: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, kind.value),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
        ]
    )


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise ConfigError(f"{host!r} is neither an address nor a DNS name") from error


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
