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

A JOB is `DEVICE/ID`, or the id alone where only one device has it.

## Exit codes

"""


def reference() -> str:
    """Return the text of docs/cli.md."""
    table = (error.__doc__ or "").partition("\n\n")[2].strip()
    parts = [_HEAD + table, _code("workrs --help", overview())]
    for name in COMMANDS:
        parts.append(f"## workrs {name}")
        parts.append(f"```text\n{load(name).options().parser.format_help().rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _code(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text}\n```"


if __name__ == "__main__":
    print(reference(), end="")
