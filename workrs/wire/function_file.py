"""`functions.toml`: definitions of functions that devices call by name.

One table per function; its fields are those of `workrs.domain.function.Function`:

    [co2-trend]
    description = "trend of a weekly series"
    image = "workrs/python:3f1c"
    command = ["python3", "/job/in/main.py"]
    memory_mb = 512

    [co2-trend.files]
    "main.py" = '''
    import sys
    '''

Programs stand in the file itself, not beside it: a definition is complete, since it travels
to nodes that have no such file.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from workrs.domain.errors import ConfigError, SpecError, WireError
from workrs.domain.function import Function
from workrs.domain.ids import client_id
from workrs.domain.job import SPEC_MAX_BYTES, JobSpec
from workrs.wire import codec


def load_functions(path: Path) -> dict[str, Function]:
    """Return the functions in the file at *path*, by name.

    Raises:
        ConfigError: the file cannot be read, or one of its functions could never run.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the functions file {path}: {error}") from error
    return parse_functions(text, source=str(path))


def parse_functions(text: str, *, source: str) -> dict[str, Function]:
    """Return the functions in *text*, by name; *source* stands in the errors.

    Raises:
        ConfigError: the text says which function, which field, and what is wrong.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Also a number of 5,000 digits, and brackets in brackets by the thousand.
        raise ConfigError(f"{source} is not valid TOML: {error}") from error
    return {name: parse_fields(name, fields, source) for name, fields in tables.items()}


def parse_fields(name: str, fields: object, source: str) -> Function:
    """Return the function of one table, or raise ConfigError; *source* stands in the text."""
    if not isinstance(fields, Mapping):
        raise ConfigError(f"{source}: {name!r} stands outside a function: write [NAME] above it")
    try:
        client_id(name)
        function = codec.from_plain(Function, fields)
        check_size(function)
    except (WireError, TypeError) as error:
        # TypeError: TOML has dates, which JSON and our formats have not.
        raise ConfigError(f"{source}: [{name}]: {error}") from error
    return function


def check_size(function: Function) -> None:
    """Raise SpecError when a job made of *function* could not travel: its input comes on top."""
    size = len(codec.encode(codec.from_plain(JobSpec, function.job_fields())))
    if size > SPEC_MAX_BYTES:
        raise SpecError(
            f"its program and files have {size} bytes, at most {SPEC_MAX_BYTES} are taken: "
            "put them into the image"
        )
