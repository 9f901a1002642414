"""The node daemon's composition root: builds the parts from the configuration and runs them.

Order matters: the ledger first (without it nobody may vote), then the blob store, then the
broker, and last the brain that fills it.
"""

import asyncio
import os
import secrets
import signal
import socket
import ssl
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import uvloop

from broker import brain, front, functions, ledger_copy
from broker.agents import AgentTable
from broker.blob_access import Access
from broker.blob_guard import Guard
from broker.blob_identity import Identity
from broker.blob_repairer import Repairer
from broker.blob_server import BlobServer
from broker.collector import spare_full_collections
from broker.config import NodeConfig
from broker.event import CopiedAgent
from broker.gate import Gate
from broker.housekeeping import House
from broker.ledger import SqliteLedger, create_ledger, open_ledger
from broker.metrics import NodeMetrics
from broker.mosquitto import MosquittoProcess, mosquitto
from broker.mosquitto_config import Peer, render, write_trust
from broker.node import Node, NodeSettings
from broker.node_tls import NodeTls
from broker.self_test import try_permissions
from broker.stand_in import StandIn
from broker.store_clearing import keep_clear
from broker.supervisor import NodeSupervisor
from broker.trust_keeper import TrustKeeper, with_kept_lists
from broker.trust_line import TrustLine
from broker.web.opening import page_served
from workrs import __version__
from workrs.adapters import log
from workrs.adapters.ending import end
from workrs.adapters.expiry_watch import watch_expiry
from workrs.adapters.metric_server import metrics_served
from workrs.adapters.mqtt import connect
from workrs.adapters.service_manager import ServiceManager
from workrs.adapters.stores.opener import Stores
from workrs.domain.errors import ConfigError, SpecError
from workrs.domain.function import Function
from workrs.domain.ids import Instant, client_id
from workrs.domain.record import Incarnation
from workrs.ports.bus import Connect
from workrs.ports.ledger import Rejoin
from workrs.trust.node_folder import NodeTrust, load_node
from workrs.trust.probe import Probes, make_probes
from workrs.wire import codec
from workrs.wire.function_file import load_functions

LOG = log.get("node")


def run_node(config: NodeConfig) -> int:
    """Run a node until SIGTERM or SIGINT; return the exit code.

    Raises:
        ConfigError: something in the configuration or on the machine has to be changed.
        LedgerError: the database is damaged or in use.
        OlderDiskError: peers saw more of it than there is.
    """
    spare_full_collections()
    uvloop.run(_run(config))
    return 0


async def _run(config: NodeConfig) -> None:
    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot use the folder {config.state_dir}: {error.strerror}") from error
    if (config.init or config.rejoin) and not config.ledger_path.exists():
        rejoin = Rejoin.UNDER_WAY if config.rejoin else Rejoin.NEVER
        create_ledger(config.ledger_path, rejoin)
        LOG.event("ledger_created", path=config.ledger_path, rejoin=rejoin.name.lower())
    if config.no_start:
        return
    ledger = open_ledger(config.ledger_path, history=config.history)
    try:
        if config.rejoin and ledger.standing.rejoin is Rejoin.NEVER:
            raise ConfigError(
                f"there is a ledger at {config.ledger_path} that was not made by --rejoin. If it "
                "is sound, start without --rejoin; if this node's disk was lost or is an older "
                "copy, move it away first (docs/ledger.md)"
            )
        await _serve(config, ledger)
    finally:
        ledger.close()


def _functions_file(config: NodeConfig) -> dict[str, Function]:
    """Return what the functions file defines, or raise ConfigError."""
    found = load_functions(config.functions) if config.functions else {}
    for name, definition in found.items():
        try:
            front.check_image(definition.image, config.allowed_images)
        except SpecError as error:
            raise ConfigError(f"{config.functions}: [{name}]: {error}") from error
    return found


