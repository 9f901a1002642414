"""The topic grammar: every topic the project publishes or subscribes to is built here.

1. Every retained topic has exactly one writer, and the writer's name stands in it.
2. No topic has more than seven slashes; AWS IoT and others refuse more.
3. `parse_*` are total: any string gives a value or None, never an exception.
"""

from typing import NamedTuple

from workrs.domain.errors import IdError
from workrs.domain.ids import ClientId, LocalJobId, client_id, local_job_id, split_job_id

ROOT = "workrs/1"

DEVICE_VERBS = frozenset({"submit", "run", "cancel"})
AGENT_VERBS = frozenset({"claim", "outcome", "checkpoint", "release", "progress", "log"})


class Up(NamedTuple):
    """A message from a client, heard on this node's own broker or relayed by a bridge."""

    client: ClientId
    verb: str
    name: str
    """Job id (local for a device's verbs, bus id for an agent's), order id, or empty for a beat."""
    function: str
    """Function name of a `run`, else empty."""
    via: str
    """The node whose bridge relayed it, or empty when it came straight from the client."""


class Node(NamedTuple):
    """A message published by a node."""

    node: ClientId
    kind: str
    """job, spec, order, log, state, terms, barred, agent, offer, function or revoked."""
    name: str


def up(client: str, verb: str, *rest: str) -> str:
    """Return `up/{client}/{verb}[/…]` below the root."""
    return "/".join((ROOT, "up", client, verb, *rest))


def beat(client: str) -> str:
    """Return the topic of an agent's heartbeat and of its last will."""
    return f"{ROOT}/up/{client}/beat"


def node(name: str, kind: str, *rest: str) -> str:
    """Return `node/{name}/{kind}[/…]` below the root."""
    return "/".join((ROOT, "node", name, kind, *rest))


def record(node_name: str, job: str) -> str:
    """Return the topic of a node's vote on a job."""
    return f"{ROOT}/node/{node_name}/job/{job}"


def down(client: str, name: str, *rest: str) -> str:
    """Return `down/{client}/{name}[/…]`: what a client is told of its own job or order."""
    return "/".join((ROOT, "down", client, name, *rest))


def _parse_up(parts: list[str], via: str) -> Up | None:
    if len(parts) < 2:
        return None
    verb, rest = parts[1], parts[2:]
    try:
        client = client_id(parts[0])
        match verb, rest:
            case "beat", []:
                return Up(client, verb, "", "", via)
            case "run", [function, job]:
                return Up(client, verb, local_job_id(job), client_id(function), via)
            case (("submit" | "cancel" | "order" | "revoke"), [name]):
                return Up(client, verb, local_job_id(name), "", via)
            case (("claim" | "outcome" | "checkpoint" | "release" | "progress" | "log"), [job]):
                split_job_id(job)
                return Up(client, verb, job, "", via)
    except IdError:
        return None
    return None


def parse_up(topic: str) -> Up | None:
    """Parse `up/…` and `relay/{node}/…` topics; None when it is neither or malformed."""
    parts = topic.split("/")
    if len(parts) < 5 or parts[0] != "workrs" or parts[1] != "1":
        return None
    if parts[2] == "up":
        return _parse_up(parts[3:], "")
    if parts[2] != "relay":
        return None
    try:
        # An empty name would pass for a message that came straight from its client.
        return _parse_up(parts[4:], client_id(parts[3]))
    except IdError:
        return None


def parse_node(topic: str) -> Node | None:
    """Parse `node/{n}/{kind}[/{name}]`; None when it is something else or malformed."""
    parts = topic.split("/")
    if len(parts) not in (5, 6) or parts[:3] != ["workrs", "1", "node"]:
        return None
    kind = parts[4]
    name = parts[5] if len(parts) == 6 else ""
    try:
        writer = client_id(parts[3])
        match kind:
            case "job" | "spec" | "log":
                split_job_id(name)
            case "agent" | "offer" | "order" | "function" | "revoked":
                client_id(name)
            case "state" | "terms" | "barred" if not name:
                pass
            case _:
                return None
    except IdError:
        return None
    return Node(writer, kind, name)


def parse_down(topic: str) -> tuple[ClientId, LocalJobId, str] | None:
    """Parse `down/{client}/{job}[/state|/out]` into client, job and the last part or ''."""
    parts = topic.split("/")
    if len(parts) not in (5, 6) or parts[:3] != ["workrs", "1", "down"]:
        return None
    tail = parts[5] if len(parts) == 6 else ""
    if tail not in ("", "state", "out"):
        return None
    try:
        return client_id(parts[3]), local_job_id(parts[4]), tail
    except IdError:
        return None
