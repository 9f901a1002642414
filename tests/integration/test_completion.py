"""Goal: Tab offers what may follow, in the shells of docs/cli.md, set up as it says.

Method: bash's own completion of a line; zsh and fish as a person has them: on a terminal, with a
home of their own, typed into and read from.
"""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli_node import AGENT, ROOT, agent, run, running_node, told
from tests.mosquitto_fixture import HOST, free_port

WAIT_S = 60
"""On a busy machine; what comes is taken at once."""
TABS_MAX = 30
"""How often Tab is pressed for names."""
NEVER = ("--image", "echo", "--command", "x", "--label", "nobody-has-this")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield HOST:PORT of a running node that has a job pump-7/tab-1."""
    with running_node(tmp_path_factory.mktemp("n1")) as at:
        words = ("--device", "pump-7", "--job", "tab-1", "--node", at)
        done = run("submit", *NEVER, *words)
        assert done.returncode == 0, told(done)
        yield at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder for PATH with the program in it."""
    program = tmp_path / "bin" / "workrs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m workrs.cli.main "$@"\n')
    program.chmod(0o755)
    return program.parent


COMPLETE = r"""
eval "$(workrs completion bash)"
COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9
read -ra COMP_WORDS <<< "$1"
[[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
$(complete -p workrs | sed 's/.*-F \([^ ]*\).*/\1/') workrs
printf '%s\n' "${COMPREPLY[@]}"
"""


def tab(line: str, folder: Path, **environ: str) -> set[str]:
    """Return what a real bash offers after *line* when Tab is pressed."""
    path = f"{folder}:{os.environ['PATH']}"
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "--norc", "-c", COMPLETE, "bash", line],
        check=True,
        capture_output=True,
        timeout=WAIT_S,
        env={**os.environ, "PATH": path, **environ},
    )
    assert done.stderr == b""
    return {word.strip() for word in done.stdout.decode().splitlines()}


def tab_again(line: str, wanted: set[str], folder: Path, nodes: str) -> set[str]:
    """Press Tab until all that is wanted is offered: a slow machine finds no name in a second."""
    for _ in range(TABS_MAX):
        if wanted <= (offered := tab(line, folder, WORKRS_NODES=nodes)):
            break
    return offered


def test_tab_offers_subcommands_options_and_choices(folder: Path) -> None:
    assert {"jobs", "watch", "completion"} <= tab("workrs ", folder)
    assert tab("workrs sho", folder) == {"show"}
    offered = tab("workrs jobs --", folder)
    assert {"--json", "--open", "--node"} <= offered
    assert "--no-json" not in offered
    assert tab("workrs completion ", folder) == {"bash", "zsh", "fish"}


def test_tab_offers_names_that_are_there(node: str, folder: Path) -> None:
    with agent(node):
        for line, name in ("workrs show pump-7/tab", "pump-7/tab-1"), ("workrs drain ", AGENT):
            assert tab_again(line, {name}, folder, node) == {name}
    for name in ("tab-here", "tab-gone"):
        run("function", "add", name, "--image", "echo", "--command", "x", "--node", node)
    run("function", "remove", "tab-gone", "--node", node)
    line, here = "workrs function show tab", {"tab-here"}
    assert tab_again(line, here, folder, node) == here
    typed, there = f"workrs show --node {node} pump-7/ta", {"pump-7/tab-1"}
    assert tab_again(typed, there, folder, f"{HOST}:1") == there


@pytest.mark.parametrize("nodes", ["", "not an address:x", f"{HOST}:{free_port()}"])
def test_tab_is_silent_where_nobody_can_be_asked(folder: Path, nodes: str) -> None:
    assert tab("workrs show pump-7/ta", folder, WORKRS_NODES=nodes) <= {""}


def set_up_zsh(home: Path) -> tuple[str, ...]:
    (home / ".zshrc").write_text(
        "PROMPT='ready> '\nunsetopt zle_bracketed_paste 2>/dev/null\nautoload -U compinit\n"
        'compinit -u\neval "$(workrs completion zsh)"\n'
    )
    return ("zsh", "-i")


def set_up_fish(home: Path) -> tuple[str, ...]:
    place = home / ".config" / "fish"
    (place / "completions").mkdir(parents=True)
    (place / "config.fish").write_text(
        "set -g fish_greeting\nset -g fish_autosuggestion_enabled 0\n"
        "function fish_prompt; printf 'ready> '; end\n"
    )
    (place / "completions" / "workrs.fish").write_bytes(run("completion", "fish").stdout)
    return ("fish", "-i")


SHELLS: dict[str, Callable[[Path], tuple[str, ...]]] = {"zsh": set_up_zsh, "fish": set_up_fish}
_ESCAPES = re.compile(r"\x1b(\[[0-9;?>=]*[A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][0-9A-Z]|[=>])")


class Terminal:
    """A shell on a terminal, typed into by the test."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.seen = ""

    def type(self, text: str) -> None:
        self.seen = ""
        os.write(self._handle, text.encode())

    def until(self, wanted: str) -> None:
        """Read until *wanted* stands on the screen."""
        assert self.shows(wanted, WAIT_S), f"no {wanted!r} in {self.seen!r}"

    def shows(self, wanted: str, silent_s: float) -> bool:
        """Read until *wanted* stands there, or for so long nothing comes; return whether it does.

        What moves the cursor is left out.
        """
        raw = b""
        while wanted not in self.seen:
            ready, _, _ = select.select([self._handle], [], [], silent_s)
            if not ready:
                return False
            raw += os.read(self._handle, 65536)
            self.seen = _ESCAPES.sub("", raw.decode(errors="replace"))
        return True


@contextmanager
def terminal(shell: str, home: Path, folder: Path, nodes: str) -> Iterator[Terminal]:
    """Yield an interactive shell with completion, set up as docs/cli.md says."""
    home.mkdir()
    words = SHELLS[shell](home)
    environ = {
        "HOME": str(home),
        "ZDOTDIR": str(home),
        "PATH": f"{folder}:{os.environ['PATH']}",
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "WORKRS_NODES": nodes,
    }
    process, handle = pty.fork()
    if process == 0:
        os.chdir(home)
        os.execvpe(words[0], words, environ)
    try:
        screen = Terminal(handle)
        screen.until("ready> ")
        yield screen
    finally:
        os.kill(process, signal.SIGHUP)
        os.kill(process, signal.SIGKILL)
        with suppress(OSError):
            os.close(handle)
        os.waitpid(process, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_in_a_shell_as_a_person_has_it(
    node: str, shell: str, folder: Path, tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(
            f"there is no {shell} here: ./run setup installs it, as root on Debian or Ubuntu"
        )
    with terminal(shell, tmp_path / "home", folder, node) as screen:
        for typed, completed in (
            ("workrs sho", "show "),
            ("workrs jobs --ope", "--open "),
            ("workrs completion zs", "zsh "),
            ("workrs show pump-7/ta", "pump-7/tab-1 "),
        ):
            # The shell shows what is typed, then what it makes of it.
            wanted = completed.removeprefix(typed.rpartition(" ")[2])
            screen.type(f"{typed}\t")
            for _ in range(TABS_MAX):
                if screen.shows(wanted, 5):
                    break
                screen.type("\t")
            else:
                screen.until(wanted)
            screen.type("\x15echo ty''ped\n")
            screen.until("typed")
            screen.until("ready> ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_lines(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    assert b"_ARGCOMPLETE" in done.stdout
