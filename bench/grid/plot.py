"""The results as a picture: time against checkpoints, a panel for each rate of faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.grid.cell import COST_S, PUBLISHED_S, Cell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from bench.grid.raw import Plan
    from bench.grid.tally import Measured, Row

_MEASURED, _MODEL, _PUBLISHED = "#1a4fb0", "#e07b00", "#888888"
_LAST = 20


def draw(rows: Sequence[Row], plan: Plan, measured: Measured, paths: Sequence[Path]) -> None:
    """Write the picture to *paths*, each in the format that its ending names."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same text for the same results, and letters that can be searched for.
    with mpl.rc_context({"svg.hashsalt": "grid", "svg.fonttype": "none", "font.size": 9}):
        rates = sorted({row.cell.rate for row in rows})
        figure = Figure(figsize=(2.6 * len(rates) + 1.0, 3.7), layout="constrained")
        for number, rate in enumerate(rates):
            axes = figure.add_subplot(1, len(rates), number + 1)
            _panel(axes, [row for row in rows if row.cell.rate == rate], plan, measured)
            if number == 0:
                axes.set_ylabel(f"time of a job of {plan.work_s * plan.scale:g} s work, s")
        known: dict[str, Artist] = {}
        for axes in figure.axes:
            handles, labels = axes.get_legend_handles_labels()
            known |= dict(zip(labels, handles, strict=True))
        figure.legend(
            known.values(), known.keys(), loc="outside lower center", ncols=3, frameon=False
        )
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            meta = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=160, metadata=meta)


def _panel(axes: Axes, rows: Sequence[Row], plan: Plan, measured: Measured) -> None:
    rate, scale = rows[0].cell.rate, plan.scale
    numbers = list(range(_LAST + 1))
    model = [_model(rate, n, plan, measured) * scale for n in numbers]
    axes.plot(numbers, model, color=_MODEL, lw=1.2, label="model with the C, R, D measured here")
    axes.plot(
        [row.cell.checkpoints for row in rows],
        [PUBLISHED_S[row.cell.rate, row.cell.checkpoints] for row in rows],
        "x",
        color=_PUBLISHED,
        label=f"published model, C = {COST_S:g} s, R = D = 0",
    )
    ends = [row for row in rows if not row.cut]
    if ends:
        _points(axes, ends, scale, "o", "measured, mean and 95 % interval")
    cut = [row for row in rows if row.cut]
    if cut:
        _points(axes, cut, scale, "^", "measured, mean of min(time, cut-off)")
        axes.plot(
            [row.cell.checkpoints for row in cut],
            [row.model_s * scale for row in cut],
            "_",
            ms=14,
            color=_MODEL,
            label="model, mean of min(time, cut-off)",
        )
        axes.annotate(
            f"{cut[0].cut} of {cut[0].runs} runs not done\nafter {plan.cut_s * scale:.0f} s",
            (0, cut[0].time_s.mean * scale),
            textcoords="offset points",
            xytext=(9, 5),
            fontsize=8,
            color=_MEASURED,
        )
    restart_s = next((r.time_s.mean * scale for r in rows if not r.cell.checkpoints), None)
    if restart_s is not None:
        axes.axhline(restart_s, color=_MEASURED, lw=0.8, ls=":", label="measured, restart only")
    published = [PUBLISHED_S[row.cell.rate, row.cell.checkpoints] for row in rows]
    top = max(model[0], *published, *(row.time_s.high * scale for row in rows))
    if top > 3 * min(model):
        axes.set_yscale("log")
        axes.set_yticks([300, 500, 1000, 2000, 4000], ["300", "500", "1000", "2000", "4000"])
        axes.minorticks_off()
        axes.set_ylim(280, top * 1.3)
    else:
        axes.set_ylim(290, max(top, *model) * 1.02)
    axes.set_title(f"{rate:g} faults a second", fontsize=10)
    axes.set_xlabel("checkpoints")
    axes.set_xticks([0, 5, 10, 15, 20])
    axes.spines[["top", "right"]].set_visible(False)


def _points(axes: Axes, rows: Sequence[Row], scale: float, mark: str, label: str) -> None:
    means = [row.time_s.mean * scale for row in rows]
    low = [(row.time_s.mean - row.time_s.low) * scale for row in rows]
    high = [(row.time_s.high - row.time_s.mean) * scale for row in rows]
    axes.errorbar(
        [row.cell.checkpoints for row in rows],
        means,
        yerr=[low, high],
        fmt=mark,
        ms=5,
        capsize=3,
        color=_MEASURED,
        label=label,
    )


def _model(rate: float, checkpoints: int, plan: Plan, measured: Measured) -> float:
    conditions = measured.conditions(Cell(rate=rate, checkpoints=checkpoints), plan.scale)
    return conditions.expected_s(plan.work_s, checkpoints + 1)
