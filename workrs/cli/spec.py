"""A job spec from a JSON file and options; options win over the file, field by field."""

import json
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError

_DIRECT = ("image", "priority", "memory_mb", "cpus", "attempts_max")
"""Options that are fields of the spec, under the same name."""


def add_spec_options(options: Options) -> None:
    """Add what a spec can be made of."""
    it = options
    it.argument("spec", nargs="?", help="JSON job spec, - for the standard input")
    it.value(
        "--function",
        metavar="NAME",
        help="a registered function, instead of an image",
        complete="function",
    )
    it.value("--input", metavar="FILE", help="input of any size, - for the standard input")
    add_program_options(it)


def add_program_options(options: Options) -> None:
    """Add what a spec and a function's definition have in common."""
    it = options
    it.value("--image", metavar="NAME", help="container image: NAME@DIGEST or a local name")
    it.value(
        "--command",
        metavar="TEXT",
        help="program and arguments, quoted as for a shell; nothing is filled in for $ and *",
    )
    it.many("--file", metavar="NAME=PATH", help="put the file at PATH into /job/in as NAME")
    it.many("--env", metavar="NAME=VALUE", help="environment variable of the program")
    it.many("--label", metavar="LABEL", help="run only where the agent has this label")
    it.value("--arch", metavar="NAME", help="run only on this architecture: amd64, arm64 …")
    it.value("--priority", convert=int, metavar="0-9", help="higher runs first; default 4")
    it.value("--memory-mb", convert=int, metavar="MIB", help="memory limit; default 256")
    it.value("--cpus", convert=float, metavar="N", help="processors; default 1")
    it.value("--attempt-timeout", convert=seconds, metavar="SECONDS", help="limit of one attempt")
    it.value("--attempts-max", convert=int, metavar="N", help="starts before it fails; default 3")


def read_spec(asked: Namespace) -> dict[str, object]:
    """Return the spec that was asked for; bytes stand where data is.

    Raises:
        ConfigError: a file cannot be read, is no JSON object, or an option is malformed.
    """
    if asked.spec == "-" and asked.input == "-":
        raise ConfigError("only one of the spec and --input can be the standard input")
    spec: dict[str, Any] = {} if asked.spec is None else _parse(_read(asked.spec), asked.spec)
    add_program(spec, asked)
    if asked.function is not None:
        spec["function"] = asked.function
    if asked.input is not None:
        for name in ("input_b64", "input_url"):
            spec.pop(name, None)
        spec["input"] = _read(asked.input)
    if not spec:
        raise ConfigError(
            "nothing to submit: give a JSON spec, or --image and --command, or --function"
        )
    return spec


def add_program(spec: dict[str, Any], asked: Namespace) -> None:
    """Put into *spec* what `add_program_options` asked for; files as bytes.

    Raises:
        ConfigError: a file cannot be read, or an option is malformed.
    """
    for name in _DIRECT:
        if getattr(asked, name) is not None:
            spec[name] = getattr(asked, name)
    if asked.attempt_timeout is not None:
        spec["timeout_s"] = asked.attempt_timeout
    if asked.command is not None:
        spec["command"] = _words(asked.command)
    if asked.env:
        given = dict(_pair(text, "--env NAME=VALUE") for text in asked.env)
        spec["env"] = {**_table(spec, "env"), **given}
    if asked.file:
        paths = dict(_pair(text, "--file NAME=PATH") for text in asked.file)
        contents = {name: _read(path) for name, path in paths.items()}
        spec["files"] = {**_table(spec, "files"), **contents}
    wanted = {"labels": asked.label or None, "arch": asked.arch}
    bounds = {name: value for name, value in wanted.items() if value is not None}
    if bounds:
        spec["constraints"] = {**_table(spec, "constraints"), **bounds}


def _table(spec: dict[str, Any], name: str) -> dict[str, object]:
    found = spec.get(name) or {}
    if not isinstance(found, dict):
        raise ConfigError(f"the spec's {name} is no object")
    return found


def _parse(data: bytes, where: str) -> dict[str, Any]:
    name = "the standard input" if where == "-" else where
    try:
        spec = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not valid JSON: {error}") from error
    if not isinstance(spec, dict):
        raise ConfigError(f"{name} holds no JSON object: write {{…}}")
    return spec


def _read(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--command: {error}") from error


def _pair(text: str, form: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise ConfigError(f"{text!r}: write {form}")
    return name, value
