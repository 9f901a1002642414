"""Reaching the cluster: the first node that answers, and what it has retained.

1. Nodes are tried in the order given; one that is silent costs `NODE_TIMEOUT_S`.
2. A view is complete: it is read after a message to oneself has come back behind it.
"""

import asyncio
import getpass
import secrets
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from workrs.adapters.mqtt import connect
from workrs.cli.error import NoNodeError
from workrs.cli.options import Options
from workrs.domain.errors import BusError, ConfigError, IdError
from workrs.domain.ids import ClientId, client_id
from workrs.ports.bus import Address, Bus, Subscription, read_retained
from workrs.wire import topics
from workrs.wire.view import PATTERNS, ClusterView

NODE_TIMEOUT_S: Final = 2.0
"""How long a node may take to answer before the next one is tried."""
_SNAPSHOT_TIMEOUT_S: Final = 10.0
_PORT: Final = 1883


def address(text: str) -> Address:
    """Return the address that `HOST`, `HOST:PORT` or `[V6]:PORT` names, or raise ConfigError."""
    host, port = text.strip(), ""
    if host.startswith("["):
        host, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    if not host or (port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        raise ConfigError("write HOST:PORT, for example 127.0.0.1:1883")
    return Address(host=host, port=int(port) if port else _PORT)


def add_nodes_option(options: Options) -> None:
    """Add which nodes to talk to."""
    options.many(
        "--node",
        convert=address,
        default=[Address(host="127.0.0.1", port=_PORT)],
        metavar="HOST:PORT",
        help="a node's broker; repeat it for more, the next is tried when one is silent",
    )


def add_node_options(options: Options) -> None:
    """Add what every command of a person can be told: which nodes, and who asks."""
    add_nodes_option(options)
    options.value(
        "--user", metavar="NAME", help="MQTT user name, and the name of the operator; default yours"
    )


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
async def connected(nodes: Sequence[Address], user: ClientId) -> AsyncIterator[Bus]:
    """Connect to the first of *nodes* that answers.

    Raises:
        NoNodeError: none of them does; the text names each with its reason.
    """
    failures = []
    async with AsyncExitStack() as stack:
        for node in nodes:
            # Another connection under the same id would end the first: two terminals, one user.
            name = f"{user}-{secrets.token_hex(4)}"
            opening = connect(address=node, client_id=name, timeout_s=NODE_TIMEOUT_S)
            try:
                bus = await stack.enter_async_context(opening)
            except BusError as error:
                failures.append(str(error))
                continue
            yield bus
            return
    raise NoNodeError(failures)


async def read_view(nodes: Sequence[Address], user: ClientId) -> ClusterView:
    """Return the cluster as the first node that answers completely shows it.

    Raises:
        NoNodeError: none of them does.
    """
    failures: list[str] = []
    for node in nodes:
        try:
            async with (
                asyncio.timeout(NODE_TIMEOUT_S + _SNAPSHOT_TIMEOUT_S),
                connected([node], user) as bus,
            ):
                view = ClusterView()
                await fill(view, bus)
                return view
        except NoNodeError as error:
            failures += error.failures
        except BusError as error:
            failures.append(str(error))
        except TimeoutError:
            failures.append(f"the broker at {node} connected and then was silent")
    raise NoNodeError(failures)


async def fill(view: ClusterView, bus: Bus) -> None:
    """Read all that the node has retained into *view*; the subscriptions stay."""
    wanted = [Subscription(pattern=f"{topics.ROOT}/{pattern}") for pattern in PATTERNS]
    echo = f"{topics.ROOT}/echo/{bus.client_id}"
    for message in await read_retained(bus, *wanted, echo_topic=echo):
        view.apply(message.topic, message.payload)
