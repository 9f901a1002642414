"""`workrs node`: one node of a cluster, in the foreground."""

import logging
from argparse import Namespace
from pathlib import Path

from broker.config import NodeConfig
from broker.ledger_retention import HistoryLimits
from workrs.adapters import log
from workrs.adapters.stores.address import shared_location
from workrs.cli.connection import address, credential_of, member_name
from workrs.cli.number import count, seconds
from workrs.cli.options import Options
from workrs.cli.quota_options import add_quota_options, quotas
from workrs.cli.state_folder import state_home
from workrs.cli.web_options import add_web_options
from workrs.domain.errors import ConfigError, IdError
from workrs.domain.ids import client_id
from workrs.domain.lease import LeaseTiming
from workrs.ports.bus import PORT_MAX, Address
from workrs.trust.kind import Kind

_BLOBS_PORT_OFFSET = 10_000
_DEFAULT = LeaseTiming()
_HISTORY = HistoryLimits()
_LOCAL = Address(host="127.0.0.1", port=1883)


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "node",
        "run a node: broker, votes, blob store",
        examples=(
            "workrs node --name n1 --listen 127.0.0.1:1883 --init    # a cluster of one",
            "workrs node --credential /etc/workrs/n1 --functions functions.toml --init",
            "workrs node --credential /etc/workrs/n2 --rejoin    # its disk was lost",
            "workrs node --name n1 --listen 127.0.0.1:1883 --peer n2=127.0.0.1:1884 \\",
            "    --peer n3=127.0.0.1:1885    # one of three, to try things with",
        ),
    )
    it.value("--name", convert=client_id, metavar="NAME", help="its name; default the credential's")
    it.value(
        "--credential",
        convert=Path,
        metavar="DIR",
        help="the folder that `workrs init` wrote for this node: its certificate, and all nodes",
    )
    it.flag("--insecure", help="without a credential let everybody in, from other machines, too")
    it.value(
        "--listen",
        convert=address,
        metavar="HOST:PORT",
        help="where its broker listens, with a credential the first of five ports; default what "
        f"the credential says, or {_LOCAL}",
    )
    it.many(
        "--peer",
        convert=peer,
        metavar="NAME=HOST:PORT",
        help="another node's broker; name all of them, on every node; default the credential's",
    )
    add_state_option(it)
    _add_ledger(it)
    it.value(
        "--functions", convert=Path, metavar="FILE", help="functions.toml: adds what is new in it"
    )
    it.many(
        "--allow-image",
        metavar="PATTERN",
        help="image that jobs may name, * for any characters, the same on all nodes; default all",
    )
    it.value(
        "--blobs",
        convert=address,
        metavar="HOST:PORT",
        help="where its blob store listens; default the host of --listen, its port + 10000, "
        f"or - 10000 above {PORT_MAX - _BLOBS_PORT_OFFSET}",
    )
    add_stores_option(it)
    it.value("--blobs-url", metavar="URL", help="how others reach it; default http://BLOBS")
    it.flag("--given-broker", help="a Mosquitto already runs at --listen: start none")
    _add_timing(it)
    _add_limits(it)
    _add_pages(it)
    it.flag("--verbose", help="log details")
    return it


def _add_limits(it: Options) -> None:
    add_quota_options(it)
    it.value(
        "--history-keep",
        convert=seconds,
        metavar="TIME",
        help="how long what happened is kept for workrs history, for example 12h; default 30d",
    )
    it.value(
        "--history-max",
        convert=count,
        default=_HISTORY.rows_max,
        metavar="ROWS",
        help="most of it: a job leaves about five rows, and one for each checkpoint",
    )


def _add_pages(it: Options) -> None:
    add_metrics_option(it)
    add_web_options(it)


def _add_ledger(it: Options) -> None:
    it.flag("--init", help="make its database if there is none: only for a new node")
    it.flag("--rejoin", help="after its disk was lost: have the other nodes re-admit it")
    it.flag("--no-start", help="with --init or --rejoin: make the database, and end")


