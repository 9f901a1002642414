"""The broker of a secure node, and how members, thieves and strangers come in at its ports.

A test module imports the fixture `plant` by name.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker.mosquitto import mosquitto
from broker.mosquitto_config import own_socket, render, write_trust
from tests.hostile.members import NODES, NOW, Cluster, free_blocks, make_cluster
from workrs.adapters.mqtt import connect
from workrs.ports.bus import Address, Bus, BusDeniedError, Message, Subscription
from workrs.trust.kind import PASSWORD_PORT_OFFSET, PORT_OFFSETS, Kind
from workrs.trust.probe import PASSWORD_PROBE, Probes, make_probes
from workrs.wire.topics import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from workrs.trust.credential import Credential

Removal = Callable[[str, Path], str]
"""Takes a control away: gets the configuration and the broker's folder, returns the former."""
PROBES = tuple(f"probe.{word}" for word in (*(kind.value for kind in Kind), "password"))
"""The members that a node's self-test comes as."""


def as_it_is(config: str, _folder: Path) -> str:
    """Take nothing away."""
    return config


def without(*words: str) -> Removal:
    """Leave out the lines of the configuration that begin with one of *words*."""
    return lambda config, _: "\n".join(
        line for line in config.splitlines() if not line.startswith(words)
    )


def without_permissions(config: str, folder: Path) -> str:
    """Let everybody say and hear everything."""
    for kind in Kind:
        (folder / f"acl-{kind.value}").write_text("topic readwrite #\npattern readwrite #\n")
    return config


def without_question(config: str, folder: Path) -> str:
    """Ask nobody for a certificate: TLS then looks at no date and no signature."""
    config = config.replace("require_certificate true", "require_certificate false")
    config = config.replace("allow_anonymous false", "allow_anonymous true")
    return without("use_identity_as_username", "use_username_as_clientid")(config, folder)


@dataclass(frozen=True, slots=True)
class Door:
    """A running broker of node n1, and how to come in."""

    cluster: Cluster
    first: Address
    own: Address
    probes: Probes | None

    def at(self, who: str, *, port_of: str = "") -> Address:
        """Return where somebody comes in; with *port_of*, at the port of another kind."""
        member = self.cluster.members[port_of or who]
        return self._port(None if member.password else member.kind)

    def _port(self, kind: Kind | None) -> Address:
        offset = PASSWORD_PORT_OFFSET if kind is None else PORT_OFFSETS[kind]
        return Address(host=self.first.host, port=self.first.port + offset)

    @asynccontextmanager
    async def enter(
        self, who: str, *, client_id: str = "", will: Message | None = None, port_of: str = ""
    ) -> AsyncIterator[Bus]:
        """Connect as a member, honest or not, or as a probe of the self-test."""
        if who in PROBES:
            kind = None if who == PASSWORD_PROBE else Kind(who.removeprefix("probe."))
            address, tls = self._port(kind), self._as_probe(kind)
            password = self.probes.password if self.probes and kind is None else None
        else:
            member: Credential = self.cluster.members[who]
            address, tls = self.at(who, port_of=port_of), careless(member)
            password = member.password
        name = who if who in PROBES else self.cluster.members[who].name
        async with connect(
            address=address,
            client_id=client_id or name,
            username=name if password else None,
            password=password,
            tls=tls,
            will=will,
        ) as bus:
            yield bus

    def _as_probe(self, kind: Kind | None) -> ssl.SSLContext:
        if kind is None:
            return stranger()
        assert self.probes is not None
        return self.probes.context(kind, self.cluster.members["a1"].authority)

    @asynccontextmanager
    async def observe(self) -> AsyncIterator[Bus]:
        """Connect as the daemon, which may hear and say all."""
        async with connect(address=self.own, client_id="observer") as bus:
            await bus.subscribe(Subscription(pattern=f"{ROOT}/#", qos=1))
            yield bus


def careless(member: Credential) -> ssl.SSLContext:
    """Return TLS that shows the member's certificate and does not look at the node's.

    An attacker does not care whom it talks to: what refuses it must be the node.
    """
    context = member.client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def stranger() -> ssl.SSLContext:
    """Return TLS that shows no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class Plant:
    """A cluster whose node n1 has a broker now and then."""

    cluster: Cluster
    first: Address

    @asynccontextmanager
    async def door(
        self, folder: Path, remove: Removal = as_it_is, *, probed: bool = False
    ) -> AsyncIterator[Door]:
        """Run the broker of n1.

        Args:
            folder: for the broker's files.
            remove: takes a control away.
            probed: let the members of the self-test in, as at a node's start.
        """
        probes = make_probes("n1", now=NOW) if probed else None
        write_trust(folder, self.cluster.trust(), probes)
        config = render(node="n1", listener=self.first, trust=folder)
        config = remove(config, folder)
        async with mosquitto(name="n1", config=config, folder=folder):
            yield Door(self.cluster, self.first, own_socket(folder), probes)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Make the certificates once: a broker for each test is enough work."""
    ports = free_blocks(len(NODES))
    cluster = make_cluster(tmp_path_factory.mktemp("plant"), ports=ports)
    cluster.revoke("fan")
    return Plant(cluster, Address(host="127.0.0.1", port=ports[0]))


async def say(bus: Bus, topics: Iterable[str], payload: bytes = b"forged") -> None:
    """Publish on all of them, whatever is refused."""
    for topic in topics:
        bus.publish(Message(f"{ROOT}/{topic}", payload))
    with contextlib.suppress(BusDeniedError):
        await bus.flush()
