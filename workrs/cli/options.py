"""Options of a subcommand: from the command line, then `WORKRS_…`, then a TOML file.

1. The first place that names an option wins as a whole; lists of two places never mix.
2. Option `--lease-ttl` is the variable `WORKRS_LEASE_TTL` and the key `lease_ttl`, in the
   file's table `[SUBCOMMAND]` or else above all tables.
3. Lists are plural there (`--node` is `WORKRS_NODES` and `nodes`): commas in the variable,
   an array in the file.
4. Unknown keys of the file's table are refused: a typo must not be silence.

The file is the one `--config` or `WORKRS_CONFIG` names, else `./workrs.toml`, else
`~/.config/workrs/workrs.toml`, else none.
"""

# ruff: noqa: A002 (`help` is argparse's word, and this is a layer on it)

import argparse
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final, NoReturn

from workrs.cli.near import near
from workrs.cli.option_source import OptionFile, read_option_file
from workrs.domain.errors import ConfigError, WorkrsError

Convert = Callable[[str], object]

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off", ""})
_WIDTH: Final = 96
_FILES: Final = {"FILE": "file", "DIR": "folder", "DIRECTORY": "folder", "PATH": "file"}
"""What metavars say of the value."""
_NUMBERS: Final[Mapping[Convert, str]] = {int: "write a whole number", float: "write a number"}


class _Kind(Enum):
    VALUE = auto()
    MANY = auto()
    FLAG = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    name: str
    kind: _Kind
    convert: Convert
    default: object
    required: bool
    choices: tuple[str, ...]
    own_key: str | None = None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def key(self) -> str:
        """Its name in the file and, in capitals, in the environment; lists are plural."""
        if self.own_key is not None:
            return self.own_key
        return f"{self.name}s" if self.kind is _Kind.MANY else self.name

    def read(self, text: str, where: str) -> object:
        """Convert one value, or raise ConfigError that says where it stands."""
        if self.convert is not Path and not _is_unicode(text):
            # A path is bytes, and may be anything; what else is asked travels as UTF-8.
            raise ConfigError(f"{where}: {text!r} is not right: write it in UTF-8")
        try:
            value = self.convert(text)
        except (ValueError, WorkrsError) as error:
            # Python's own words for a number that is none would say nothing here.
            why = _NUMBERS.get(self.convert, str(error))
            raise ConfigError(f"{where}: {text!r} is not right: {why}") from error
        if self.choices and text not in self.choices:
            raise ConfigError(f"{where}: {text!r} is none of {', '.join(self.choices)}")
        return value


def _width() -> int:
    """Return the terminal's width; the same everywhere when the output is none."""
    return min(_WIDTH, shutil.get_terminal_size().columns - 2) if sys.stdout.isatty() else _WIDTH


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        choices = [str(choice) for choice in action.choices or ()]
        if choices and value not in choices:
            where = action.option_strings[-1] if action.option_strings else str(action.metavar)
            hint = near(str(value), choices)
            raise ConfigError(f"{where}: {value!r} is none of {', '.join(choices)}{hint}")

    def error(self, message: str) -> NoReturn:
        head, _, unknown = message.partition("unrecognized arguments: ")
        if unknown and not head:
            # Not those that are not in the help either: the negative ones.
            shown = [each for each in self._actions if each.help != argparse.SUPPRESS]
            first = unknown.partition(" ")[0].partition("=")[0]
            if not first.startswith("-"):
                raise ConfigError(f"{self.prog}: one argument too many: {first!r}")
            hint = near(first, [flag for each in shown for flag in each.option_strings])
            raise ConfigError(f"no option {first}{hint or f'; see {self.prog} --help'}")
        raise ConfigError(f"{message}; see {self.prog} --help")


