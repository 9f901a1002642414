"""`workrs function`: what devices call by name, on all nodes, while they run."""

import asyncio
import base64
import sys
import tomllib
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from workrs.cli import order
from workrs.cli.connection import add_node_options, caller
from workrs.cli.error import FAILED, OK, NotFoundError
from workrs.cli.function_text import as_toml
from workrs.cli.function_view import FunctionView, read_functions
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.spec import add_program, add_program_options
from workrs.cli.table import print_json, print_table
from workrs.domain.errors import ConfigError
from workrs.domain.function import Function
from workrs.wire import codec
from workrs.wire.function_file import parse_fields
from workrs.wire.message import Order, OrderKind, OrderReply

_COLUMNS: Final = ("function", "version", "callers", "nodes", "image", "description")


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "function",
        "add, list, show or remove functions that devices call by name",
        examples=(
            "workrs function add --toml functions.toml",
            "workrs function add mean --image workrs/python:1 --file main.py=mean.py \\",
            "    --command 'python3 /job/in/main.py' --caller 'pump-*' --forecast 2",
            "workrs function list",
            "workrs function show mean > mean.toml    # then: add --toml mean.toml",
            "workrs function remove mean",
        ),
    )
    it.argument(
        "action",
        choices=("add", "list", "show", "remove"),
        help="add, list, show or remove; add also replaces: jobs keep what they began with",
    )
    it.argument(
        "name",
        nargs="?",
        help="the function; without one, add takes all of --toml",
        complete="function",
    )
    it.value("--toml", metavar="FILE", help="functions.toml with definitions, - for standard input")
    it.value("--description", metavar="TEXT", help="one line for humans")
    it.many(
        "--caller", metavar="NAME", help="device that may call it, * for any characters; or all may"
    )
    it.many("--tenant", metavar="NAME", help="tenant whose devices may call it")
    it.value("--forecast", convert=seconds, metavar="SECONDS", help="how long a job of it takes")
    add_program_options(it)
    order.add_order_options(it)
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Do what was asked for."""
    if asked.action in ("show", "remove") and asked.name is None:
        raise ConfigError(f"name the function: workrs function {asked.action} NAME")
    match asked.action:
        case "add":
            return _add(asked, _definitions(asked))
        case "remove":
            return order.report(_send(asked, OrderKind.REMOVE, asked.name, None), asked)
        case "list":
            return _list(asked)
        case _:
            return _show(asked)


def _send(asked: Namespace, kind: OrderKind, name: str, definition: Function | None) -> OrderReply:
    wish = Order(order=kind, function=name, definition=definition)
    return asyncio.run(order.send(wish, caller(asked), timeout_s=asked.timeout))


def _add(asked: Namespace, definitions: Mapping[str, Function]) -> int:
    """Add one after the other; all are checked before the first is sent."""
    code = OK
    for name, definition in definitions.items():
        code = max(code, order.report(_send(asked, OrderKind.ADD, name, definition), asked))
    return code


def _definitions(asked: Namespace) -> dict[str, Function]:
    """Return what is to be added, by name, or raise ConfigError."""
    tables = {asked.name: {}} if asked.toml is None else _tables(asked.toml)
    if asked.name is None and asked.toml is None:
        raise ConfigError("name the function, or give definitions with --toml FILE")
    if asked.name is not None:
        if asked.name not in tables:
            raise ConfigError(f"{asked.toml} has no function [{asked.name}]")
        tables = {asked.name: tables[asked.name]}
    if not tables:
        raise ConfigError(f"{asked.toml} has no function: write [NAME] and its fields")
    source = "the command line" if asked.toml is None else asked.toml
    return {name: parse_fields(name, _with(table, asked), source) for name, table in tables.items()}


def _tables(path: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        # Also bytes that are no text, a number of 5,000 digits, brackets in brackets.
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _with(table: object, asked: Namespace) -> object:
    """Return a function's fields with what options say in place of them."""
    if not isinstance(table, dict):
        return table
    fields = dict(table)
    add_program(fields, asked)
    own = {
        "description": asked.description,
        "callers": asked.caller or None,
        "tenants": asked.tenant or None,
        "forecast_s": asked.forecast,
    }
    fields |= {name: value for name, value in own.items() if value is not None}
    if isinstance(fields.get("files"), dict):
        fields["files"] = {name: _text(content) for name, content in fields["files"].items()}
    return fields


def _text(content: object) -> object:
    if not isinstance(content, bytes):
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(content).decode()}


def _list(asked: Namespace) -> int:
    view = asyncio.run(read_functions(caller(asked)))
    names = [name for name in sorted(view.newest) if view.newest[name].definition]
    if asked.json:
        print_json([_as_json(view, name) for name in names])
    else:
        rows = [_row(view, name) for name in names]
        print_table(_COLUMNS, rows, empty="no function yet; see workrs function --help")
    return OK


def _row(view: FunctionView, name: str) -> list[str]:
    record = view.newest[name]
    definition = record.definition
    assert definition is not None
    callers = [*definition.callers, *(f"{tenant}.*" for tenant in definition.tenants)]
    having = f"{view.count(name)} of {view.size}"
    who = ", ".join(callers) or "all"
    return [name, str(record.version), who, having, definition.image, definition.description]


def _as_json(view: FunctionView, name: str) -> dict[str, object]:
    record = view.newest[name]
    return {**codec.parse_json(codec.encode(record)), "nodes": view.count(name), "of": view.size}


def _show(asked: Namespace) -> int:
    view = asyncio.run(read_functions(caller(asked)))
    record = view.newest.get(asked.name)
    if record is None:
        known = ", ".join(sorted(n for n, r in view.newest.items() if r.definition)) or "none"
        raise NotFoundError(f"there is no function {asked.name}; known: {known}")
    where = f"version {record.version}, at {view.count(asked.name)} of {view.size} nodes"
    if asked.json:
        print_json(_as_json(view, asked.name))
    elif record.definition is not None:
        print(as_toml(asked.name, record.definition), end="")
        print(f"# {where}")
    else:
        print(f"workrs: function {asked.name} was removed: {where}", file=sys.stderr)
    return OK if record.definition else FAILED
