"""`workrs enrol KIND NAME`: one more member of a cluster, and the file that proves it."""

from argparse import Namespace
from datetime import datetime
from pathlib import Path
from shlex import quote

from workrs.cli.calendar import wall_clock
from workrs.cli.error import OK
from workrs.cli.init import endpoint
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError
from workrs.trust.authority import DAYS
from workrs.trust.cluster_directory import ClusterDirectory, opened
from workrs.trust.credential import load_credential
from workrs.trust.kind import Kind
from workrs.trust.node_folder import NODE_FILE


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "enrol",
        "let a device, an agent, an operator or a node into a cluster",
        examples=(
            "workrs enrol agent a1 --cluster farm",
            "workrs enrol device pump-7 --cluster farm --days 730",
            "workrs enrol device meter-3 --cluster farm --password   # no certificate",
            "workrs enrol agent a1 --cluster farm --renew        # the old one stays valid",
            "workrs enrol node n4=10.0.0.4 --cluster farm        # docs/operations.md",
        ),
    )
    it.argument("kind", choices=[kind.value for kind in Kind], help="what it is to be")
    it.argument("name", help="its name, of a-z 0-9 . and -; of a further node NAME=HOST[:PORT]")
    add_directory_option(it)
    it.value(
        "--days",
        convert=int,
        metavar="N",
        help="how long it is valid; default "
        + ", ".join(f"{days} for {kind.value}s" for kind, days in DAYS.items()),
    )
    it.flag("--password", help="for a device: a password instead of a certificate")
    it.flag("--renew", help="a further certificate for a member that has one")
    it.many("--host", metavar="HOST", help="for a node: a further address or name of it")
    return it


def add_directory_option(options: Options) -> None:
    """Add which cluster is meant."""
    options.value(
        "--cluster",
        convert=Path,
        required=True,
        metavar="DIR",
        help="the directory that `workrs init` made",
    )


def run(asked: Namespace) -> int:
    """Enrol; print where the file is and what to do with it."""
    kind = Kind(asked.kind)
    if asked.password and (kind is not Kind.DEVICE or asked.renew or asked.days):
        raise ConfigError(
            "--password is for a device, and goes with neither --renew nor --days: revoke the old "
            "one first"
        )
    if asked.days is not None and asked.days < 1:
        raise ConfigError(f"--days {asked.days}: write 1 or more")
    if asked.host and kind is not Kind.NODE:
        raise ConfigError("--host is for nodes: nobody connects to others")
    now = wall_clock()
    with opened(asked.cluster) as directory:
        if asked.password:
            path = directory.enrol_password(asked.name, now=now)
            print(f"{path}: the password of device {asked.name}")
            print("Bring the nodes the new passwords; they are in force seconds later:")
            print(copies(directory, "passwords"))
            return OK
        if kind is Kind.NODE and "=" in asked.name and not asked.renew:
            return _add_node(directory, asked, now)
        path = directory.enrol(
            kind, asked.name, now=now, days=asked.days, renew=asked.renew, hosts=asked.host
        )
    until = load_credential(path).valid_until_wall
    print(f"{path}: {kind.value} {asked.name}, until {until}")
    return OK


def _add_node(directory: ClusterDirectory, asked: Namespace, now: datetime) -> int:
    at = endpoint(asked.name)
    path = directory.add_node(at, now=now, hosts=asked.host)
    print(f"{path.parent}: node {at.node}, until {load_credential(path).valid_until_wall}")
    print("Bring the others their new list, and start them again one by one, the new one last:")
    print(copies(directory, NODE_FILE))
    return OK


def copies(directory: ClusterDirectory, *patterns: str) -> str:
    """Return the commands that bring files to all nodes, one a line, for any POSIX shell."""
    lines = []
    for at in directory.register.nodes:
        folder = quote(str(directory.node_folder(at.node)))
        files = " ".join(f"{folder}/{pattern}" for pattern in patterns)
        lines.append(f"  scp -p {files} {at.host_in_url}:/etc/workrs/{at.node}/")
    return "\n".join(lines)
