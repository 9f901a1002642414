"""The results as a table in Markdown, in seconds of the published experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.grid.cell import COST_S, PUBLISHED_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.grid.raw import Plan, Session
    from bench.grid.tally import Interval, Measured, Row

_HEAD = (
    "| faults a second | checkpoints | runs | measured, 95 % interval | model, mean "
    "| model, same faults | published model, C = 5 s | less than without | kills a run |"
)


def table(rows: Sequence[Row], plan: Plan) -> str:
    """Return the table's text."""
    lines = [_HEAD, "|" + "---|" * 9]
    lines += [_line(row, plan.scale) for row in rows]
    return "\n".join(lines)


def _line(row: Row, scale: float) -> str:
    cell = row.cell
    mark = "≥ " if row.cut else ""
    runs = f"{row.runs}, {row.cut} cut off" if row.cut else str(row.runs)
    saved = ""
    if row.saved_s is not None:
        saved = ("≥ " if row.saved_at_least else "") + _interval(row.saved_s, scale)
    words = (
        f"{cell.rate:g}",
        cell.checkpoints,
        runs,
        mark + _interval(row.time_s, scale),
        f"{row.model_s * scale:.0f}",
        f"{row.replay_s * scale:.0f}",
        PUBLISHED_S[cell.rate, cell.checkpoints],
        saved,
        f"{row.kills:.1f}",
    )
    return "| " + " | ".join(map(str, words)) + " |"


def _interval(value: Interval, scale: float) -> str:
    return f"{value.mean * scale:.0f} ({value.low * scale:.0f} … {value.high * scale:.0f})"


def costs(measured: Measured, plan: Plan) -> str:
    """Return what the runs cost, as a second table."""
    m, scale = measured, plan.scale

    def line(name: str, value_s: float, more: str) -> str:
        return f"| {name} | {value_s:.2f} | {value_s * scale:.2f} | {more} |"

    checkpoints = f"{m.checkpoints} checkpoints; {COST_S:g} s in the published experiment"
    detect = f"median {m.detect_median_s:.2f} s, most {m.detect_max_s:.2f} s of the bench"
    return "\n".join(
        [
            "| mean | s, bench | s, experiment | |",
            "|---|---|---|---|",
            line("C: the program stands still", m.checkpoint_s, checkpoints),
            line("stored in two places after that", m.upload_s, "a kill meanwhile costs a segment"),
            line("D: from the kill to the next claim", m.detect_s, detect),
            line("R: from there to the program, restored", m.restore_s, ""),
            line("the same, from the start", m.start_s, "what the cells without checkpoints have"),
            line("from the program's end to the device", m.end_s, "part of the time measured"),
        ]
    )


def strokes(measured: Measured, plan: Plan) -> str:
    """Return a sentence on the faults."""
    m = measured
    return (
        f"Work {plan.work_s:g} s, cut off after {plan.cut_s:g} s of the bench. {m.kills} kills, "
        f"{m.hit_checkpoints} of them during a checkpoint and {m.hit_restores} during a restore "
        f"or a start; {m.idle_faults} more faults found no agent that held the job."
    )


def effort(sessions: Sequence[Session]) -> str:
    """Return a sentence on what the machine had to do."""
    took_s = sum(session.took_s for session in sessions)
    busy = sum(session.busy * session.took_s for session in sessions) / took_s if took_s else 0.0
    return (
        f"{sum(session.runs for session in sessions)} runs in {took_s / 60:.0f} min; the machine's "
        f"cores were {busy:.0%} busy."
    )
