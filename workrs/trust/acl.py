"""What each kind of member may say and hear, topic by topic, and Mosquitto's files made of it.

1. A topic that is not in `RULES` is nobody's. docs/protocol.md has the same table for humans,
   and a test holds the two together.
2. `SELF` stands for the name in the member's certificate. So a member writes under its own name
   alone, and no member's name stands in any file.
3. Mosquitto 2.0 takes every subscription and then passes on only what may be read.

A node's bridge writes at its peers what it relays (`relay/SELF`) and what it says (`node/SELF`);
at its own broker the daemon is let in by a socket that nobody else can open, and may use all.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from workrs.trust.kind import Kind
from workrs.wire.topics import ROOT

SELF: Final = "{self}"
"""The level of a topic that must be the member's own name."""
_DEVICES: Final = (Kind.DEVICE, Kind.OPERATOR)
"""An operator may submit, too, as itself."""


class Rule(NamedTuple):
    """One kind of topic, below the root: who may write it, who may read it."""

    topic: str
    writers: Sequence[Kind] = ()
    readers: Sequence[Kind] = ()


RULES: Final = (
    Rule("up/{self}/submit/+", writers=_DEVICES),
    Rule("up/{self}/run/+/+", writers=_DEVICES),
    Rule("up/{self}/cancel/+", writers=_DEVICES),
    Rule("down/{self}/+", readers=_DEVICES),
    Rule("down/{self}/+/state", readers=_DEVICES),
    Rule("down/{self}/+/out", readers=_DEVICES),
    Rule("up/{self}/beat", writers=[Kind.AGENT]),
    Rule("up/{self}/claim/+", writers=[Kind.AGENT]),
    Rule("up/{self}/outcome/+", writers=[Kind.AGENT]),
    Rule("up/{self}/checkpoint/+", writers=[Kind.AGENT]),
    Rule("up/{self}/release/+", writers=[Kind.AGENT]),
    Rule("up/{self}/progress/+", writers=[Kind.AGENT]),
    Rule("up/{self}/log/+", writers=[Kind.AGENT]),
    Rule("up/{self}/order/+", writers=[Kind.OPERATOR]),
    Rule("up/{self}/revoke/+", writers=[Kind.OPERATOR]),
    Rule("relay/{self}/#", writers=[Kind.NODE]),
    Rule("node/{self}/#", writers=[Kind.NODE]),
    Rule("node/+/job/+", readers=[Kind.AGENT]),
    Rule("node/+/state", readers=_DEVICES),
    Rule("node/+/terms", readers=[Kind.AGENT]),
    Rule("node/+/agent/{self}", readers=[Kind.AGENT]),
    Rule("node/+/offer/{self}", readers=[Kind.AGENT]),
    Rule("node/+/order/{self}", readers=[Kind.AGENT]),
    Rule("echo/{self}", writers=[Kind.AGENT], readers=[Kind.AGENT]),
    # An operator is connected more than once at a time, each time under an id of its own.
    Rule("echo/+", writers=[Kind.OPERATOR], readers=[Kind.OPERATOR]),
    # It sees everything that happens, and a dashboard for it needs no rule of its own.
    Rule("#", readers=[Kind.OPERATOR]),
)


def acl(kind: Kind) -> str:
    """Return the file for the listeners of one kind."""
    lines = [
        f"pattern {access} {ROOT}/{rule.topic.replace(SELF, '%u')}"
        for rule in RULES
        for access, kinds in (("write", rule.writers), ("read", rule.readers))
        if kind in kinds
    ]
    if kind is Kind.OPERATOR:
        lines.append("pattern read $SYS/#")
    return "\n".join(lines) + "\n"


def may(kind: Kind, name: str, access: str, topic: str) -> bool:
    """Return whether a member may use a topic, as the file makes Mosquitto decide it.

    Args:
        kind: the member's.
        name: the member's.
        access: ``write`` or ``read``.
        topic: in full, without wildcards.
    """
    return any(
        kind in (rule.writers if access == "write" else rule.readers)
        and _covers(f"{ROOT}/{rule.topic.replace(SELF, name)}".split("/"), topic.split("/"))
        for rule in RULES
    )


def forbidden(kind: Kind, name: str) -> list[str]:
    """Return topics that a member of this kind must not be able to publish to.

    One for each rule of another kind, and one for each of its own under another's name. An
    empty message there does no harm if it gets through: no job and no node is called so.
    """
    found = []
    for rule in RULES:
        for who in (name, "somebody-else"):
            topic = f"{ROOT}/{rule.topic.replace(SELF, who)}".replace("+", "x_0").replace("#", "x")
            if not may(kind, name, "write", topic):
                found.append(topic)
    return found


def _covers(pattern: list[str], topic: list[str]) -> bool:
    if pattern[-1:] == ["#"]:
        head = pattern[:-1]
        return len(topic) >= len(head) and _covers(head, topic[: len(head)])
    return len(pattern) == len(topic) and all(
        ours in ("+", theirs) for ours, theirs in zip(pattern, topic, strict=True)
    )
