"""Which nodes belong to a cluster, and how that may change while it works.

Lists change by one node at a time, so every majority of one list meets every majority of the
next: of n and n + 1 nodes, n // 2 + 1 and (n + 1) // 2 + 1 are together more than n + 1. Whoever
counts a job's votes by either list finds the same decision. By lists two steps apart it would
not (2 of 3 and 3 of 5), hence:

1. A node goes to a list that differs by at most one node from the one on its disk.
2. Not before the change to that one is over: every node of it has shown that it uses it, and
   every job that any of them had open then is decided. So no job lives under three lists. And
   every node of it has taken over which jobs the others have retired: a majority of the list
   before knew, which may be too few for the list after.
3. A node whose ledger is new votes only among nodes that show its very list.
4. A new node has no votes that it could have forgotten, so it needs no re-admission.

Not promised: that a job which nobody ever finishes does not stand in the way of the next change.
"""

from collections.abc import Collection, Sequence
from enum import IntEnum

from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId


class Stage(IntEnum):
    """How far a ledger's node is with its list. Only a new list takes it back."""

    NEW = 0
    """The ledger has never been through a change, or through its cluster's beginning."""
    CHANGING = 1
    """Jobs may be open whose votes somebody counted by the list before."""
    OVER = 2


def distance(one: Collection[str], other: Collection[str]) -> int:
    """Return in how many nodes two lists differ."""
    return len(set(one) ^ set(other))


def are_near(one: Collection[str], other: Collection[str], stage: Stage) -> bool:
    """Return whether a node with list *one* at *stage* may vote beside one with the other."""
    return distance(one, other) <= (stage is not Stage.NEW)


def step(
    known: Sequence[ClientId], stage: Stage, asked: Sequence[ClientId]
) -> tuple[tuple[ClientId, ...], Stage]:
    """Return the list and the stage with which a node starts.

    Args:
        known: the list on its disk; empty: none yet.
        stage: the one on its disk.
        asked: the list that it was started with.

    Raises:
        ConfigError: that would be more than one step from what other nodes may use.
    """
    if not known:
        return tuple(asked), Stage.OVER if len(asked) == 1 else Stage.NEW
    if set(asked) == set(known):
        return tuple(asked), stage
    shown = f"from {', '.join(sorted(known))} to {', '.join(sorted(asked))}"
    if distance(known, asked) > 1:
        raise ConfigError(
            f"the list of nodes would change {shown}: add or remove one node at a time, and "
            "wait for node_list_settled of every node in between (docs/operations.md)"
        )
    if stage is not Stage.OVER:
        raise ConfigError(
            f"the list of nodes would change {shown}, and the change before is not over: start "
            "with the former list, and wait for node_list_settled of every node "
            "(docs/operations.md)"
        )
    return tuple(asked), Stage.OVER if len(asked) == 1 else Stage.CHANGING
