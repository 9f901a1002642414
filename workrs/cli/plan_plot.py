"""The curve behind `workrs plan`: in the terminal by plotext, in a file by matplotlib.

Both are in the extra `plot`. Without plotext the table must do; asking for a file without
matplotlib is an error that says what to install.
"""

import math
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from workrs.domain import plan_formula
from workrs.domain.errors import ConfigError
from workrs.domain.plan import Conditions, best, endless_interval_s

_POINTS_MAX: Final = 150
_LINES: Final = 16
_COLUMNS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What one may choose, and what it costs."""

    x_name: str
    y_name: str
    points: tuple[tuple[float, float], ...]
    """From left to right; what is far from the best is left out."""
    best: tuple[float, float]
    published: tuple[float, float]
    """What the published formula would choose."""


def curve(work_s: float | None, conditions: Conditions) -> Curve | None:
    """Return the curve, or None where there is nothing to see."""
    found = _by_interval(conditions) if work_s is None else _by_checkpoints(work_s, conditions)
    if found is None or not all(math.isfinite(y) for _, y in (found.best, found.published)):
        return None
    return found


def _by_checkpoints(work_s: float, conditions: Conditions) -> Curve | None:
    chosen = best(work_s, conditions)
    published = plan_formula.published(work_s, conditions)
    most = max(8, 3 * chosen.segments)
    step = math.ceil(most / _POINTS_MAX)
    numbers = sorted({*range(1, most, step), chosen.segments, published.segments})
    times = [(n - 1.0, conditions.expected_s(work_s, n)) for n in numbers]
    points = [point for point in times if math.isfinite(point[1])]
    if len({y for _, y in points}) < 2:
        return None
    # Few checkpoints can cost a thousand times the best: then the rest would be a flat line.
    high_s = chosen.expected_s + 1.5 * (points[-1][1] - chosen.expected_s)
    return Curve(
        x_name="checkpoints",
        y_name="expected time, s",
        points=tuple(point for point in points if point[1] <= high_s),
        best=(chosen.segments - 1.0, chosen.expected_s),
        published=(published.segments - 1.0, published.expected_s),
    )


def _by_interval(conditions: Conditions) -> Curve | None:
    chosen_s = endless_interval_s(conditions)
    if math.isinf(chosen_s):
        return None

    def point(interval_s: float) -> tuple[float, float]:
        return interval_s, 100 * (conditions.stretch(interval_s) - 1)

    steps = range(_POINTS_MAX)
    return Curve(
        x_name="work between checkpoints, s",
        y_name="more than the work, %",
        points=tuple(point(chosen_s * (0.3 + 2.7 * step / steps[-1])) for step in steps),
        best=point(chosen_s),
        published=point(plan_formula.published_interval_s(conditions)),
    )


def draw(curve: Curve) -> str:
    """Return the curve as lines of text, or a sentence where they cannot be drawn."""
    if find_spec("plotext") is None:
        return "For a plot: pip install 'workrs[plot]'"
    if "utf" not in (sys.stdout.encoding or "").lower():
        return "No plot: its characters need a terminal with UTF-8."
    import plotext  # noqa: PLC0415 (0.2 s)

    figure = plotext.figure
    figure.clear()
    columns = min(_COLUMNS_MAX, shutil.get_terminal_size().columns)
    figure.plot_size(columns, _LINES)
    figure.theme("colorless")
    figure.draw(figure.signal(*zip(*curve.points, strict=True)))
    x, y = curve.best
    figure.draw(figure.signal([x], [y], marker="●"))
    for axis, values in zip("xy", zip(*curve.points, strict=True), strict=True):
        low, high = min(values), max(values)
        places = _ticks(low, high)
        figure.ruler(axis).lim(low, high)
        figure.ruler(axis).ticks(places, [f"{place:g}" for place in places])
    figure.label(curve.x_name, "x")
    lines = figure.build().string(colorless=True).splitlines()
    head = f"{curve.y_name} (● best: {x:.4g})"
    return "\n".join([head, *(line.rstrip() for line in lines)]).rstrip()


def _ticks(low: float, high: float) -> list[float]:
    """Return some five round numbers between the two, which differ."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
    first = math.ceil(low / step)
    return [step * number for number in range(first, math.floor(high / step) + 1)]


def write(curve: Curve, path: Path, kind: str) -> None:
    """Write the curve as a picture, *kind* svg or png.

    Raises:
        ConfigError: matplotlib is missing, or the file cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError("a picture needs matplotlib: pip install 'workrs[plot]'")
    from matplotlib.figure import Figure  # noqa: PLC0415 (0.5 s)

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curve.points, strict=True), color="tab:blue")
    for (x, y), name, marker, colour in (
        (curve.best, f"best: {curve.best[0]:.4g}", "o", "tab:red"),
        (curve.published, f"as published: {curve.published[0]:.4g}", "x", "black"),
    ):
        axes.plot([x], [y], marker, color=colour, label=name)
    axes.set_xlabel(curve.x_name)
    axes.set_ylabel(curve.y_name)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, format=kind, dpi=150)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
