"""docs/cli.md, made from the parsers themselves.

Run: python -m workrs.cli.reference > docs/cli.md   (a test fails when the file is stale)
"""

from typing import Final

from workrs.cli import error
from workrs.cli.main import COMMANDS, load, overview

_HEAD: Final = """\
# The `workrs` command

One program, one subcommand for each thing to do. This page is made from the program's own
help texts: `python -m workrs.cli.reference > docs/cli.md`.

Options come from the command line, else from a variable, else from a TOML file. Option
`--lease-ttl` is the variable `WORKRS_LEASE_TTL` and the key `lease_ttl`; what can be repeated
is plural there, so `--node` is `WORKRS_NODES=10.0.0.1:1883,10.0.0.2:1883` and
`nodes = ["10.0.0.1:1883", "10.0.0.2:1883"]`. In the file, a key stands in the subcommand's
table or, for all subcommands, above the tables:

```toml
nodes = ["10.0.0.1:1883", "10.0.0.2:1883", "10.0.0.3:1883"]

[agent]
name = "a1"
slots = 4
labels = ["gpu"]
```

The file is the one that `--config` or `WORKRS_CONFIG` names, else `./workrs.toml`, else
`~/.config/workrs/workrs.toml`. What is on can be switched off again: `--no-json`.

A JOB is `DEVICE/ID`, or the id alone where only one device has it. A time is a number of seconds,
or has a unit: `90`, `15m`, `12h`, `30d`.

## What is printed

The answer goes to the standard output, everything else to the standard error. A mistake is answered
with one sentence that says what to change; a trace is a defect, please report it.

On a terminal a table fits the width: empty columns are left out, the longest cells end with `…`,
and what still does not fit goes from the right. In a file or pipe nothing is cut, unless `COLUMNS`
is set. Colours are for terminals alone, and no state is told by its colour only; `--no-color` and
the variable `NO_COLOR` switch them off.

Every listing has `--json`: one document. What goes on (`watch`, `events`, `logs`) and what may be
long (`history`) is a document a line. [cli.schema.json](cli.schema.json) says what is in it: a JSON
Schema for each subcommand. Keys stay; a later version may add some. Times of day are UTC.

## Completion

`eval "$(workrs completion bash)"` in `~/.bashrc` (zsh: in `~/.zshrc`, after `compinit`; fish:
`workrs completion fish > ~/.config/fish/completions/workrs.fish`) completes subcommands, options,
files and, from the first node that answers within a second, names of jobs, agents and functions.

## Exit codes

"""
_SCRIPTS: Final = """
What follows a job ends with its outcome: `workrs submit --wait`, `workrs result --wait` and
`workrs watch` with 0 when it succeeded, with 1 when it failed, was cancelled or expired, with 4
when their `--timeout` was over before. A reader that closes the pipe early (`| head`) is no
failure.
"""


def reference() -> str:
    """Return the text of docs/cli.md."""
    table = (error.__doc__ or "").partition("\n\n")[2].strip()
    parts = [_HEAD + table + "\n" + _SCRIPTS.rstrip(), _code("workrs --help", overview())]
    for name in COMMANDS:
        parts.append(f"## workrs {name}")
        parts.append(f"```text\n{load(name).options().parser.format_help().rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _code(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text}\n```"


if __name__ == "__main__":
    print(reference(), end="")
