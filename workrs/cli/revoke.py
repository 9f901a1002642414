"""`workrs revoke NAME`: a member is let in no more, and what it has open is cut."""

import asyncio
import sys
from argparse import Namespace
from pathlib import Path

from workrs.cli.calendar import wall_clock
from workrs.cli.connection import Caller
from workrs.cli.enrol import add_directory_option, copies
from workrs.cli.error import FAILED, OK, NoNodeError
from workrs.cli.harmless import harmless
from workrs.cli.list_sender import Spread, bring
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError
from workrs.ports.bus import PAYLOAD_MAX_BYTES, Address
from workrs.trust.cluster_directory import REVOKED_SUFFIX, ClusterDirectory, opened
from workrs.trust.credential import Credential, load_credential
from workrs.trust.kind import Kind
from workrs.trust.node_folder import NODE_FILE


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "revoke",
        "shut a member out of a cluster",
        examples=(
            "workrs revoke pump-7 --cluster farm",
            "workrs revoke a1 --cluster farm --old    # all but its newest",
            "workrs revoke pump-7 --cluster farm --by-hand    # the cluster is down",
        ),
    )
    it.argument("name", help="its name; every certificate and password under it ends")
    add_directory_option(it)
    it.flag("--old", help="keep the newest certificate under the name, and end the others")
    it.value(
        "--credential",
        convert=Path,
        metavar="FILE",
        help="the operator that brings the new lists to the nodes; default one in DIR/members",
    )
    it.flag("--by-hand", help="do not reach for the nodes: print how to copy the lists to them")
    return it


def run(asked: Namespace) -> int:
    """Revoke, and have the nodes know it; or say what to bring where."""
    with opened(asked.cluster) as directory:
        given = None if asked.by_hand else _given(directory, asked.credential)
        print(_revoke(directory, asked))
        spread = Spread(
            nodes=[at.node for at in directory.register.nodes],
            lists=directory.lists(),
            authorities=directory.authorities,
        )
        who = None if asked.by_hand else _operator(directory, given)
    by_hand = copies(directory, "revoked-*.pem", "passwords")
    if directory.register.is_former_node(asked.name):
        print("It was a node. Bring the others their new list, and start them again one by one:")
        print(copies(directory, NODE_FILE))
    if asked.by_hand:
        print("The nodes shut it out seconds after they have the new lists:")
        print(by_hand)
        return OK
    if who is None:
        trouble = (
            f"there is no operator's credential in {directory.path} to reach the nodes with: give "
            "--credential FILE, or enrol an operator and give this command again"
        )
    else:
        trouble = _send(spread, who)
    if not trouble:
        return OK
    print(f"The nodes were NOT told: {trouble}", file=sys.stderr)
    print("Give the command again when they can be reached, or copy the lists:", file=sys.stderr)
    print(by_hand, file=sys.stderr)
    return FAILED


def _revoke(directory: ClusterDirectory, asked: Namespace) -> str:
    """Revoke in the directory; return what there is to say."""
    name, register = asked.name, directory.register
    since = register.revoked_at(name)
    if since and not register.of(name):
        return f"{name} is revoked since {since}. The nodes are told again."
    if since and asked.old and len(register.of(name)) == 1:
        return f"The older credentials of {name} are revoked since {since}."
    ended = directory.revoke(name, now=wall_clock(), keep_newest=asked.old)
    kinds = " and ".join(sorted({entry.kind.value for entry in ended}))
    if asked.old:
        return f"{name} ({kinds}) keeps its newest credential; revoked: {len(ended)} older."
    return f"{name} ({kinds}) is revoked: {len(ended)} of its credentials ended here."


def _given(directory: ClusterDirectory, path: Path | None) -> Credential | None:
    """Return the credential that was given to bring the lists, before anything is changed.

    None: none was, or it was revoked and put aside; then another operator's does.

    Raises:
        ConfigError: it cannot be read, or is of another cluster.
    """
    if path is None or (not path.exists() and path.with_suffix(REVOKED_SUFFIX).exists()):
        return None
    credential = load_credential(path)
    if credential.authority.strip() != directory.authorities[Kind.NODE].strip():
        raise ConfigError(
            f"{path} is a credential of another cluster than {directory.path}, and nothing was "
            "revoked: give --credential of an operator of this one, or unset WORKRS_CREDENTIAL"
        )
    return credential


def _operator(directory: ClusterDirectory, given: Credential | None) -> Caller | None:
    """Return who is to bring the lists, now that somebody is revoked; None: nobody can."""
    if given is not None and given.kind is Kind.OPERATOR and directory.register.of(given.name):
        return _caller(given)
    found = directory.an_operator()
    return None if found is None else _caller(found)


def _caller(credential: Credential) -> Caller:
    nodes = tuple(Address(host=at.host, port=at.port) for at in credential.nodes)
    return Caller(nodes=nodes, user=credential.name, credential=credential)


def _send(spread: Spread, who: Caller) -> str:
    """Bring the lists; return why that did not work, or nothing."""
    if any(len(each.text) > PAYLOAD_MAX_BYTES for each in spread.lists):
        return f"a list has more than {PAYLOAD_MAX_BYTES >> 10} KiB, too much for the bus"
    try:
        asyncio.run(bring(spread, who))
    except NoNodeError as error:
        return "; ".join(error.failures)
    if refusal := spread.refusal():
        return harmless(refusal)
    having = spread.having()
    if not having:
        return "no node answered in time"
    print(f"In force at {', '.join(having)}.")
    if missing := [node for node in spread.nodes if node not in having]:
        print(f"Not yet at {', '.join(missing)}: what was away takes them when it is back.")
    return ""