def _add_timing(it: Options) -> None:
    _add_seconds(it, "--lease-ttl", _DEFAULT.ttl_s, "life of a lease")
    _add_seconds(it, "--heartbeat-period", _DEFAULT.heartbeat_period_s, "of agents")
    _add_seconds(
        it, "--lease-margin", _DEFAULT.margin_s, "how long before its end an agent freezes a job"
    )
    _add_seconds(
        it,
        "--reconnect-grace",
        _DEFAULT.reconnect_grace_s,
        "how long a broken connection may take to come back",
    )


def _add_seconds(options: Options, flag: str, default: float, text: str) -> None:
    options.value(flag, convert=seconds, default=default, metavar="SECONDS", help=text)


def add_state_option(options: Options) -> None:
    """Add where a node or agent keeps its files."""
    options.value(
        "--state",
        convert=Path,
        metavar="DIR",
        help="its files; default /var/lib/workrs/NAME for root, else ~/.local/state/workrs/NAME",
    )


def add_stores_option(options: Options) -> None:
    """Add the stores that belong to no node."""
    options.many(
        "--store",
        convert=shared_location,
        metavar="URL",
        help="where checkpoints go instead of the nodes' disks, the same on all nodes and agents: "
        "file:///FOLDER, s3://BUCKET/PREFIX, gs://…, az://CONTAINER/PREFIX",
    )


def add_metrics_option(options: Options) -> None:
    """Add where a node or agent answers Prometheus."""
    options.value(
        "--metrics",
        convert=address,
        metavar="HOST:PORT",
        help="answer /metrics, /health and /ready there, to everybody; default nowhere",
    )


def state_directory(asked: Namespace) -> Path:
    """Return where a node or agent keeps its files."""
    given: Path | None = asked.state
    # Absolute: programs are told paths in it, and do not run where this command was typed.
    return (given or state_home() / str(asked.name)).absolute()


def peer(text: str) -> tuple[str, Address]:
    """Return name and address of `NAME=HOST:PORT`, or raise ConfigError."""
    name, mark, at = text.partition("=")
    if not mark:
        raise ConfigError("write NAME=HOST:PORT, for example n2=10.0.0.2:1883")
    try:
        return client_id(name), address(at)
    except IdError as error:
        raise ConfigError(str(error)) from error


def config(asked: Namespace) -> NodeConfig:
    """Return the node's configuration, or raise ConfigError."""
    peers: dict[str, Address] = {}
    for name, at in asked.peer:
        if name in peers:
            raise ConfigError(f"peer {name} is named twice")
        peers[name] = at
    listen = asked.listen or _LOCAL
    credential = credential_of(asked, Kind.NODE)
    if credential is not None:
        named = {at.node: Address(host=at.host, port=at.port) for at in credential.nodes}
        listen = asked.listen or named.get(credential.name, _LOCAL)
        peers = peers or {name: at for name, at in named.items() if name != credential.name}
    name = member_name(asked, credential)
    over = listen.port + _BLOBS_PORT_OFFSET > PORT_MAX
    port = listen.port + (-_BLOBS_PORT_OFFSET if over else _BLOBS_PORT_OFFSET)
    return NodeConfig(
        name=name,
        listen=listen,
        peers=peers,
        credential=asked.credential,
        insecure=asked.insecure,
        metrics=asked.metrics,
        web=asked.web,
        web_scripts=dict(asked.web_script),
        web_upload_max_bytes=asked.web_upload_mb << 20,
        state_dir=state_directory(asked),
        blobs=asked.blobs or Address(host=listen.host, port=port),
        blobs_url=asked.blobs_url or "",
        stores=tuple(asked.store),
        given_broker=asked.given_broker,
        functions=asked.functions,
        allowed_images=tuple(asked.allow_image),
        init=asked.init,
        rejoin=asked.rejoin,
        no_start=asked.no_start,
        timing=LeaseTiming(
            ttl_s=asked.lease_ttl,
            heartbeat_period_s=asked.heartbeat_period,
            margin_s=asked.lease_margin,
            reconnect_grace_s=asked.reconnect_grace,
        ),
        quotas=quotas(asked),
        history=HistoryLimits(
            keep_s=_HISTORY.keep_s if asked.history_keep is None else asked.history_keep,
            rows_max=asked.history_max,
        ),
    )


def run(asked: Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    from broker.__main__ import run_node  # noqa: PLC0415 (the help needs none of it)

    log.configure(level=logging.DEBUG if asked.verbose else logging.INFO)
    return run_node(config(asked))
