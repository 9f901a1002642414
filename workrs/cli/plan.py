"""`workrs plan`: how often to checkpoint a job, what it costs, and what others recommend.

Needs no cluster. The model and its limits are in docs/checkpoint-model.md.
"""

import math
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from workrs.cli.error import FAILED, OK
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.table import plain, print_json
from workrs.domain import plan_formula
from workrs.domain.plan import Conditions, best, endless_interval_s

_NAMES: Final[Mapping[str, str]] = {
    "exact": "exact optimum",
    "young": "Young 1974",
    "daly": "Daly 2006",
    "workrs": "Workrs, as published",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a formula recommends, and what the exact model expects of that."""

    interval_s: float
    """Work between two checkpoints, as the formula has it."""
    stretch: float
    """Expected time per second of work."""
    segments: int | None = None
    """None, here and below: the job's length is unknown."""
    expected_s: float | None = None
    restart_only_s: float | None = None


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "plan",
        "how often to checkpoint a job, and how long it then takes",
        examples=(
            "workrs plan --work 3600 --cost 2 --mtbf 7200 --restore 5 --detect 3",
            "workrs plan --cost 0.3 --mtbf 86400      # a job of unknown length",
            "workrs plan --work 3600 --cost 2 --mtbf 7200 --svg plan.svg",
        ),
    )
    for flag, help_text in (
        ("--work", "what the job takes without faults and checkpoints; left out: nobody knows"),
        ("--cost", "how long it stands still for a checkpoint"),
        ("--mtbf", "mean time between losses of the agent it runs on; inf: never"),
    ):
        it.value(
            flag, help=help_text, convert=_seconds, metavar="SECONDS", required=flag != "--work"
        )
    it.value("--restore", help="restoring it", convert=_seconds, metavar="SECONDS", default=0.0)
    it.value(
        "--detect",
        help="from a fault until the restore begins",
        convert=_seconds,
        metavar="SECONDS",
        default=0.0,
    )
    it.flag("--json", help="print the plan as JSON; null: longer than any number, or unknown")
    it.value("--svg", help="write the plot to a file", convert=Path, metavar="FILE")
    it.value("--png", help="write the plot to a file", convert=Path, metavar="FILE")
    return it


def _seconds(text: str) -> float:
    """Return a length of time as every option has it, or any other number: `inf` is for ever."""
    try:
        return float(text)
    except ValueError:
        return seconds(text)


def run(asked: Namespace) -> int:
    """Plan, print, plot."""
    conditions = Conditions(
        cost_s=asked.cost, mtbf_s=asked.mtbf, restore_s=asked.restore, detect_s=asked.detect
    )
    found = advise(asked.work, conditions)
    if asked.json:
        print_json(_as_json(asked.work, conditions, found))
    else:
        _print(asked.work, conditions, found)
    return _plot(asked, conditions)


def advise(work_s: float | None, conditions: Conditions) -> dict[str, Advice]:
    """Return what each formula recommends; without *work_s* as to the interval alone."""
    intervals = {
        "exact": endless_interval_s(conditions),
        "young": plan_formula.young_interval_s(conditions),
        "daly": plan_formula.daly_interval_s(conditions),
        "workrs": plan_formula.published_interval_s(conditions),
    }
    if work_s is None:
        return {
            name: Advice(interval_s=interval_s, stretch=conditions.stretch(interval_s))
            for name, interval_s in intervals.items()
        }
    found = {
        "exact": best(work_s, conditions),
        "young": plan_formula.nearest(work_s, intervals["young"], conditions),
        "daly": plan_formula.nearest(work_s, intervals["daly"], conditions),
        "workrs": plan_formula.published(work_s, conditions),
    }
    return {
        name: Advice(**asdict(plan), stretch=plan.expected_s / work_s)
        for name, plan in found.items()
    }


def _as_json(
    work_s: float | None, conditions: Conditions, found: Mapping[str, Advice]
) -> dict[str, object]:
    others = {name: _finite(asdict(found[name])) for name in ("young", "daly", "workrs")}
    if work_s is not None:
        segments = found["workrs"].segments or 1
        published_s = plan_formula.published_expected_s(work_s, segments, conditions)
        others["workrs"] |= _finite({"published_s": published_s})
    given = {"work_s": work_s, **asdict(conditions)}
    return {**_finite(given), **_finite(asdict(found["exact"])), **others}


def _finite(values: Mapping[str, float | None]) -> dict[str, object]:
    """Return the values as JSON has them: it has no infinity."""
    return {k: None if v is not None and math.isinf(v) else v for k, v in values.items()}


def _print(work_s: float | None, conditions: Conditions, found: Mapping[str, Advice]) -> None:
    length = "Work of unknown length" if work_s is None else f"{work_s:.10g} s of work"
    print(
        f"{length}; a checkpoint costs {conditions.cost_s:.10g} s, a restore "
        f"{conditions.restore_s:.10g} s;\n{_faults(conditions)}.\n"
    )
    rows = [[_NAMES[name], *_cells(advice)] for name, advice in found.items()]
    if work_s is not None:
        alone_s = conditions.expected_s(work_s)
        rows.append(["without any", "0", "never", _time(alone_s), _more(alone_s / work_s)])
    columns = ["", "checkpoints", "every", "expected time", "more than work"]
    shown = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    table = [[row[place] for place in shown] for row in rows]
    print(plain([columns[place] for place in shown], table))


def _faults(conditions: Conditions) -> str:
    if math.isinf(conditions.mtbf_s):
        return "no fault ever strikes"
    return (
        f"a fault strikes every {conditions.mtbf_s:.10g} s "
        f"and is noticed after {conditions.detect_s:.10g} s"
    )


def _cells(advice: Advice) -> list[str]:
    count = "" if advice.segments is None else f"{advice.segments - 1}"
    never = advice.segments == 1 or math.isinf(advice.interval_s)
    every = "never" if never else _time(advice.interval_s)
    time = "" if advice.expected_s is None else _time(advice.expected_s)
    return [count, every, time, _more(advice.stretch)]


def _time(value_s: float) -> str:
    if math.isinf(value_s):
        return "never ends"
    if value_s >= 1e7:
        return f"{value_s:.2e} s"
    return f"{value_s:.1f} s" if value_s >= 100 else f"{value_s:.3g} s"


def _more(stretch: float) -> str:
    if math.isinf(stretch):
        return "never ends"
    share = 100 * (stretch - 1)
    return f"{share:.1e} %" if share >= 1e5 else f"{share:.2f} %"


def _plot(asked: Namespace, conditions: Conditions) -> int:
    """Draw or write the curve; return the exit code: a file that was asked for and not written."""
    from workrs.cli import plan_plot  # noqa: PLC0415 (what it imports takes a second)

    files = {kind: path for kind in ("svg", "png") if (path := getattr(asked, kind)) is not None}
    if asked.json and not files:
        return OK
    curve = plan_plot.curve(asked.work, conditions)
    if curve is None:
        why = _no_curve(conditions)
        told = [f"{path} was not written: {why}" for path in files.values()]
        print("\n".join(["", *(told or [f"No plot: {why}"])]), file=sys.stderr)
        return FAILED if files else OK
    if not asked.json:
        print()
        print(plan_plot.draw(curve))
    for kind, path in files.items():
        plan_plot.write(curve, path, kind)
    return OK


def _no_curve(conditions: Conditions) -> str:
    """Return why there is nothing to draw."""
    if math.isinf(conditions.mtbf_s):
        return "without faults no checkpoint ever pays, whatever the interval."
    return "no choice, or only one, lets the job end in a time that can be told."
