"""Who has been enrolled in a cluster, kept beside its authorities: who may be whom.

1. A name has one owner among all kinds. It is free again once every certificate and password
   under it was revoked.
2. A member is in the register before its credential is written, so nothing exists that could
   not be revoked.
3. Values: each change gives a new register, and the caller writes it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from workrs.domain.errors import ConfigError
from workrs.trust.credential import Endpoint
from workrs.trust.kind import Kind
from workrs.trust.revocation import password_serial


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """One certificate, or one password."""

    name: str
    kind: Kind
    ends: str
    """Last moment of the certificate, ISO 8601 in UTC. Empty for a password."""
    serial: str = ""
    """Of the certificate, hexadecimal, or empty."""
    password_hash: str = ""
    revoked: str = ""
    """When it was revoked, or empty."""

    @property
    def number(self) -> int:
        """Return the number under which it is on a list of the revoked."""
        return int(self.serial, 16) if self.serial else password_serial(self.password_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """All of a cluster."""

    cluster: str
    nodes: tuple[Endpoint, ...]
    """With the first port of each."""
    members: tuple[Enrolled, ...] = ()
    """Oldest first, the revoked included."""
    number: int = 1
    """Of the lists of the revoked: grows with each change of them."""

    def of(self, name: str) -> list[Enrolled]:
        """Return what is in force under a name."""
        return [entry for entry in self.members if entry.name == name and not entry.revoked]

    def is_former_node(self, name: str) -> bool:
        """Return whether a node was called so, and none is."""
        was = any(entry.name == name and entry.kind is Kind.NODE for entry in self.members)
        return was and all(node.node != name for node in self.nodes)

    def require_free(self, name: str, kind: Kind, *, renew: bool = False) -> None:
        """Raise ConfigError unless somebody of this kind may be enrolled under *name*.

        Args:
            name: the new member's.
            kind: what it is to be.
            renew: whether it is one already, and gets a further certificate.
        """
        same = self.of(name)
        if renew and not any(old.kind is kind for old in same):
            raise ConfigError(f"there is no {kind.value} {name} to renew")
        if same and not renew:
            raise ConfigError(
                f"{name} is taken, as {same[0].kind.value}: choose another name, renew it with "
                "--renew, or revoke it first"
            )

    def add(self, entry: Enrolled, *, renew: bool = False) -> "Register":
        """Return the register with one more certificate or password; see `require_free`."""
        self.require_free(entry.name, entry.kind, renew=renew)
        return replace(self, members=(*self.members, entry))

    def revoked_at(self, name: str) -> str:
        """Return when something under a name was last revoked, ISO 8601; empty: never."""
        return max((entry.revoked for entry in self.members if entry.name == name), default="")

    def revoke(self, name: str, at: datetime, *, keep_newest: bool = False) -> "Register":
        """Return the register with everything under a name revoked.

        Args:
            name: the member's.
            at: when.
            keep_newest: leave the one that was enrolled last.

        Raises:
            ConfigError: nothing that is to be revoked is in force under it.
        """
        in_force = self.of(name)
        if not in_force:
            raise ConfigError(
                f"nobody called {name!r} is enrolled in {self.cluster}; "
                "its authority/register.json names all members"
            )
        ending = in_force[:-1] if keep_newest else in_force
        if not ending:
            raise ConfigError(
                f"{name} has one credential alone: renew it first, with workrs enrol "
                f"{in_force[0].kind.value} {name} --renew, or leave --old out"
            )
        stamp = at.isoformat(timespec="seconds")
        members = tuple(
            replace(entry, revoked=stamp) if entry in ending else entry for entry in self.members
        )
        return replace(self, members=members, number=self.number + 1)

    def passwords(self) -> str:
        """Return the text of the nodes' file of passwords."""
        return "".join(
            f"{entry.name}:{entry.password_hash}\n"
            for entry in self.members
            if entry.password_hash and not entry.revoked
        )


def endpoints(nodes: Sequence[Endpoint], offset: int) -> tuple[Endpoint, ...]:
    """Return the nodes with the ports of one kind."""
    return tuple(at._replace(port=at.port + offset) for at in nodes)


def encode(register: Register) -> str:
    """Return the register as JSON."""
    return json.dumps({"v": 1, **asdict(register)}, indent=1) + "\n"


def decode(text: str) -> Register:
    """Read what `encode` wrote.

    Raises:
        ConfigError: it is damaged or of a newer version.
    """
    try:
        found = json.loads(text)
        if found["v"] != 1:
            raise ConfigError("the register was written by a newer version of workrs")
        return Register(
            cluster=found["cluster"],
            number=found["number"],
            nodes=tuple(Endpoint(*at) for at in found["nodes"]),
            members=tuple(
                Enrolled(**{**entry, "kind": Kind(entry["kind"])}) for entry in found["members"]
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"the register is damaged: {error!r}") from error
