"""The one file that proves who a member is, and where it finds the cluster.

    credential = load_credential(Path("a1.pem"))
    connect(address=…, client_id=credential.name, tls=credential.client_context())

The file is PEM: a few `word: value` lines, then the private key, the member's certificate and
the certificate of the authority of nodes. Every TLS library skips the lines and picks what it
wants, so `mosquitto_pub --cafile FILE --cert FILE --key FILE` takes it, too. A device that
cannot do certificates has a password there instead of key and certificate.

1. Only a node's certificate proves a server: an agent's or a device's does not.
2. TLS 1.2 is the least, and the server's name or address is always checked.
3. A file that others than its owner can read is refused, as ssh refuses such a key.
4. A renewed file is shown from the next handshake on, without a restart. One that is damaged or
   somebody else's is not, and the former certificate stays in use.

Nothing but the standard library is needed here: devices use it. A node has more, and finds it
in `workrs.trust.node_folder`: its `server_context` is for its HTTPS server.
"""

import logging
import re
import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from workrs.domain.errors import ConfigError, IdError
from workrs.domain.ids import ClientId, client_id
from workrs.trust.kind import Kind

FORMAT = "1"
_LOG = logging.getLogger(__name__)
_HEADER_LINES_MAX = 40
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


class CredentialError(ConfigError):
    """A credential cannot be used; the text says why and what to type."""


class Endpoint(NamedTuple):
    """Where a node lets this member in."""

    node: str
    host: str
    port: int

    @property
    def host_in_url(self) -> str:
        """The host as URLs and scp have it: brackets around IPv6."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        """Return `NAME=HOST:PORT`, as the file has it."""
        return f"{self.node}={self.host_in_url}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a credential file says."""

    path: Path
    cluster: str
    """Name of the cluster, for humans."""
    kind: Kind
    name: ClientId
    """Common name of the certificate, MQTT user name and client id at once."""
    nodes: tuple[Endpoint, ...]
    """For a node: first ports of its peers, itself left out."""
    valid_until_wall: str
    """Last day, for humans; the certificate's own date counts. Empty: a password never ends."""
    authority: str
    """PEM certificate of the authority of nodes."""
    password: str | None = field(repr=False)
    """Of a device without a certificate, else None."""

    def client_context(self) -> ssl.SSLContext:
        """Return what proves this member to a node, and a node to it. For MQTT and HTTPS.

        It shows what is in the file at the moment of each handshake.

        Raises:
            CredentialError: key and certificate are damaged or do not belong together.
        """
        context = _RenewedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.of = self
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(cadata=self.authority)
            if self.password is None:
                context.stamp = _stamp(self.path)
                context.load_cert_chain(self.path)
        except (ssl.SSLError, ValueError) as error:
            raise CredentialError(f"{self.path} is damaged: {error}; enrol it anew") from error
        return context


class _RenewedContext(ssl.SSLContext):
    """Looks at the credential's file before each handshake, which costs 5 us."""

    of: Credential
    stamp: tuple[int, ...] = ()
    """Of the file when it was last looked at; empty: there is nothing to look at."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin a handshake of an event loop."""
        self._look()
        return super().wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Begin a handshake on a socket."""
        self._look()
        return super().wrap_socket(*args, **kwargs)

    def _look(self) -> None:
        if not self.stamp or (now := _stamp(self.of.path)) in ((), self.stamp):
            return
        self.stamp = now
        try:
            _require_same(self.of, load_credential(self.of.path))
            # A context of its own first: half a file must not take the place of a whole one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.of.path)
            self.load_cert_chain(self.of.path)
        except (OSError, ssl.SSLError, CredentialError) as error:
            _LOG.warning("credential_not_renewed why=%r", str(error))


def _require_same(old: Credential, new: Credential) -> None:
    if (new.name, new.kind, new.authority) != (old.name, old.kind, old.authority):
        raise CredentialError(
            f"{old.path} was that of {old.kind.value} {old.name}, and is now that of "
            f"{new.kind.value} {new.name} of {new.cluster}: start anew to be that"
        )


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when the file does; empty: it is not there."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def render(credential: Credential, *, key: str, certificate: str) -> str:
    """Return the file's text; *key* and *certificate* are PEM, empty for a password."""
    fields = {
        "workrs-credential": FORMAT,
        "cluster": credential.cluster,
        "kind": credential.kind.value,
        "name": credential.name,
        "nodes": " ".join(map(str, credential.nodes)),
        "valid-until": credential.valid_until_wall,
        "password": credential.password or "",
    }
    lines = [
        f"# Whoever has this file is {credential.kind.value} {credential.name}: keep it secret."
    ]
    lines += [f"{word}: {value}" for word, value in fields.items() if value]
    return "\n".join(lines) + "\n" + key + certificate + credential.authority


def with_nodes(text: str, nodes: Iterable[Endpoint]) -> str:
    """Return the text of a credential with another list of nodes; all else stays."""
    line = f"nodes: {' '.join(map(str, nodes))}"
    return re.sub(r"^nodes: .*$", line, text, count=1, flags=re.MULTILINE)


def load_credential(path: Path) -> Credential:
    """Read a file that `workrs init` or `workrs enrol` wrote.

    Raises:
        CredentialError: it is absent, readable by others, or no credential.
    """
    try:
        if path.is_dir():
            path = path / "node.pem"
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise CredentialError(f"cannot read the credential {path}: {reason}") from error
    if mode & 0o077:
        raise CredentialError(
            f"others than its owner can read {path} (mode {mode:o}): type chmod 600 {path}"
        )
    return parse(text, path)


def parse(text: str, path: Path) -> Credential:
    """Return what the text of the file at *path* says.

    Raises:
        CredentialError: it is no credential, or of a newer format.
    """
    header = text.partition("-----BEGIN")[0].splitlines()[:_HEADER_LINES_MAX]
    pairs = (line.partition(": ") for line in header if not line.startswith("#"))
    found = {word: value.strip() for word, _, value in pairs}
    if found.get("workrs-credential") != FORMAT:
        raise CredentialError(
            f"{path} is no credential that `workrs init` or `workrs enrol` wrote for this version"
        )
    certificates = _CERTIFICATE.findall(text)
    password = found.get("password")
    if len(certificates) != (2 if password is None else 1):
        raise CredentialError(f"{path} is cut short: enrol it anew")
    try:
        return Credential(
            path=path,
            cluster=found["cluster"],
            kind=Kind(found["kind"]),
            name=client_id(found["name"]),
            nodes=tuple(_endpoint(word) for word in found.get("nodes", "").split()),
            valid_until_wall=found.get("valid-until", ""),
            authority=certificates[-1],
            password=password,
        )
    except (KeyError, ValueError, IdError) as error:
        raise CredentialError(f"{path} is damaged: {error}; enrol it anew") from error


def _endpoint(word: str) -> Endpoint:
    node, _, address = word.partition("=")
    host, _, port = address.rpartition(":")
    if not host:
        raise ValueError(f"{word!r} is no NAME=HOST:PORT")
    return Endpoint(node, host.removeprefix("[").removesuffix("]"), int(port))