def _restore(config: NodeConfig, ledger: SqliteLedger, now: Instant) -> Node:
    """Return the node's memory as its ledger has it."""
    filed = _functions_file(config)
    settings = NodeSettings(
        name=client_id(config.name),
        nodes=config.nodes,
        timing=config.timing,
        allowed_images=config.allowed_images,
        blobs_url=config.public_blobs_url,
        software=f"{__version__} on {socket.gethostname()}",
        incarnation=Incarnation(ledger.boot, secrets.token_hex(8)),
    )
    node = Node(
        settings,
        ledger.retired,
        AgentTable(config.timing.ttl_s),
        gate=Gate(quotas=config.quotas),
    )
    wall_s = time.time()  # noqa: TID251 (only how long a result is kept hangs on it)
    brain.start(node, ledger, now, wall_s)
    functions.file(node, filed)
    LOG.event("ledger_loaded", boot=ledger.boot, jobs=len(node.entries), nodes=len(config.nodes))
    return node


async def _serve(config: NodeConfig, ledger: SqliteLedger) -> None:
    loop = asyncio.get_running_loop()
    manager = ServiceManager.take(os.environ)
    secure = _secure(config)
    node = _restore(config, ledger, Instant(loop.time()))

    blobs = _blob_server(config, ledger, node, secure)
    as_node = None if secure is None else secure.tls.client
    shared = Stores(config.stores).open_configured()
    await blobs.start()
    try:
        house = House(node, ledger, blobs.directory)
        supervisor = NodeSupervisor(
            node,
            ledger=ledger,
            drop_blobs=house.drop,
            # A broker that somebody else runs asks for a name as any other's does.
            connect=_own_connect(config, as_node),
            address=config.own_broker,
            clock=loop.time,
            read_peer_ledger=partial(ledger_copy.read_peer_ledger, tls=as_node),
        )
        repairer = Repairer(node, blobs.directory, tls=as_node)
        async with asyncio.TaskGroup() as tasks:
            name = f"node[{config.name}]"
            keeping = [
                tasks.create_task(house.keep(), name=f"{name}.house"),
                tasks.create_task(repairer.keep(), name=f"{name}.repair"),
                tasks.create_task(keep_clear(node, shared), name=f"{name}.stores"),
            ]
            # What devices send between the broker's start and the first subscription is lost, and
            # repeated 3 s later: the codec of the first words, 0.02 s, is made before.
            codec.encode(node.state())
            seen = NodeMetrics(node, config.ledger_path, loop.time)
            async with (
                metrics_served(
                    config.metrics, metrics=seen.metrics, health=seen.health, ready=seen.ready
                ),
                _page(config, node, secure),
            ):
                await _with_broker(config, Served(supervisor, seen, manager), secure)
            await end(keeping)
    finally:
        await blobs.stop()


def _blob_server(
    config: NodeConfig, ledger: SqliteLedger, node: Node, secure: "Secure | None"
) -> BlobServer:
    def read_ledger(generation: int) -> Iterator[bytes]:
        agents = [CopiedAgent(e.client, e.incarnation) for e in node.agents.entries.values()]
        return ledger_copy.lines(ledger, agents, generation)

    guard = Guard(
        access=Access(records=node.records, nodes=node.size),
        identify=None if secure is None else secure.identity,
        lines=node.lines,
    )
    return BlobServer(
        config.state_dir / "blobs",
        config.blobs.host,
        config.blobs.port,
        ledger=read_ledger,
        guard=guard,
        tls=None if secure is None else secure.tls.server,
    )


def _page(
    config: NodeConfig, node: Node, secure: "Secure | None"
) -> AbstractAsyncContextManager[None]:
    if secure is None:
        return page_served(config, node)
    return page_served(config, node, trust=lambda: secure.identity.trust, tls=secure.tls.page)


