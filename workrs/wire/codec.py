"""JSON in and out, by pydantic, over the frozen dataclasses of domain and wire.

1. `decode` is total over junk: it returns a value or raises WireError, nothing else.
2. The error's text is written for the sender: field, what was found, what is wanted.
3. Types are strict: "1" is no number, 1.0 is no integer.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from workrs.domain.errors import WireError, WorkrsError

T = TypeVar("T")

WHERE_MAX = 100
TEXT_MAX = 400
"""Characters of an error that are told: the rest would be the sender's own words."""
ERRORS_MAX = 1000
"""More are counted and not looked at: each takes 1 KB and 10 us, and junk can have one a byte."""

_adapters: dict[object, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    found = _adapters.get(kind)
    if found is None:
        found = _adapters[kind] = TypeAdapter(kind)
    return found


def encode(value: object) -> bytes:
    """Return *value* as JSON. Fields that have their default are left out."""
    return _adapter(type(value)).dump_json(value, exclude_defaults=True)


def decode(kind: type[T], payload: bytes) -> T:
    """Return the *kind* that *payload* holds, or raise WireError."""
    try:
        value: T = _adapter(kind).validate_json(payload, strict=True)
    except ValidationError as error:
        raise WireError(_explain(error)) from None
    except WorkrsError as error:
        # A value's own constructor refused it; only those that are ValueErrors come wrapped.
        raise WireError(str(error)[:TEXT_MAX]) from None
    return value


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
