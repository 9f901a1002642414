"""`workrs init DIRECTORY`: the certificates of a new cluster, and what each node needs of them."""

import ipaddress
from argparse import Namespace
from pathlib import Path

from broker.config import SIZES
from workrs.cli.calendar import wall_clock
from workrs.cli.connection import user_name
from workrs.cli.error import OK
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError
from workrs.ports.bus import PORT_MAX, Address
from workrs.trust.cluster_directory import ClusterDirectory, create
from workrs.trust.credential import Endpoint
from workrs.trust.kind import LISTEN_PORT, PORTS, Kind, member_name
from workrs.trust.register import Register

CHECKPOINT_KEY = "checkpoint.key"
_DIGITS_MAX = 5
"""Of a port."""


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "init",
        "make the certificates of a new cluster",
        examples=(
            "workrs init farm n1=10.0.0.1 n2=10.0.0.2 n3=10.0.0.3",
            "workrs init lab n1=node.lab.example:8883 --user ann",
        ),
    )
    it.argument("directory", help="made anew; it stays with the operator, with a backup")
    it.argument(
        "nodes",
        nargs="+",
        help="NAME=HOST[:PORT] of each, as the others and all clients reach it: 1, 3 or 5. A node "
        f"takes the port, {LISTEN_PORT} unless told, and the {PORTS - 1} after it",
    )
    it.value("--cluster-name", metavar="NAME", help="for humans; default the directory's")
    it.value(
        "--user", key="operator", metavar="NAME", help="the first operator; default your login name"
    )
    return it


def endpoint(text: str) -> Endpoint:
    """Return the node that `NAME=HOST` or `NAME=HOST:PORT` names, or raise ConfigError."""
    name, mark, at = text.partition("=")
    host, colon, port = at.rpartition(":") if not _is_bare_v6(at) else (at, "", "")
    host = host if colon else at
    host = host.removeprefix("[").removesuffix("]")
    if ":" in host and not _is_bare_v6(host):
        raise ConfigError(f"{text}: write an IPv6 address as {name}=[ADDRESS]:PORT")
    is_number = port.isascii() and port.isdigit() and len(port) <= _DIGITS_MAX
    if not mark or not host or (colon and not is_number):
        raise ConfigError("write NAME=HOST or NAME=HOST:PORT, for example n1=10.0.0.1")
    if not Address(host=host, port=0).is_possible:
        raise ConfigError(f"{host[:80]!r}: no host can have such a name; write NAME=HOST:PORT")
    if Address(host=host, port=0).is_wildcard:
        raise ConfigError(
            f"{name}={host}: nobody can reach that address. Name the one that the others and all "
            f"clients use; the node itself may listen everywhere, with --listen {_at_all(host)}"
        )
    number = int(port) if colon else LISTEN_PORT
    if not 0 < number <= PORT_MAX - PORTS:
        raise ConfigError(f"port {number}: write 1 to {PORT_MAX - PORTS}")
    return Endpoint(member_name(name), host, number)


def _at_all(host: str) -> str:
    """Return how a node is told to listen at all addresses."""
    return f"[{host}]:{LISTEN_PORT}" if ":" in host else f"{host}:{LISTEN_PORT}"


def _is_bare_v6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.removeprefix("[").removesuffix("]")).version == 6
    except ValueError:
        return False


def run(asked: Namespace) -> int:
    """Make the directory, and say what to bring where."""
    nodes = tuple(endpoint(text) for text in asked.nodes)
    if len(nodes) not in SIZES or len({at.node for at in nodes}) != len(nodes):
        raise ConfigError(f"{len(nodes)} nodes: name 1, 3 or 5 different ones")
    path = Path(asked.directory)
    operator = user_name(asked)
    register = Register(cluster=asked.cluster_name or path.absolute().name, nodes=nodes)
    now = wall_clock()
    if operator in {at.node for at in nodes}:
        raise ConfigError(f"{operator} is a node: name the operator otherwise, with --user")
    directory = create(path, register, now=now)
    mine = directory.enrol(Kind.OPERATOR, operator, now=now)
    _make_checkpoint_key(path)
    print(report(directory, mine))
    return OK


def _make_checkpoint_key(path: Path) -> None:
    from edge_agent.checkpoint.keys import new_ring, write_keys  # noqa: PLC0415

    write_keys(path / CHECKPOINT_KEY, new_ring())


def report(directory: ClusterDirectory, operator: Path) -> str:
    """Return what was made, and what to do with it."""
    path, register = directory.path, directory.register
    ends = {entry.kind: entry.ends[:10] for entry in register.members}
    lines = [
        f"Cluster {register.cluster}: authorities until {directory.ends:%Y-%m-%d},",
        f"nodes until {ends[Kind.NODE]}.",
        "",
        "Copy each node's folder to its machine, for its eyes only, and start it:",
    ]
    for at in register.nodes:
        lines.append(
            f"  {directory.node_folder(at.node)}  ->  {at.host_in_url}:/etc/workrs/{at.node}"
        )
        lines.append(f"    workrs node --credential /etc/workrs/{at.node} --init")
    lines += [
        "",
        f"You are operator {operator.stem}, until {ends[Kind.OPERATOR]}:",
        f"  export WORKRS_CREDENTIAL={operator.absolute()}",
        "  workrs jobs",
        "",
        "Enrol who is to join, and bring each its file; agents get the checkpoint key, too:",
        f"  workrs enrol agent a1 --cluster {path}",
        f"  workrs enrol device pump-7 --cluster {path}",
        f"  {path / CHECKPOINT_KEY}",
        "",
        f"Whoever has {path / 'authority'} can make members. Keep it off the nodes.",
    ]
    return "\n".join(lines)
