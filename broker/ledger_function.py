"""Functions in the ledger, in SQL: one row each, removed ones too.

A version that would go back is refused by the schema, see `broker.ledger_file`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from broker import ledger_file
from workrs.domain.errors import WireError
from workrs.domain.function import FunctionRecord
from workrs.domain.ids import Digest
from workrs.ports.ledger import SaveFunction
from workrs.wire import codec

INSERT: Final = (
    "INSERT INTO functions (function, version, digest, filed, body) VALUES ",
    "(?,?,?,?,?)",
    (
        " ON CONFLICT (function) DO UPDATE SET version = excluded.version,"
        " digest = excluded.digest, filed = excluded.filed, body = excluded.body"
    ),
)
READ: Final = "SELECT filed, body FROM functions ORDER BY function"


def row(saved: SaveFunction) -> tuple[str | int, ...]:
    """Return the row of a function."""
    record = saved.record
    body = codec.encode(record).decode()
    return (record.function, record.version, record.digest, saved.filed, body)


def functions_of(rows: Iterable[tuple[str, str]], path: Path) -> list[SaveFunction]:
    """Return what the rows of READ say.

    Raises:
        LedgerError: one of them is no function; *path* stands in the text.
    """
    try:
        return [
            SaveFunction(record=codec.decode(FunctionRecord, body.encode()), filed=Digest(filed))
            for filed, body in rows
        ]
    except WireError as error:
        raise ledger_file.damaged(path, f"a function: {error}") from error
