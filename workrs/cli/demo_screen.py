"""How the demo looks: lines with times that scroll, and bars below them while jobs run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text


class Kept:
    """Lines that are told later, because somebody else has the terminal now."""

    def __init__(self) -> None:
        self.lines: list[Text] = []
        self.last = ""
        """The newest, as plain text."""
        self._is_stopped = False

    def add(self, line: Text, plain: str) -> None:
        """Keep a line.

        Raises:
            KeyboardInterrupt: whoever listened has left.
        """
        self.check()
        self.lines.append(line)
        self.last = plain

    def check(self) -> None:
        """Raise KeyboardInterrupt if whoever listened has left."""
        if self._is_stopped:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Have the teller end at the next thing it says."""
        self._is_stopped = True


class DemoScreen:
    """Tells a story on a terminal, or as plain lines where there is none."""

    def __init__(self, *, bars: bool = True) -> None:
        self.console = Console(highlight=False)
        self._kept: Kept | None = None
        self._begun = time.monotonic()
        self._bars = Progress(
            TextColumn("          {task.description:<18}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
            console=self.console,
            transient=True,
            disable=not (bars and self.console.is_terminal),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take them away."""
        self._bars.stop()

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the demo began."""
        return time.monotonic() - self._begun

    @contextmanager
    def kept(self) -> Iterator[Kept]:
        """Keep what is told while the context lasts, then tell all of it."""
        kept = self._kept = Kept()
        try:
            yield kept
        finally:
            self._kept = None
            for line in kept.lines:
                self._print(line)

    def act(self, title: str) -> None:
        """Begin a new part of the story."""
        if self._kept is not None:
            self._kept.add(Text("\n").append(title, style="bold"), title)
            return
        self.console.print()
        self.console.print(Text(title, style="bold"))

    def say(self, text: str, *, mark: str = "·", style: str = "") -> None:
        """Tell one thing that happened, with the time."""
        line = Text(f"{self.elapsed_s:6.1f} s  ", style="dim")
        line.append(f"{mark} ", style=style or "dim")
        line.append(text, style=style)
        if self._kept is not None:
            self._kept.add(line, f"{mark} {text}")
            return
        self._print(line)

    def _print(self, line: Text) -> None:
        # A line is a line: what a narrow terminal cannot show of it is cut, not wrapped.
        terminal = self.console.is_terminal
        self.console.print(
            line, no_wrap=True, overflow="ellipsis" if terminal else "ignore", crop=terminal
        )

    def good(self, text: str) -> None:
        """Tell something that went as promised."""
        self.say(text, mark="✓", style="green")

    def bad(self, text: str) -> None:
        """Tell a fault that was made on purpose, or a promise that was broken."""
        self.say(text, mark="✗", style="red")

    def progress(self, job: str, done: float, note: str = "") -> None:
        """Show how far a job is, 0 to 1."""
        if self._kept is not None:
            self._kept.check()
            return
        if job not in self._tasks:
            self._tasks[job] = self._bars.add_task(job, total=1.0, note=note)
        self._bars.update(self._tasks[job], completed=done, note=note)

    def clear(self) -> None:
        """Take the bars away."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()
