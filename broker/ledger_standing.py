"""What the ledger says of its node as a voter, of its peers' disks and of lost agents, in SQL.

1. Every commit counts itself: the serial on disk is the number of commits on disk.
2. Nothing of a standing goes back; the greater of old and new stays. The list of nodes is
   replaced as a whole.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

from workrs.domain.fault_history import FaultHistory
from workrs.domain.ids import ClientId
from workrs.domain.node_list import Stage
from workrs.domain.rollback import Seen
from workrs.ports.ledger import Rejoin, Standing

_COUNT: Final = "UPDATE meta SET value = value + 1 WHERE key = 'serial'"
_RAISE: Final = "UPDATE meta SET value = max(value, ?) WHERE key = ?"
_FAULTS: Final = "INSERT OR REPLACE INTO meta (key, value) VALUES ('losses', ?), ('agent_s', ?)"
_SEEN: Final = "INSERT OR REPLACE INTO peers (node, boot, nonce, serial) VALUES (?,?,?,?)"
_LIST: Final = "INSERT OR REPLACE INTO node_list (id, nodes, stage) VALUES (0, ?, ?)"
READ_STANDING: Final = "SELECT key, value FROM meta"
READ_LIST: Final = "SELECT nodes, stage FROM node_list"
READ_SEEN: Final = "SELECT node, boot, nonce, serial FROM peers"


def standing_of(rows: Iterable[tuple[str, int]], lists: Iterable[tuple[str, int]]) -> Standing:
    """Return what the rows of READ_STANDING and READ_LIST say."""
    found = dict(rows)
    nodes, stage = next(iter(lists), ("", Stage.NEW))
    return Standing(
        boot=found["boot"],
        serial=found["serial"],
        generation=found["generation"],
        rejoin=Rejoin(found["rejoin"]),
        nodes=tuple(map(ClientId, nodes.split())),
        stage=Stage(stage),
    )


def seen_of(rows: Iterable[tuple[str, int, str, int]]) -> dict[ClientId, Seen]:
    """Return what the rows of READ_SEEN say."""
    return {ClientId(node): Seen(boot, nonce, serial) for node, boot, nonce, serial in rows}


def faults_of(rows: Iterable[tuple[str, int]]) -> FaultHistory:
    """Return what the rows of READ_STANDING say of lost agents: nothing in a ledger from before."""
    found = dict(rows)
    return FaultHistory(losses=found.get("losses", 0), agent_s=found.get("agent_s", 0))


def write(
    database: sqlite3.Connection,
    seen: Mapping[ClientId, Seen],
    standings: Iterable[Standing],
    faults: FaultHistory | None,
) -> None:
    """Count the commit that is under way, and write down what it says of node and peers."""
    database.execute(_COUNT)
    for node, most in seen.items():
        database.execute(_SEEN, (node, *most))
    if faults is not None:
        database.execute(_FAULTS, (faults.losses, round(faults.agent_s)))
    for new in standings:
        for key, value in (
            ("boot", new.boot),
            ("serial", new.serial),
            ("generation", new.generation),
            ("rejoin", int(new.rejoin)),
        ):
            database.execute(_RAISE, (value, key))
        if new.nodes:
            database.execute(_LIST, (" ".join(new.nodes), int(new.stage)))
