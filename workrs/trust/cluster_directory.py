"""The directory that `workrs init` makes: the cluster's authorities and all they have issued.

    authority/KIND.key, KIND.pem    the four authorities; whoever has these owns the cluster
    authority/register.json         who was enrolled and revoked (`register`)
    nodes/NAME/                     a node's folder, to be copied to its machine (`node_folder`)
    members/NAME.pem                credentials, to be handed to their members

1. Every file is 0600 and every folder 0700 from its first byte on.
2. A credential is never written over another file; only lists, passwords and the register
   are replaced, each at once as a whole.
3. One process at a time: a lock on the directory orders them.

No node needs it: it belongs on a machine of the operator's, with a backup.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId, client_id
from workrs.trust.authority import DAYS, Authority, Revocation, load_authority, new_authority
from workrs.trust.credential import Credential, Endpoint, load_credential, parse, render, with_nodes
from workrs.trust.kind import PASSWORD_PORT_OFFSET, PORT_OFFSETS, Kind, member_name
from workrs.trust.node_folder import NODE_FILE, PASSWORDS_FILE, authority_file, revoked_file
from workrs.trust.password import hash_password, new_password
from workrs.trust.register import Enrolled, Register, decode, encode, endpoints
from workrs.trust.revocation import RevocationList, read_list

AUTHORITY_FOLDER: Final = "authority"
NODES_FOLDER: Final = "nodes"
MEMBERS_FOLDER: Final = "members"
REVOKED_SUFFIX: Final = ".revoked"
"""Of a member's file that is put aside."""
_REGISTER: Final = "register.json"