class Options:
    """What one subcommand can be told; a thin layer on argparse."""

    def __init__(self, command: str, summary: str, *, examples: Sequence[str]) -> None:
        """Begin with the options every subcommand has.

        Args:
            command: the subcommand's name.
            summary: one line of what it does.
            examples: command lines for the end of the help, each possibly with a comment.
        """
        self.command = command
        self.summary = summary
        self.examples = tuple(examples)
        self._options: dict[str, _Option] = {}
        self.completed: dict[str, str] = {}
        """Of what a shell offers names, by option and argument."""
        self.parser = _Parser(
            prog=f"workrs {command}",
            description=summary[0].upper() + summary[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=28, width=_width()
            ),
            allow_abbrev=False,
        )
        self.value("--config", convert=Path, metavar="FILE", help="TOML file with options")
        self._add_no_color()

    def _add_no_color(self) -> None:
        # Not by `flag`: there is no `--no-no-color`.
        self.parser.add_argument(
            "--no-color",
            default=argparse.SUPPRESS,
            action="store_true",
            help="no colours; the variable NO_COLOR says the same",
        )
        self._note("--no-color", _Kind.FLAG, str, default=False, required=False, choices=())

    def value(
        self,
        flag: str,
        *,
        help: str,
        default: object = None,
        convert: Convert = str,
        required: bool = False,
        choices: Sequence[str] = (),
        metavar: str | None = None,
        key: str | None = None,
        complete: str | None = None,
    ) -> None:
        """Add an option with one value, converted from text by *convert*.

        The converter may raise ValueError or an error of ours. *default* is used as it is. *key*
        is its name in the file and the environment where its own means something else there;
        *complete* says of what a shell offers names, see `workrs.cli.complete`.
        """
        shown = f"{default:g}" if isinstance(default, float) else default
        more = f" (default {shown})" if default is not None else ""
        more = " (required)" if required else more
        made = self.parser.add_argument(
            flag,
            default=argparse.SUPPRESS,
            metavar=metavar,
            choices=choices or None,
            help=(help + more).replace("%", "%%"),
        )
        self.completed[made.dest] = complete or _FILES.get(metavar or "", "")
        self._note(flag, _Kind.VALUE, convert, default, required=required, choices=choices, key=key)

    def many(
        self,
        flag: str,
        *,
        help: str,
        default: Sequence[object] = (),
        convert: Convert = str,
        metavar: str | None = None,
    ) -> None:
        """Add an option that may be repeated; its value is a list."""
        more = f" (default {', '.join(map(str, default))})" if default else ""
        made = self.parser.add_argument(
            flag,
            default=argparse.SUPPRESS,
            action="append",
            metavar=metavar,
            help=(help + more).replace("%", "%%"),
        )
        self.completed[made.dest] = _FILES.get(metavar or "", "")
        self._note(flag, _Kind.MANY, convert, list(default), required=False, choices=())

    def flag(self, flag: str, *, help: str, short: str | None = None) -> None:
        """Add an option that is on or off; `--no-…` switches off what another place set."""
        name = _name(flag)
        self.parser.add_argument(
            *filter(None, (short, flag)),
            dest=name,
            default=argparse.SUPPRESS,
            action="store_true",
            help=help.replace("%", "%%"),
        )
        self.parser.add_argument(
            flag.replace("--", "--no-", 1),
            dest=name,
            default=argparse.SUPPRESS,
            action="store_false",
            help=argparse.SUPPRESS,
        )
        self._note(flag, _Kind.FLAG, str, default=False, required=False, choices=())

    def argument(
        self,
        name: str,
        *,
        help: str,
        nargs: str | None = None,
        choices: Sequence[str] = (),
        complete: str = "",
    ) -> None:
        """Add a positional argument. It has no other source than the command line."""
        self.completed[name] = complete
        self.parser.add_argument(
            name,
            nargs=nargs,
            choices=choices or None,
            metavar=name.upper(),
            help=help.replace("%", "%%"),
        )

    def _note(
        self,
        flag: str,
        kind: _Kind,
        convert: Convert,
        default: object,
        *,
        required: bool,
        choices: Sequence[str],
        key: str | None = None,
    ) -> None:
        name = _name(flag)
        self._options[name] = _Option(
            name=name,
            kind=kind,
            convert=convert,
            default=default,
            required=required,
            choices=tuple(choices),
            own_key=key,
        )

    def parse(
        self,
        words: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        home: Path | None = None,
    ) -> Namespace:
        """Return what was asked for, from all places.

        Args:
            words: the command line after the subcommand.
            environ: variables; the process's own by default.
            home: the user's home directory; found by the system by default.

        Raises:
            ConfigError: a value is wrong, missing or unknown; the text says where it stands.
        """
        environ = os.environ if environ is None else environ
        # Intermixed: an option may stand before, between or after the arguments.
        asked = self.parser.parse_intermixed_args(words)
        named = getattr(asked, "config", None) or environ.get("WORKRS_CONFIG")
        keys = {option.key for option in self._options.values()}
        file = read_option_file(self.command, keys, named, home)
        for option in self._options.values():
            setattr(asked, option.name, self._find(option, asked, environ, file))
        return asked

    def _find(
        self,
        option: _Option,
        asked: Namespace,
        environ: Mapping[str, str],
        file: OptionFile,
    ) -> object:
        given = getattr(asked, option.name, None)
        if given is not None:
            return _converted(option, given, option.flag)
        variable = f"WORKRS_{option.key.upper()}"
        if variable in environ:
            text = environ[variable]
            parts = [part.strip() for part in text.split(",") if part.strip()]
            return _converted(option, parts if option.kind is _Kind.MANY else text, variable)
        if option.key in file.values:
            return _converted(option, file.values[option.key], f"{file.path}: {option.key}")
        if option.required:
            raise ConfigError(
                f"{option.flag} is missing: give it, or {variable}, or {option.key} = … "
                "in the configuration file"
            )
        return option.default


def _converted(option: _Option, given: object, where: str) -> object:
    """Return a value of whatever place in the option's own type."""
    match option.kind:
        case _Kind.FLAG:
            return _switch(given, where)
        case _Kind.MANY:
            if not isinstance(given, list):
                raise ConfigError(f"{where}: write a list")
            return [option.read(_text(part, where), where) for part in given]
        case _Kind.VALUE:
            return option.read(_text(given, where), where)


def _text(given: object, where: str) -> str:
    if isinstance(given, bool | list | dict):
        raise ConfigError(f"{where}: write one value")
    text = str(given)
    if "\0" in text:
        raise ConfigError(f"{where}: no name and no path has a zero byte")
    return text


def _switch(given: object, where: str) -> bool:
    if isinstance(given, bool):
        return given
    word = str(given).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ConfigError(f"{where}: write true or false, not {given!r}")
    return word in _TRUE
