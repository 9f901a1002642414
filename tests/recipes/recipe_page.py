"""docs/recipes.md taken apart: the code blocks that carry a name, and how they are run.

A block is named by the line `<!-- recipe: NAME -->` before its fence. Names with a dot are files
that other blocks use; the others are run by `sh`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from tests.acceptance.agreement import until

if TYPE_CHECKING:
    from workrs.ports.bus import Address

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"<!-- recipe: (\S+) -->\n```(\w+)\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
END_S = 60.0
"""The longest that a recipe takes. Only failures take that long."""


def blocks(page: str = PAGE) -> dict[str, str]:
    """Return the named blocks by their names."""
    return {name: text for name, _, text in _BLOCK.findall(page)}


@dataclass
class Kitchen:
    """A folder with the page's files, and a device's surroundings to run its blocks in."""

    folder: Path
    at: Address
    device: str = "pump-7"
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the files."""
        self.folder.mkdir(exist_ok=True)
        for name, text in blocks().items():
            if "." in name:
                (self.folder / name).write_text(text + "\n")

    def start(self, command: list[str], stdin: str = "") -> Run:
        """Start a program here; its output is read as it comes."""
        return Run(self, command, stdin)

    def block(self, name: str, **changes: str) -> Run:
        """Start a block of the page; *changes* are made to its text first."""
        text = blocks()[name]
        for old, new in changes.items():
            assert old in text, f"{old} is not in the recipe {name}"
            text = text.replace(old, new)
        return self.start(["sh", "-euc", text])

    def environment(self) -> dict[str, str]:
        """Return what the page has its reader export, and what *env* says."""
        own = {"HOST": self.at.host, "PORT": str(self.at.port), "DEVICE": self.device}
        return {**os.environ, **own, **self.env}


class Run:
    """A program that runs, or has run."""

    def __init__(self, kitchen: Kitchen, command: list[str], stdin: str) -> None:
        number = len(list(kitchen.folder.glob("*.stdout")))
        self._out = kitchen.folder / f"{number}.stdout"
        self._err = kitchen.folder / f"{number}.stderr"
        given = kitchen.folder / f"{number}.stdin"
        given.write_text(stdin)
        files: list[IO[bytes]] = [self._out.open("wb"), self._err.open("wb"), given.open("rb")]
        self.process = subprocess.Popen(
            command,
            cwd=kitchen.folder,
            env=kitchen.environment(),
            stdout=files[0],
            stderr=files[1],
            stdin=files[2],
            # A shell that is ended leaves what it runs: both are ended, as one group.
            start_new_session=True,
        )
        for file in files:
            file.close()

    def __enter__(self) -> Self:
        """Let it run."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it has not ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(END_S)

    @property
    def printed(self) -> str:
        """Return its standard output so far."""
        return self._out.read_text(errors="replace")

    @property
    def told(self) -> str:
        """Return its standard error so far."""
        return self._err.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Wait until it has printed this, on either."""
        until(text, lambda: text in self.printed + self.told, END_S)

    def stay(self, seconds: float) -> None:
        """See that it goes on for so long."""
        with suppress(subprocess.TimeoutExpired):
            found = self.process.wait(seconds)
            raise AssertionError((found, self.printed, self.told))

    def result(self, code: int = 0) -> str:
        """Wait for its end; return its standard output."""
        found = self.process.wait(END_S)
        assert found == code, (found, self.printed, self.told)
        return self.printed
