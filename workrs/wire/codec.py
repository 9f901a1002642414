"""JSON in and out, by pydantic, over the frozen dataclasses of domain and wire.

1. `decode` is total over junk: it returns a value or raises WireError, nothing else.
2. The error's text is written for the sender: field, what was found, what is wanted.
3. Types are strict: "1" is no number, 1.0 is no integer, and what JSON has no word for (NaN, or
   1e999, which is beyond every float) is neither: in a line of the ledger's history it would be
   text that SQLite cannot read.
4. Whatever comes takes at most MEMORY_PER_BYTE times its size while it is looked at, and
   MEMORY_MAX_BYTES: of a sequence only the first mistake is kept, and no more than VALUES_MAX
   values are looked at. Without both, 256 KiB took up to 180 MB and 0.4 s (`{}` for each
   checkpoint of a record).
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from workrs.domain.errors import WireError, WorkrsError

T = TypeVar("T")

WHERE_MAX = 100
TEXT_MAX = 400
"""Characters of an error that are told: the rest would be the sender's own words."""
ERRORS_MAX = 1000
"""More are counted and not looked at: each takes 1 KB and 10 us, and an object can have many."""
VALUES_MAX: Final = 20_000
"""Elements of all arrays and objects together: the leases of a heartbeat are the most that honest
messages have, four for each. The parser takes up to 600 bytes and 1 us for one of three bytes."""
MEMORY_PER_BYTE: Final = 300
MEMORY_MAX_BYTES: Final = 32 << 20
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string of JSON. Its last mark may be missing, or one that never ends would be looked for
again at every mark in it."""

_adapters: dict[object, TypeAdapter[Any]] = {}
_validators: dict[object, SchemaValidator] = {}
_SEQUENCES: Final = ("tuple", "list", "set", "frozenset")


def _adapter(kind: Any) -> TypeAdapter[Any]:
    found = _adapters.get(kind)
    if found is None:
        found = _adapters[kind] = TypeAdapter(kind)
    return found


def _validator(kind: Any) -> SchemaValidator:
    found = _validators.get(kind)
    if found is None:
        schema = _strictened(_adapter(kind).core_schema)
        found = _validators[kind] = SchemaValidator(schema)
    return found


def _strictened(schema: Any) -> Any:
    """Return a pydantic schema whose sequences end at their first mistake, with finite floats.

    Annotations at each field would do the same, and the domain would have to import pydantic.
    """
    if isinstance(schema, list):
        return [_strictened(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strictened(part) for key, part in schema.items()}
    if schema.get("type") == "float":
        return {**found, "allow_inf_nan": False}
    return {**found, "fail_fast": True} if schema.get("type") in _SEQUENCES else found


def encode(value: object) -> bytes:
    """Return *value* as JSON. Fields that have their default are left out."""
    return _adapter(type(value)).dump_json(value, exclude_defaults=True)


def decode(kind: type[T], payload: bytes) -> T:
    """Return the *kind* that *payload* holds, or raise WireError."""
    _refuse_crowd(payload)
    try:
        value: T = _validator(kind).validate_json(payload, strict=True)
    except ValidationError as error:
        raise WireError(_explain(error)) from None
    except WorkrsError as error:
        # A value's own constructor refused it; only those that are ValueErrors come wrapped.
        raise WireError(str(error)[:TEXT_MAX]) from None
    return value


def _refuse_crowd(payload: bytes) -> None:
    """Raise WireError for more than VALUES_MAX values, which commas outside of strings part."""
    if payload.count(b",") > VALUES_MAX and _STRING.sub(b"", payload).count(b",") > VALUES_MAX:
        raise WireError(f"more than {VALUES_MAX} values in one message")


def _explain(error: ValidationError) -> str:
    if error.error_count() > ERRORS_MAX:
        return f"{error.error_count()} values are not what is wanted"
    found = error.errors(include_url=False, include_context=True, include_input=False)
    # Of several readings of one value (text, or {"b64": ...}) the one that was meant is the
    # one whose own constructor had something to say.
    first = next((one for one in found if one["type"] == "value_error"), found[0])
    where = ".".join(str(part) for part in first["loc"])[:WHERE_MAX]
    text = first["msg"].removeprefix("Value error, ")[:TEXT_MAX]
    if first["type"] == "json_invalid":
        return f"not valid JSON: {text.removeprefix('Invalid JSON: ')}"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown field {where!r}"
    return f"{where}: {text}" if where else text


def from_plain(kind: type[T], fields: Mapping[str, object]) -> T:
    """Return the *kind* made of plain JSON values, or raise WireError."""
    return decode(kind, json.dumps(fields).encode())


def parse_json(payload: bytes) -> Any:
    """Return *payload* as plain JSON values, or raise WireError."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not valid JSON: {error}") from None
