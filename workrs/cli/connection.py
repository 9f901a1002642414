"""Reaching the cluster: the first node that answers, and what it has retained.

1. Nodes are tried in the order given; one that is silent costs `NODE_TIMEOUT_S`.
2. A view is complete: it is read after a message to oneself has come back behind it.
"""

import asyncio
import getpass
import secrets
import ssl
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final, TypeVar

from workrs.adapters.mqtt import connect
from workrs.cli.calendar import wall_clock
from workrs.cli.error import NoNodeError
from workrs.cli.options import Options
from workrs.domain.errors import BusError, ConfigError, IdError
from workrs.domain.ids import ClientId, client_id
from workrs.ports.bus import PORT_MAX, Address, Bus, Subscription, read_retained
from workrs.trust.credential import Credential, load_credential
from workrs.trust.expiry import ending, renewal
from workrs.trust.kind import Kind
from workrs.wire import topics
from workrs.wire.view import PATTERNS, ClusterView

T = TypeVar("T")
NODE_TIMEOUT_S: Final = 2.0
NEXT_S: Final = 0.1
"""How long a node may take to answer before the next one is tried."""
_SNAPSHOT_TIMEOUT_S: Final = 10.0
_SPECS: Final = "/spec/"
_PORT: Final = 1883
_LOCAL: Final = Address(host="127.0.0.1", port=_PORT)


def address(text: str) -> Address:
    """Return the address that `HOST`, `HOST:PORT` or `[V6]:PORT` names, or raise ConfigError."""
    host, port = text.strip(), ""
    if host.startswith("["):
        host, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    elif ":" in host and not _is_v6(host):
        raise ConfigError(f"{text}: write HOST:PORT, an IPv6 address as [ADDRESS]:PORT")
    if not host or (port and not (port.isascii() and port.isdigit() and 0 < int(port) <= PORT_MAX)):
        raise ConfigError("write HOST:PORT, for example 127.0.0.1:1883")
    found = Address(host=host, port=int(port) if port else _PORT)
    if not found.is_possible:
        raise ConfigError("no host can have such a name; write HOST:PORT")
    return found


def _is_v6(text: str) -> bool:
    try:
        return IPv6Address(text).version == 6
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, and which nodes: what a command needs to reach the cluster."""

    nodes: tuple[Address, ...]
    """In the order in which they are tried."""
    user: ClientId
    """MQTT user name, and the name of the operator."""
    credential: Credential | None = None

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Return what proves who calls; None where nothing has to."""
        return None if self.credential is None else self.credential.client_context()

    @property
    def password(self) -> str | None:
        """Return the password of a device without a certificate."""
        return None if self.credential is None else self.credential.password

    async def next_first(self) -> "Caller":
        """Return the caller that tries its first node last.

        After a moment: a node that ends each connection at once, because it permits too little, is
        not asked again and again without a pause.
        """
        await asyncio.sleep(NEXT_S)
        return replace(self, nodes=(*self.nodes[1:], self.nodes[0]))


def add_nodes_option(options: Options) -> None:
    """Add which nodes to talk to, and as whom."""
    options.many(
        "--node",
        convert=address,
        metavar="HOST:PORT",
        help="a node's broker; repeat it for more, the next is tried when one is silent; default "
        f"those in the credential, or {_LOCAL}",
    )
    options.value(
        "--credential",
        convert=Path,
        metavar="FILE",
        help="what `workrs init` or `workrs enrol` wrote for whoever runs this",
    )
    options.flag("--insecure", help="talk to nodes on other machines without any credential")


def add_node_options(options: Options) -> None:
    """Add what every command of a person can be told: which nodes, and who asks."""
    add_nodes_option(options)
    options.value(
        "--user",
        metavar="NAME",
        help="MQTT user name, and the name of the operator; default the credential's, or yours",
    )


def caller(asked: Namespace, *kinds: Kind) -> Caller:
    """Return who calls, by the options.

    Args:
        asked: the options.
        kinds: whose credentials do; by default those of operators.

    Raises:
        ConfigError: the credential is of another kind, or missing.
    """
    credential = credential_of(asked, *(kinds or (Kind.OPERATOR,)))
    if credential is not None and asked.user not in (None, credential.name):
        raise ConfigError(f"--user {asked.user}: the credential is {credential.name}'s")
    user = user_name(asked) if credential is None else credential.name
    return Caller(nodes=nodes_of(asked, credential), user=user, credential=credential)


def credential_of(asked: Namespace, *kinds: Kind) -> Credential | None:
    """Return the credential that the options name, if they name one.

    Raises:
        CredentialError: it cannot be used.
        ConfigError: it is of none of *kinds*.
    """
    if asked.credential is None:
        return None
    credential = load_credential(asked.credential)
    if found := ending(credential, wall_clock().date()):
        print(f"{credential.path} {found}: {renewal(credential)}", file=sys.stderr)
    if credential.kind not in kinds:
        wanted = " or ".join(f"an {k}" if k[0] in "ao" else f"a {k}" for k in kinds)
        raise ConfigError(
            f"{credential.path} is the credential of {credential.kind.value} {credential.name}; "
            f"this needs that of {wanted}: `workrs enrol {kinds[0].value} NAME` makes it"
        )
    return credential


