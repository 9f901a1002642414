"""A manifest's body: JSON, and read so that no body of junk takes much memory or time.

1. Sizes and counts are looked at first, then plain values are read, then these one by one to
   ours, the first wrong one being the last. Read at once, by its types, a body of junk took
   1.5 KB for each mark in it, and more for each error: 440 MiB in all.
2. Whatever `encode_manifest` returns, `decode_manifest` takes.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields as dataclass_fields
from types import MappingProxyType
from typing import TypeVar

from pydantic_core import from_json, to_json

from edge_agent.checkpoint.manifest import (
    BLOBS_MAX,
    ENTRIES_MAX,
    Blob,
    Entry,
    Head,
    Manifest,
    require,
)
from workrs.domain.errors import CheckpointError, WireError
from workrs.wire.codec import decode, encode

T = TypeVar("T")

BODY_BYTES_MAX = 32 << 20
"""Unpacked."""
_MARKS_MAX = 1 << 18
"""Commas and brackets in a body: reading JSON takes up to 240 bytes for each, before anything
of it can be judged. A manifest of 20,000 entries and 100 GiB of blobs stays below."""
_FIELDS_MAX = 32
"""In one object of a body."""
_WORDS_MAX = 4096
"""In the command."""


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's body, to be sealed; CheckpointError if no reader would take it."""
    body = encode(manifest)
    _refuse_huge(body)
    return body


def _refuse_huge(body: bytes) -> None:
    marks = sum(body.count(mark) for mark in (b",", b"[", b"{"))
    require(ok=len(body) <= BODY_BYTES_MAX, text=f"a body of {len(body)} bytes")
    require(ok=marks <= _MARKS_MAX, text="its body has too many parts")


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest in *data*, or raise CheckpointError. Total over junk."""
    _refuse_huge(data)
    try:
        fields, entries, blobs, extents = _parts(from_json(data, allow_inf_nan=False))
        head = _read(Head, fields, lists={"command": _WORDS_MAX}, objects={"host"})
        return Manifest(
            **{field.name: getattr(head, field.name) for field in dataclass_fields(Head)},
            entries=tuple(_read(Entry, entry) for entry in entries),
            blobs=tuple(_read(Blob, blob) for blob in blobs),
            map=extents,
        )
    except WireError as error:
        raise CheckpointError(f"the manifest is not valid: {error}") from None
    except ValueError as error:
        raise CheckpointError(f"the manifest is no JSON: {str(error)[:200]}") from None


def _parts(plain: object) -> tuple[dict[str, object], list[object], list[object], str]:
    """Return the fields, entries, blobs and map in a body."""
    if not isinstance(plain, dict):
        raise CheckpointError("the manifest is not valid: it is no object")
    entries, blobs = plain.get("entries"), plain.get("blobs")
    if not (isinstance(entries, list) and isinstance(blobs, list)):
        raise CheckpointError("the manifest is not valid: a list is missing")
    require(ok=len(entries) <= ENTRIES_MAX, text=f"{len(entries)} entries")
    require(ok=len(blobs) <= BLOBS_MAX, text=f"{len(blobs)} blobs")
    fields = {key: value for key, value in plain.items() if key not in ("entries", "blobs", "map")}
    extents = plain.get("map")
    if not isinstance(extents, str):
        raise CheckpointError("the manifest is not valid: it has no map")
    return fields, entries, blobs, extents


def _read(
    kind: type[T],
    plain: object,
    *,
    lists: Mapping[str, int] = MappingProxyType({}),
    objects: Collection[str] = (),
) -> T:
    """Return the *kind* that plain values make, of which only the named ones have parts.

    Raises:
        CheckpointError: it has too many.
        WireError: they make none.
    """
    if not isinstance(plain, dict):
        raise CheckpointError(f"the manifest is not valid: a {kind.__name__.lower()} is no object")
    require(ok=len(plain) <= _FIELDS_MAX, text=f"{len(plain)} fields")
    for name, value in plain.items():
        if isinstance(value, list):
            require(ok=len(value) <= lists.get(name, 0), text=f"{len(value)} values in a list")
            require(ok=all(isinstance(word, str) for word in value), text="a word is none")
        elif isinstance(value, dict):
            require(ok=name in objects and len(value) <= _FIELDS_MAX, text="an object too many")
            flat = not any(isinstance(part, list | dict) for part in value.values())
            require(ok=flat, text="an object too deep")
    return decode(kind, to_json(plain))
