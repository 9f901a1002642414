"""Where options come from besides the command line: variables, and a TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workrs.cli.near import near
from workrs.domain.errors import ConfigError

_FILE_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionFile:
    """What the options' file says for one subcommand."""

    path: Path
    values: Mapping[str, object]


def read_option_file(
    command: str, keys: set[str], named: str | Path | None, home: Path | None
) -> OptionFile:
    """Return what the file says to *command*, whose options have *keys*.

    Args:
        command: the subcommand; its table is `[command]`.
        keys: of its options, as the file has them.
        named: the file that was asked for; None: the usual one, if there is one.
        home: the user's home directory; found by the system by default.

    Raises:
        ConfigError: it cannot be read, is no TOML, or its table has an unknown key.
    """
    path = Path(named) if named else _usual_file(home)
    if path is None:
        return OptionFile(path=Path(), values={})
    tables = read_toml(path)
    own = tables.get(command, {})
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: {command} is a subcommand's table: write [{command}]")
    unknown = sorted(set(own) - keys)
    if unknown:
        raise ConfigError(
            f"{path}: [{command}] has no option {unknown[0]!r}{near(unknown[0], keys)}; "
            f"see workrs {command} --help"
        )
    shared = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    return OptionFile(path=path, values={**shared, **own})


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file that a person wrote, or raise ConfigError."""
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_MAX_BYTES + 1)
        if len(text) > _FILE_MAX_BYTES:
            raise ConfigError(f"{path} has more than {_FILE_MAX_BYTES >> 20} MiB")
        return tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except (RecursionError, ValueError) as error:
        # Brackets in brackets by the thousand, a number of 5,000 digits, a name with a zero byte.
        raise ConfigError(f"cannot read {path}: {error}") from error


def _usual_file(home: Path | None) -> Path | None:
    try:
        below = (home or Path.home()) / ".config" / "workrs" / "workrs.toml"
        return next((path for path in (Path("workrs.toml"), below) if path.is_file()), None)
    except (OSError, RuntimeError):
        # Nobody's home, or a folder that this user may not enter.
        return None
