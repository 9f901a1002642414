"""Run a command of `workrs` and note every piece of work that held its event loop for long.

    .venv/bin/python bench/dashboard/slices.py FILE tui --node 127.0.0.1:1883

FILE gets a line for each piece longer than LEAST_S, when it ends: begin and end on the monotonic
clock that all processes of a machine share, CPU seconds of the thread in it, and what ran. Inside
of a piece the functions of WATCHED are noted in the same way, so that the longest line in a moment
tells the cause. `python -m bench.dashboard --trace` lays these beside the keys that waited.
"""

import asyncio
import functools
import gc
import importlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bench.dashboard.terminal import Press

LEAST_S: Final = 0.001
WATCHED: Final = (
    "textual.screen:Screen._compositor_refresh",
    "textual.screen:Screen._refresh_layout",
    "textual.screen:Screen._on_timer_update",
    "tui.app:Dashboard.draw",
    "tui.app:Dashboard.on_event",
    "tui.garbage:Garbage.consider",
    "tui.model.cluster:Model.settle",
    "tui.model.cluster:Model.tick",
    "tui.screens.main:MainScreen.action_view",
    "tui.screens.main:MainScreen.show",
    "tui.widgets.lines:Lines.go",
    "tui.widgets.lines:Lines.redraw",
    "tui.widgets.lines:Lines.show",
    "workrs.adapters.mqtt:MqttBus.packets_arrived",
    "workrs.adapters.mqtt_packet:PacketBuffer.parse",
)


class Slices:
    """Where lines go."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w", buffering=1)

    def note(self, begun: float, cpu: float, what: str) -> None:
        """Write a line if it took long."""
        ended = time.monotonic()
        if ended - begun >= LEAST_S:
            self._file.write(f"{begun:.6f} {ended:.6f} {time.thread_time() - cpu:.6f} {what}\n")

    def watch(self, owner: Any, name: str, tell: Callable[..., str]) -> None:
        """Note the calls of a function of *owner*."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun, cpu = time.monotonic(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.note(begun, cpu, tell(*args))

        setattr(owner, name, timed)


def turn(handle: asyncio.Handle) -> str:
    """Name what a turn of the event loop runs."""
    callback: Any = getattr(handle, "_callback", None)  # asyncio tells it in no other way
    of = getattr(callback, "__self__", None)
    return f"turn {of.get_name() if isinstance(of, asyncio.Task) else callback}"


def explain(file: Path, presses: Sequence["Press"], least_ms: float) -> Iterator[str]:
    """Tell of each press that took longer which pieces of work it met, on its own clock."""
    pieces = [line.split(maxsplit=3) for line in file.read_text().splitlines()]
    for press in presses:
        if press.took_ms < least_ms:
            continue
        ended = press.begun + press.took_ms / 1000
        yield f"{press.took_ms:5.1f} ms, without a core {press.core_ms:.1f} ms"
        for begun, until, cpu, what in pieces:
            if float(until) > press.begun and float(begun) < ended:
                at = [(float(each) - press.begun) * 1000 for each in (begun, until)]
                yield f"    {at[0]:6.1f} to {at[1]:5.1f}, cpu {float(cpu) * 1000:4.1f}: {what}"


def heaviest(file: Path) -> Iterator[str]:
    """Tell for each kind of piece how many there were, and how much CPU the longest took."""
    took: dict[str, list[float]] = {}
    for line in file.read_text().splitlines():
        _, _, cpu, what = line.split(maxsplit=3)
        took.setdefault(re.sub(r"\d\d+|0x\w+", "_", what), []).append(float(cpu) * 1000)
    for what, all_ms in sorted(took.items(), key=lambda each: -max(each[1])):
        some = sorted(all_ms)
        middle, most = some[len(some) // 2], some[-1]
        yield f"{len(some):6} times, cpu {middle:5.1f} ms median, {most:5.1f} at most: {what}"


def main() -> None:
    slices = Slices(Path(sys.argv[1]))
    slices.watch(asyncio.Handle, "_run", turn)
    for each in WATCHED:
        module, _, path = each.partition(":")
        owner, _, name = path.partition(".")
        slices.watch(getattr(importlib.import_module(module), owner), name, lambda *_, p=path: p)
    begun: list[float] = []

    def collected(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            begun[:] = [time.monotonic(), time.thread_time()]
        elif begun:
            slices.note(begun[0], begun[1], f"gc {info['generation']}")

    gc.callbacks.append(collected)
    sys.argv[1:] = sys.argv[2:]
    sys.exit(importlib.import_module("workrs.cli.main").main())


if __name__ == "__main__":
    main()