class ClusterDirectory:
    """One cluster's directory, held by this process. Made by `create` or `opened`."""

    def __init__(self, path: Path, register: Register, authorities: dict[Kind, Authority]) -> None:
        """Take what is on disk."""
        self.path = path
        self.register = register
        self._authorities = authorities

    @property
    def ends(self) -> datetime:
        """When the authorities end, and with them everything."""
        return min(authority.ends for authority in self._authorities.values())

    def node_folder(self, name: str) -> Path:
        """Return the folder of a node."""
        return self.path / NODES_FOLDER / name

    def member_file(self, name: str) -> Path:
        """Return the credential of a member that is no node."""
        return self.path / MEMBERS_FOLDER / f"{name}.pem"

    def enrol(
        self,
        kind: Kind,
        name: str,
        *,
        now: datetime,
        days: int | None = None,
        renew: bool = False,
        hosts: Sequence[str] = (),
    ) -> Path:
        """Make a member and return its credential file; for a node, one beside its folder.

        Args:
            kind: what it is to be.
            name: under which it speaks.
            now: the present time.
            days: how long it lasts; None: what `DAYS` says.
            renew: whether it has one already, which stays in force.
            hosts: of a node, further names that it is reached by.

        Raises:
            ConfigError: the name is taken or the file is there already.
        """
        self.register.require_free(member_name(name), kind, renew=renew)
        is_node = kind is Kind.NODE
        at = next((node for node in self.register.nodes if node.node == name), None)
        if is_node and at is None:
            raise ConfigError(
                f"{name} is no node of {self.register.cluster}: a further one is enrolled with its "
                f"address, {name}=HOST"
            )
        target = self.node_folder(name) / NODE_FILE if is_node else self.member_file(name)
        if renew:
            target = target.with_suffix(f".{now:%Y%m%d}.pem")
        _require_absent(target)
        if is_node and at is not None:
            hosts = [at.host, *hosts]
        text = self._issue(kind, client_id(name), now=now, days=days, renew=renew, hosts=hosts)
        write_new(target, text)
        return target

    def enrol_password(self, name: str, *, now: datetime) -> Path:
        """Make a device with a password and return its credential file; see `enrol`.

        The nodes have to be brought their new file of passwords.
        """
        self.register.require_free(member_name(name), Kind.DEVICE)
        target = self.member_file(name)
        _require_absent(target)
        password = new_password()
        hashed = hash_password(password)
        entry = Enrolled(name=name, kind=Kind.DEVICE, ends="", password_hash=hashed)
        self._change(self.register.add(entry))
        nodes = endpoints(self.register.nodes, PASSWORD_PORT_OFFSET)
        credential = self._credential(Kind.DEVICE, client_id(name), target, nodes)
        write_new(target, render(replace(credential, password=password), key="", certificate=""))
        self.write_node_lists(now=now)
        return target

    def revoke(self, name: str, *, now: datetime, keep_newest: bool = False) -> list[Enrolled]:
        """Revoke everything under a name; return what that was.

        The nodes have to be brought their new lists. The credential's file, which proves
        nothing any more, is put aside, so that the name can be enrolled anew.

        Args:
            name: the member's.
            now: the present time.
            keep_newest: leave the credential that was made last.

        Raises:
            ConfigError: nobody is called so, or has nothing older.
        """
        before = self.register.of(name)
        self._change(self.register.revoke(name, now, keep_newest=keep_newest))
        ended = before[:-1] if keep_newest else before
        self.write_node_lists(now=now)
        path = self.member_file(name)
        if path.exists() and _serial(path) in {entry.serial for entry in ended}:
            path.replace(path.with_suffix(REVOKED_SUFFIX))
        if not keep_newest and any(entry.kind is Kind.NODE for entry in ended):
            self.node_folder(name).replace(self.node_folder(f"{name}.{now:%Y%m%d%H%M%S}.revoked"))
            self._change_nodes([node for node in self.register.nodes if node.node != name])
        return ended

    def add_node(self, at: Endpoint, *, now: datetime, hosts: Sequence[str] = ()) -> Path:
        """Make a further node, and name it in the credentials of the others; return its own.

        Raises:
            ConfigError: the name is taken, or an address is another node's.
        """
        self.register.require_free(at.node, Kind.NODE)
        others = [node for node in self.register.nodes if node.node != at.node]
        if any(node[1:] == at[1:] for node in others):
            raise ConfigError(f"{at.host}:{at.port} is the address of another node")
        self._change_nodes([*others, at])  # after a crash behind it the same call goes on
        self._make_node(at.node, now=now, hosts=hosts)
        self.write_node_lists(now=now)
        return self.node_folder(at.node) / NODE_FILE

    def _change_nodes(self, nodes: Sequence[Endpoint]) -> None:
        self._change(replace(self.register, nodes=tuple(nodes)))
        for node in nodes:
            path = self.node_folder(node.node) / NODE_FILE
            if path.exists():
                replace_file(path, with_nodes(path.read_text(), nodes))

    def write_node_lists(self, *, now: datetime) -> None:
        """Write the lists of the revoked and the passwords into the folder of every node."""
        for kind, authority in self._authorities.items():
            revoked = [
                Revocation(entry.number, entry.name, datetime.fromisoformat(entry.revoked))
                for entry in self.register.members
                if entry.kind is kind and entry.revoked
            ]
            text = authority.revocation_list(revoked, number=self.register.number, now=now)
            for node in self.register.nodes:
                replace_file(revoked_file(self.node_folder(node.node), kind), text)
        for node in self.register.nodes:
            path = self.node_folder(node.node) / PASSWORDS_FILE
            replace_file(path, self.register.passwords())

    def lists(self) -> list[RevocationList]:
        """Return the newest lists of the revoked.

        Raises:
            ConfigError: they cannot be read.
        """
        folder = self.node_folder(self.register.nodes[0].node)
        found = []
        for kind in Kind:
            path = revoked_file(folder, kind)
            try:
                text = path.read_text()
            except OSError as error:
                raise ConfigError(f"cannot read {path}: {error.strerror}") from error
            found.append(read_list(text, self.authorities, where=str(path)))
        return found

    @property
    def authorities(self) -> dict[Kind, str]:
        """Return the certificates of the authorities, PEM."""
        return {kind: authority.certificate for kind, authority in self._authorities.items()}

    def an_operator(self) -> Credential | None:
        """Return the credential of an operator in force whose file is here, or None."""
        serials = {
            entry.serial
            for entry in self.register.members
            if entry.kind is Kind.OPERATOR and not entry.revoked
        }
        paths = sorted((self.path / MEMBERS_FOLDER).glob("*.pem"))
        found = next((path for path in paths if _serial(path) in serials), None)
        return None if found is None else load_credential(found)

    def make_nodes(self, *, now: datetime) -> None:
        """Write the folder of every node."""
        for node in self.register.nodes:
            self._make_node(node.node, now=now)
        self.write_node_lists(now=now)

    def _make_node(self, name: str, *, now: datetime, hosts: Sequence[str] = ()) -> None:
        for kind, authority in self._authorities.items():
            replace_file(authority_file(self.node_folder(name), kind), authority.certificate)
        self.enrol(Kind.NODE, name, now=now, hosts=hosts)

    def _issue(
        self,
        kind: Kind,
        name: ClientId,
        *,
        now: datetime,
        days: int | None,
        renew: bool = False,
        hosts: Sequence[str] = (),
    ) -> str:
        """Register a certificate and return the credential's text."""
        issued = self._authorities[kind].issue(
            name,
            cluster=self.register.cluster,
            now=now,
            days=DAYS[kind] if days is None else days,
            hosts=hosts,
        )
        entry = Enrolled(
            name=name,
            kind=kind,
            ends=issued.ends.isoformat(timespec="seconds"),
            serial=f"{issued.serial:x}",
        )
        self._change(self.register.add(entry, renew=renew))
        offset = 0 if kind is Kind.NODE else PORT_OFFSETS[kind]
        found = endpoints(self.register.nodes, offset)
        credential = self._credential(kind, name, Path(), found)
        credential = replace(credential, valid_until_wall=f"{issued.ends:%Y-%m-%d}")
        return render(credential, key=issued.key, certificate=issued.certificate)

    def _credential(
        self, kind: Kind, name: ClientId, path: Path, nodes: tuple[Endpoint, ...]
    ) -> Credential:
        return Credential(
            path=path,
            cluster=self.register.cluster,
            kind=kind,
            name=name,
            nodes=nodes,
            valid_until_wall="",
            authority=self._authorities[Kind.NODE].certificate,
            password=None,
        )

    def _change(self, register: Register) -> None:
        replace_file(self.path / AUTHORITY_FOLDER / _REGISTER, encode(register))
        self.register = register


