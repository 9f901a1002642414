"""The published experiment on checkpoints, for real: containers, CRIU, and SIGKILLs of agents.

    sudo .venv/bin/python -m bench.paper_grid [--seeds 30] [--resume] [--out FOLDER]
    sudo .venv/bin/python -m bench.paper_grid --quick          # two minutes, to see that it works
    .venv/bin/python -m bench.paper_grid --report [--out FOLDER] # table and picture once more

A job of 300 s of work, faults at four rates, 0 to 15 checkpoints; here all is five times faster.
Each run is a job on a cluster of three nodes, with the faults of its seed: at each the agent
that holds the job is killed, with what it runs, whatever it is doing. Times are compared with
the exact model, given the costs that were measured in the same runs, and with restart alone.
See docs/paper-grid.md. The folder then has `runs.jsonl` (each run as it ended; `--resume` goes
on behind it), `summary.json`, `table.md`, `grid.svg` and `grid.png`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from bench.grid import page, plot, table, tally
from bench.grid.cell import CELLS
from bench.grid.field import open_field
from bench.grid.pace import Pace, order
from bench.grid.play import Player, Run
from bench.grid.raw import Done, Plan, RawFile, ended

OUT = Path(".workrs/paper-grid")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=30, help="runs of each cell")
    parser.add_argument("--scale", type=float, default=5.0, help="how many times faster")
    parser.add_argument("--cut", type=float, default=10.0, help="cut-off, in times the work")
    parser.add_argument("--side-by-side", type=int, default=14, metavar="N", help="jobs at a time")
    parser.add_argument("--spares", type=int, default=7, help="agents more than jobs")
    parser.add_argument("--memory-mib", type=int, default=0, help="ballast of each job")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    parser.add_argument("--report", action="store_true", help="run nothing, show what is there")
    parser.add_argument("--quick", action="store_true", help="one seed, 20 times faster")
    parser.add_argument("--publish", action="store_true", help="into docs/paper-grid.md, too")
    parser.add_argument("--keep-logs", type=Path, metavar="FOLDER", help="of nodes and agents")
    asked = parser.parse_args()
    if asked.quick:
        asked.seeds, asked.scale, asked.cut = 1, 20.0, 3.0
        asked.out = asked.out.with_name(asked.out.name + "-quick")
    return asked


def play(asked: argparse.Namespace, plan: Plan, raw: RawFile, found: list[Done]) -> None:
    """Play the runs that are not among those *found*."""
    there = ended(found)
    queue = [run for run in order(CELLS, asked.seeds, plan) if run not in there]
    if not queue:
        return
    with open_field(plan.side_by_side + plan.spares, asked.keep_logs) as field:
        pace = Pace(plan, queue, len(there))

        def on_end(run: Run) -> None:
            raw.add(Done(cell=run.cell, seed=run.seed, facts=run.facts))
            pace.ended(run.cell, run.seed, run.facts)

        player = Player(field, plan, on_end)
        try:
            player.play(queue, lambda: pace.tell(player.running, field.kills))
        finally:
            raw.add_session(pace.session())


def report(raw: RawFile, out: Path, *, publish: bool) -> bool:
    """Write table, picture and summary; return whether all runs went well."""
    (plan, found), sessions = raw.read(), raw.sessions()
    measured = tally.measure(found)
    rows = tally.rows(found, plan, measured)
    parts = (
        table.table(rows, plan),
        table.costs(measured, plan),
        table.strokes(measured, plan),
        table.effort(sessions),
    )
    text = "\n\n".join(parts) + "\n"
    (out / "table.md").write_text(text)
    summary = {
        "plan": asdict(plan),
        "measured": asdict(measured),
        "sessions": [asdict(session) for session in sessions],
        "rows": [asdict(row) for row in rows],
        "trouble": [t for d in found for t in (*d.facts.trouble, d.facts.reason) if t],
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    plot.draw(rows, plan, measured, [out / "grid.svg", out / "grid.png"])
    print(text)
    if publish:
        page.publish(text, out / "grid.svg")
    return {(done.cell, done.seed) for done in found} == ended(found)


def main() -> int:
    """Play what is not there yet, and report."""
    signal.signal(signal.SIGTERM, _leave)
    asked = options()
    raw = RawFile(asked.out / "runs.jsonl")
    if not asked.report:
        plan = Plan(
            scale=asked.scale,
            cut_works=asked.cut,
            side_by_side=asked.side_by_side,
            spares=asked.spares,
            memory_mib=asked.memory_mib,
        )
        if asked.quick and not asked.resume:
            (asked.out / "runs.jsonl").unlink(missing_ok=True)
        play(asked, plan, raw, raw.begin(plan, resume=asked.resume))
    return 0 if report(raw, asked.out, publish=asked.publish) else 1


def _leave(_number: int, _frame: object) -> NoReturn:
    """Leave through the contexts, so that engines and members end."""
    raise SystemExit("stopped; --resume goes on from here")


if __name__ == "__main__":
    sys.exit(main())
