"""A function's definition as a table of `functions.toml`, to be read, changed, and added again."""

import re
from collections.abc import Mapping
from typing import Any, Final

from workrs.domain.function import Function
from workrs.wire import codec

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHORT: Final = {"\b": "b", "\t": "t", "\n": "n", "\f": "f", "\r": "r", '"': '"', "\\": "\\"}


def as_toml(name: str, definition: Function) -> str:
    """Return the table of a function; what has its default is left out."""
    fields: dict[str, Any] = codec.parse_json(codec.encode(definition))
    plain = {key: value for key, value in fields.items() if not isinstance(value, Mapping)}
    parts = [_table([name], plain)]
    for key, value in fields.items():
        if isinstance(value, Mapping):
            parts.append(_table([name, key], value))
    return "\n".join(parts)


def _table(path: list[str], values: Mapping[str, Any]) -> str:
    head = ".".join(_key(part) for part in path)
    lines = [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[{head}]", *lines]) + "\n"


def _key(text: str) -> str:
    return text if _BARE_KEY.fullmatch(text) else _string(text)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case list():
            return "[" + ", ".join(_value(each) for each in value) + "]"
        case Mapping():
            inner = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
            return "{ " + inner + " }"
        case _:
            return _text(str(value))


def _text(text: str) -> str:
    """Return a program as it is written, where TOML can; anything else on one line."""
    odd = any(each < " " and each not in "\n\t" for each in text) or "\x7f" in text
    if "\n" not in text or "'''" in text or text.endswith("'") or odd:
        return _string(text)
    return f"'''\n{text}'''"


def _string(text: str) -> str:
    return '"' + "".join(_escaped(each) for each in text) + '"'


def _escaped(character: str) -> str:
    if character in _SHORT:
        return "\\" + _SHORT[character]
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04x}"
    return character