def create(path: Path, register: Register, *, now: datetime) -> ClusterDirectory:
    """Make a cluster's directory, with its authorities and the folders of its nodes.

    Raises:
        ConfigError: there is something already, or a name is not allowed.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} is there already: name a directory that is not")
    for node in register.nodes:
        member_name(node.node)
    folder = path / AUTHORITY_FOLDER
    authorities = {kind: new_authority(kind, cluster=register.cluster, now=now) for kind in Kind}
    for kind, authority in authorities.items():
        write_new(folder / f"{kind.value}.key", authority.key)
        write_new(folder / f"{kind.value}.pem", authority.certificate)
    directory = ClusterDirectory(path, register, authorities)
    replace_file(folder / _REGISTER, encode(register))
    directory.make_nodes(now=now)
    return directory


@contextmanager
def opened(path: Path) -> Iterator[ClusterDirectory]:
    """Open a cluster's directory for one change; another process waits meanwhile.

    Raises:
        ConfigError: it is none, or damaged.
    """
    folder = path / AUTHORITY_FOLDER
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"{path} is no directory that `workrs init` made: {folder}: {error.strerror}"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _read(path)
    finally:
        os.close(lock)


def _read(path: Path) -> ClusterDirectory:
    folder = path / AUTHORITY_FOLDER
    try:
        register = decode((folder / _REGISTER).read_text())
        authorities = {
            kind: load_authority(
                kind,
                key=(folder / f"{kind.value}.key").read_text(),
                certificate=(folder / f"{kind.value}.pem").read_text(),
            )
            for kind in Kind
        }
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error
    return ClusterDirectory(path, register, authorities)


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet, readable by its owner alone.

    Raises:
        ConfigError: it is there, or cannot be written.
    """
    _make_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already, and is not written over") from error
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, text: str) -> None:
    """Write a file anew, at once as a whole, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    write_new(draft, text)
    draft.replace(path)


def _make_folder(folder: Path) -> None:
    if not folder.parent.exists():
        _make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}") from error


def _require_absent(path: Path) -> None:
    if path.exists():
        raise ConfigError(f"{path} is there already, and is not written over: move it away")


def _serial(path: Path) -> str:
    """Return the number of the certificate in a member's file; empty: it has a password.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        if parse(text := path.read_text(encoding="utf-8"), path).password is not None:
            return ""
        return f"{x509.load_pem_x509_certificate(text.encode()).serial_number:x}"
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: {error}; move it away") from error
