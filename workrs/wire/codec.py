"""JSON in and out, by pydantic, over the frozen dataclasses of domain and wire.

1. `decode` is total over junk: it returns a value or raises WireError, nothing else.
2. The error's text is written for the sender: field, what was found, what is wanted.
3. Types are strict: "1" is no number, 1.0 is no integer.
"""

import json
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from workrs.domain.errors import WireError

T = TypeVar("T")

DEPTH_MAX = 16
"""Nesting of JSON that a request may have. The formats need five."""


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def encode(value: object) -> bytes:
    """Return *value* as JSON. Fields that have their default are left out."""
    return _adapter(type(value)).dump_json(value, exclude_defaults=True)


def decode(kind: type[T], payload: bytes) -> T:
    """Return the *kind* that *payload* holds, or raise WireError."""
    try:
        value: T = _adapter(kind).validate_json(payload, strict=True)
    except ValidationError as error:
        raise WireError(_explain(error)) from None
    return value


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=True)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return f"not valid JSON: {text.removeprefix('Invalid JSON: ')}"
    if first["type"] == "unexpected_keyword_argument" or first["type"] == "extra_forbidden":
        return f"unknown field {where!r}"
    return f"{where}: {text}" if where else text


def parse_json(payload: bytes) -> Any:
    """Return *payload* as plain JSON values, or raise WireError."""
    if _depth(payload) > DEPTH_MAX:
        raise WireError(f"not accepted: JSON nested deeper than {DEPTH_MAX}")
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not valid JSON: {error}") from None


def _depth(payload: bytes) -> int:
    """Return an upper bound of the nesting, cheap and blind to strings."""
    depth = deepest = 0
    for byte in payload:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