def nodes_of(asked: Namespace, credential: Credential | None) -> tuple[Address, ...]:
    """Return the nodes to talk to: those of the options, else of the credential.

    Raises:
        ConfigError: one is on another machine, and there is no credential to talk to it.
    """
    if credential is not None:
        named = tuple(Address(host=at.host, port=at.port) for at in credential.nodes)
        return tuple(asked.node) or named
    nodes = tuple(asked.node) or (_LOCAL,)
    far = next((node for node in nodes if not node.is_loopback), None)
    if far is not None and not asked.insecure:
        raise ConfigError(
            f"{far} is on another machine, and without TLS everybody on the way could read and "
            "change what is said: give --credential FILE, which `workrs enrol` makes, or say "
            "--insecure if that is wanted"
        )
    return nodes


def member_name(asked: Namespace, credential: Credential | None) -> str:
    """Return the name of the node or agent to run, and note it for its default folder.

    Args:
        asked: the options.
        credential: whose name it is, if there is one.

    Raises:
        ConfigError: there is no name, or there are two.
    """
    own = None if credential is None else credential.name
    if asked.name is None and own is None:
        raise ConfigError("--name is missing: give it, or --credential, which has it")
    if asked.name is not None and own not in (None, asked.name):
        raise ConfigError(f"--name {asked.name}: the credential is {own}'s")
    asked.name = asked.name or own
    return str(asked.name)


def user_name(asked: Namespace) -> ClientId:
    """Return the name to appear under, or raise ConfigError."""
    name = asked.user or _login_name()
    try:
        return client_id(name)
    except IdError as error:
        raise ConfigError(f"{error}; give another one with --user") from error


def _login_name() -> str:
    try:
        return getpass.getuser().lower().replace("_", "-")
    except (KeyError, OSError):
        return "operator"


@asynccontextmanager
async def connected(who: Caller) -> AsyncIterator[Bus]:
    """Connect to the first of the caller's nodes that answers.

    Raises:
        NoNodeError: none of them does; the text names each with its reason.
    """
    failures = []
    tls = who.tls
    async with AsyncExitStack() as stack:
        for node in who.nodes:
            # Another connection under the same id would end the first: two terminals, one user.
            opening = connect(
                address=node,
                client_id=f"{who.user}-{secrets.token_hex(4)}",
                username=who.user if who.password else None,
                password=who.password,
                tls=tls,
                timeout_s=NODE_TIMEOUT_S,
            )
            try:
                bus = await stack.enter_async_context(opening)
            except BusError as error:
                failures.append(str(error))
                continue
            yield bus
            return
    raise NoNodeError(failures)


async def ask_first(who: Caller, ask: Callable[[Bus], Awaitable[T]], *, within_s: float) -> T:
    """Return what *ask* is told by the first of the caller's nodes that answers completely.

    Args:
        who: asks.
        ask: asks one node; it is begun anew at the next.
        within_s: how long a node may take, connecting included.

    Raises:
        NoNodeError: none of them does.
    """
    failures: list[str] = []
    for node in who.nodes:
        try:
            async with (
                asyncio.timeout(within_s),
                connected(replace(who, nodes=(node,))) as bus,
            ):
                return await ask(bus)
        except NoNodeError as error:
            failures += error.failures
        except BusError as error:
            failures.append(str(error))
        except TimeoutError:
            failures.append(f"the broker at {node} connected and then was silent")
    raise NoNodeError(failures)


async def read_view(who: Caller, *, slim: bool = False) -> ClusterView:
    """Return the cluster as the first node that answers completely shows it.

    Args:
        who: asks.
        slim: whether to leave out specs and results: of 10,000 jobs they are most of the bytes.

    Raises:
        NoNodeError: none of them does.
    """

    async def read(bus: Bus) -> ClusterView:
        view = ClusterView(slim=slim)
        wanted = [each for each in PATTERNS if not (slim and _SPECS in each)]
        await fill(view, bus, wanted)
        return view

    return await ask_first(who, read, within_s=NODE_TIMEOUT_S + _SNAPSHOT_TIMEOUT_S)


async def fill(view: ClusterView, bus: Bus, patterns: Sequence[str] = PATTERNS) -> None:
    """Read what the node has retained below *patterns* into *view*; the subscriptions stay."""
    wanted = [Subscription(pattern=f"{topics.ROOT}/{pattern}") for pattern in patterns]
    echo = f"{topics.ROOT}/echo/{bus.client_id}"
    for message in await read_retained(bus, *wanted, echo_topic=echo):
        view.apply(message.topic, message.payload)