class Served(NamedTuple):
    """The shell around the brain, what is seen of it, and who else wants to hear of it."""

    supervisor: NodeSupervisor
    seen: NodeMetrics
    manager: ServiceManager | None

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs as long as the node does."""
        parts = {"supervisor": self.supervisor.run()}
        if self.manager is not None:
            parts["service"] = self.manager.report(
                self.supervisor.serves,
                look=self.supervisor.look,
                status=lambda: f"/ready: {self.seen.ready()}",
            )
        return parts


class Secure(NamedTuple):
    """What a node with a credential has besides."""

    trust: NodeTrust
    identity: Identity
    tls: NodeTls


def _secure(config: NodeConfig) -> Secure | None:
    """Read the node's folder, and say what the node is without one."""
    if config.credential is None:
        LOG.warning("no_credential", why="everybody who reaches this node may do everything")
        return None
    trust = load_node(config.credential)
    if trust.credential.name != config.name:
        raise ConfigError(
            f"{trust.credential.path} is the credential of {trust.credential.name}, and this node "
            f"is called {config.name}"
        )
    trust = with_kept_lists(trust, config.kept_lists_folder)
    until = trust.credential.valid_until_wall
    LOG.event("credential_read", cluster=trust.credential.cluster, valid_until=until)
    return Secure(trust, Identity(trust), NodeTls(trust))


def _own_connect(config: NodeConfig, as_node: ssl.SSLContext | None) -> Connect:
    """Return how the daemon connects to its broker.

    One that somebody else runs asks for a name as any other's does; its own has a socket file.
    """
    return partial(connect, tls=as_node) if config.given_broker and as_node else connect


async def _with_broker(config: NodeConfig, served: Served, secure: Secure | None) -> None:
    folder = config.broker_folder.absolute()
    if config.given_broker:
        parts = served.parts()
        if secure is not None:
            write_trust(folder, secure.trust)
            parts |= _trust_parts(config, secure)
        await _until_told(config, parts, served.manager)
        return
    peers = [Peer(name=name, address=at) for name, at in sorted(config.peers.items())]
    probes: Probes | None = None
    if secure is not None:
        now = datetime.now(tz=UTC)  # noqa: TID251 (certificates are good for a time of the real clock)
        probes = make_probes(config.name, now=now)
        write_trust(folder, secure.trust, probes)
    text = render(
        node=config.name,
        listener=config.listen,
        peers=peers,
        trust=None if secure is None else folder,
    )
    async with mosquitto(name=config.name, config=text, folder=folder) as process:
        if secure is not None and probes is not None:
            await try_permissions(config.listen, secure.trust, connect, probes)
            write_trust(folder, secure.trust)
            probes = None  # and with it the only keys that those authorities ever sign with
        parts = {**served.parts(), "mosquitto": process.keep()}
        if secure is not None:
            parts |= _trust_parts(config, secure, process)
        for peer in peers:
            stand_in = StandIn(
                node=config.name,
                own=config.own_broker,
                peer=peer,
                connect=connect,
                tls=None if secure is None else secure.tls.client,
            )
            parts[f"stand_in[{peer.name}]"] = stand_in.run()
        await _until_told(config, parts, served.manager)


def _trust_parts(
    config: NodeConfig, secure: Secure, process: MosquittoProcess | None = None
) -> dict[str, Coroutine[Any, Any, None]]:
    """Return what keeps a node's trust up to date.

    Args:
        config: the node's.
        secure: what it began with.
        process: its broker; None: somebody else's, who has it read the files again.
    """
    own = config.own_broker
    link = _own_connect(config, secure.tls.client)
    keeper = TrustKeeper(
        secure.trust,
        kept=config.kept_lists_folder,
        broker_folder=config.broker_folder.absolute(),
        own=own,
        connect=link,
        broker=process,
    )
    keeper.changed += [secure.identity.take, secure.tls.take]
    line = TrustLine(keeper, own=own, connect=link)
    watch = watch_expiry(secure.trust.credential.path, f"node[{config.name}]")
    return {"trust": keeper.keep(), "trust_line": line.run(), "credential": watch}


async def _until_told(
    config: NodeConfig,
    parts: Mapping[str, Coroutine[Any, Any, None]],
    manager: ServiceManager | None = None,
) -> None:
    """Run *parts* until a signal says to stop; an error in any of them ends all."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(part, name=f"node[{config.name}].{name}")
            for name, part in parts.items()
        ]
        LOG.event("node_running", node=config.name, listen=config.listen, blobs=config.blobs)
        await stop.wait()
        LOG.event("node_stopping", node=config.name)
        if manager is not None:
            manager.stopping()
        await end(running)
