"""What a node knows of functions: its own records, and how far each peer is known to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workrs.wire import codec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workrs.domain.function import Function, FunctionRecord, Stamp
    from workrs.domain.ids import ClientId, Digest, LocalJobId


@dataclass(slots=True)
class FunctionTable:
    """What a node knows of functions."""

    records: dict[str, FunctionRecord] = field(default_factory=dict)
    definitions: dict[str, Function] = field(default_factory=dict)
    """Of those that can be called."""
    sizes_bytes: dict[str, int] = field(default_factory=dict)
    """Of definitions, as they travel."""
    filed: dict[str, Digest] = field(default_factory=dict)
    """What the node's own file had at its last start."""
    shown: dict[str, dict[ClientId, Stamp]] = field(default_factory=dict)
    """The newest that each peer has on its disk."""
    unsaved: dict[str, None] = field(default_factory=dict)
    unsettled: dict[str, None] = field(default_factory=dict)
    """Not yet shown by every node."""
    waiting: dict[tuple[ClientId, LocalJobId], tuple[str, Stamp]] = field(default_factory=dict)
    """Orders that are not answered yet, by operator and id, and what they led to."""

    def put(self, record: FunctionRecord) -> None:
        """Know this of a function from now on."""
        name, definition = record.function, record.definition
        self.records[name] = record
        self.unsettled[name] = None
        if definition is None:
            self.definitions.pop(name, None)
            self.sizes_bytes.pop(name, None)
        else:
            self.definitions[name] = definition
            self.sizes_bytes[name] = len(codec.encode(definition))

    def lacking(self, name: str, nodes: Iterable[ClientId]) -> list[ClientId]:
        """Return those of *nodes* that do not show what is known of a function here."""
        stamp, shown = self.records[name].stamp, self.shown.get(name, {})
        return [node for node in nodes if shown.get(node) != stamp]
