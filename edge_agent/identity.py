"""Who an agent is: one process per state folder, one incarnation per start.

1. An incarnation's number is above any on this disk and above any that a node shows; it is on
   disk before the first message that carries it.
2. Its 64 random bits tell two starts apart that a copied disk gave the same number.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from workrs.adapters import log
from workrs.adapters.disk import sync_directory
from workrs.domain.errors import BusError, ConfigError, WireError
from workrs.domain.ids import NUMBER_MAX, ClientId
from workrs.domain.record import Incarnation
from workrs.ports.bus import Address, Connect, Subscription, read_retained
from workrs.wire import codec, topics
from workrs.wire.message import AgentView

_LOG = log.get("agent")
_CONNECT_S = 2.0
_RETRY_STEP_S = 0.1
"""Each pause is longer by that: agents and nodes that start together should not miss each other."""
_RETRY_MAX_S = 2.0


@contextlib.contextmanager
def own_folder(state: Path) -> Iterator[None]:
    """Keep the state folder to this process, as long as the context lasts.

    Raises:
        ConfigError: another agent has it, or it cannot be made.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use the folder {state}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another agent runs with the folder {state}: end it, or choose another --state"
            ) from None
        yield
    finally:
        os.close(lock)


def read_number(state: Path) -> int:
    """Return the number of the last incarnation on this disk, 0 when there was none.

    Raises:
        ConfigError: the file holds something else.
    """
    path = state / "incarnation"
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return 0
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not text.strip().isdecimal():
        raise ConfigError(f"{path} holds no number: remove it, and the nodes' views are asked")
    return int(text)


def write_number(state: Path, number: int) -> None:
    """Put the number on disk, whole or not at all."""
    path, draft = state / "incarnation", state / "incarnation.new"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{number}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(path)
    sync_directory(state)


async def incarnate(
    name: ClientId, state: Path, nodes: Sequence[Address], connect: Connect
) -> Incarnation:
    """Return a new incarnation, after a node has said which it knows. Waits for a node.

    Raises:
        ConfigError: the number on disk or at a node is not one that can be raised.
    """
    known = max(read_number(state), await _shown_number(name, nodes, connect))
    if known >= NUMBER_MAX:
        raise ConfigError(f"the incarnation of {name} is {known}: choose another name")
    write_number(state, known + 1)
    return Incarnation(known + 1, secrets.token_hex(8))


async def _shown_number(name: ClientId, nodes: Sequence[Address], connect: Connect) -> int:
    """Return the highest number in any node's view of this agent."""
    tries = 0
    while True:
        address = nodes[tries % len(nodes)]
        try:
            # Without a will: an agent that has no incarnation yet has nothing to lose.
            async with connect(address=address, client_id=name, timeout_s=_CONNECT_S) as bus:
                views = Subscription(pattern=topics.node("+", "agent", name))
                echo = f"{topics.ROOT}/echo/{name}"
                async with asyncio.timeout(_CONNECT_S):
                    found = await read_retained(bus, views, echo_topic=echo)
        except (BusError, TimeoutError) as error:
            tries += 1
            if tries % len(nodes) == 0:
                _LOG.warning("no_node", tried=len(nodes), why=str(error) or "no answer")
                rounds = tries // len(nodes)
                await asyncio.sleep(min(_RETRY_MAX_S, _RETRY_STEP_S * rounds))
            continue
        number = 0
        for message in found:
            with contextlib.suppress(WireError):
                view = codec.decode(AgentView, message.payload)
                number = max(number, view.incarnation.number)
        return number
