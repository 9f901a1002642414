"""`workrs completion SHELL`: the few lines that let a shell ask this program what may follow."""

from argparse import Namespace
from typing import Final

from workrs.cli.error import OK
from workrs.cli.options import Options

SHELLS: Final = ("bash", "zsh", "fish")


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "completion",
        "print what makes a shell complete subcommands, options and names",
        examples=(
            'eval "$(workrs completion bash)"    # in ~/.bashrc',
            "workrs completion bash > /etc/bash_completion.d/workrs    # for everybody",
            'eval "$(workrs completion zsh)"    # in ~/.zshrc, after compinit',
            "workrs completion fish > ~/.config/fish/completions/workrs.fish",
        ),
    )
    it.argument("shell", choices=SHELLS, help="bash, zsh or fish")
    return it


def run(asked: Namespace) -> int:
    """Print it."""
    from argcomplete.shell_integration import shellcode  # noqa: PLC0415 (the help needs it not)

    print(shellcode(["workrs"], shell=asked.shell))
    return OK
