"""`workrs show JOB`: one job in full."""

import asyncio
import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Final

from workrs.cli import job_name
from workrs.cli.connection import add_node_options, caller, read_view
from workrs.cli.error import OK
from workrs.cli.harmless import harmless
from workrs.cli.jobs import as_json, gone_agents, holder
from workrs.cli.minority import warn_of_minorities
from workrs.cli.options import Options
from workrs.cli.table import output_width, percent, print_json, size, wrapped
from workrs.cli.waiting import reasons
from workrs.domain.job import JobSpec
from workrs.domain.next_checkpoint import Why
from workrs.domain.record import CheckpointRef
from workrs.wire import codec
from workrs.wire.view import JobView

_TEXT_MAX = 400
_INDENT: Final = 12
_WHY: Final[Mapping[str, str]] = {
    Why.ASKED: "the job asks for it",
    Why.FORECAST: "equal parts of what is left of the forecast",
    Why.LAST: "only if the job outlives its forecast",
    Why.ENDLESS: "best for a job without a forecast",
    Why.OUTLIVED: "the forecast has passed",
}


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "show",
        "one job in full",
        examples=("workrs show pump-7/sum", "workrs show sum --json"),
    )
    it.argument("job", help=job_name.HELP, complete=job_name.COMPLETE)
    it.flag("--json", help="print JSON, with the job's spec")
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Read, find, print."""
    view = asyncio.run(read_view(caller(asked)))
    warn_of_minorities(view)
    job = job_name.find_job(view, asked.job)
    waits = reasons(view, job)
    if asked.json:
        spec = None if job.spec is None else json.loads(codec.encode(job.spec))
        print_json({**as_json(job), "waits": waits, "spec": spec})
    else:
        agent = holder(job.agent, gone_agents(view))
        lines = _lines(job, agent, view.size) + [("waits", why) for why in waits]
        width = output_width()
        print("\n".join(entry(name, text, width) for name, text in lines))
    return OK


def entry(name: str, text: str, width: int | None) -> str:
    """Return a name and what is known under it; further lines begin below the first."""
    room = None if width is None else max(_INDENT, width - _INDENT)
    parts = harmless(text).split("\n")
    lines = parts if room is None else [p for part in parts for p in wrapped(part, room) or [""]]
    return f"{name:<{_INDENT}}" + ("\n" + " " * _INDENT).join(lines)


def _lines(job: JobView, agent: str, nodes: int) -> list[tuple[str, str]]:
    """Return what is known, name by value; what is empty is left out."""
    checkpoint, outcome = job.checkpoint, job.outcome
    found = [
        ("job", f"{job.device}/{job.id}"),
        ("state", job.state),
        ("progress", " ".join(filter(None, (percent(job.progress), job.note)))),
        ("agent", agent),
        ("attempt", str(job.attempt or "")),
        ("epoch", str(job.epoch or "")),
        ("records", f"at {job.nodes} of {nodes} nodes"),
    ]
    if checkpoint is not None:
        parts = [
            f"{checkpoint.epoch}.{checkpoint.seq}",
            checkpoint.rung,
            size(checkpoint.bytes),
            percent(checkpoint.progress),
            "at " + ", ".join(checkpoint.location),
        ]
        found.append(("checkpoint", " ".join(filter(None, parts))))
        found.append(("next one", next_one(checkpoint) if outcome is None else ""))
    if outcome is not None:
        code = "" if outcome.exit_code is None else str(outcome.exit_code)
        found += [("exit code", code), ("result", size(outcome.result_bytes))]
    found.append(("reason", job.reason))
    if job.spec is not None:
        found += _spec_lines(job.spec.function, job.spec.spec)
    return [(name, text) for name, text in found if text]


def next_one(last: CheckpointRef) -> str:
    """Return when the checkpoint after *last* is due and why then; empty where nobody said."""
    if last.next_s is None:
        return ""
    why = _WHY.get(last.next_why, last.next_why)
    return f"after {round(last.next_s, 1):g} s more work: {why}"


def _spec_lines(function: str | None, spec: JobSpec) -> list[tuple[str, str]]:
    inline = spec.input_bytes()
    given = spec.input_url or ("" if inline is None else f"{size(len(inline))} inline")
    processors = f"{spec.cpus:g} CPU{'' if spec.cpus == 1 else 's'}"
    wanted = [*filter(None, [spec.constraints.arch]), *spec.constraints.labels]
    return [
        ("function", function or ""),
        ("image", spec.image or ""),
        ("command", json.dumps(list(spec.command), ensure_ascii=False)[:_TEXT_MAX]),
        ("input", given),
        ("files", ", ".join(sorted(spec.files))),
        ("needs", ", ".join([f"{spec.memory_mb} MiB", processors, *wanted])),
        ("limits", f"{spec.timeout_s:g} s an attempt, {spec.attempts_max} attempts"),
        ("forecast", "" if spec.forecast_s is None else f"{spec.forecast_s:g} s of work"),
        ("checkpoints", spec.checkpoint.mode.value),
        ("takeover", spec.takeover.value),
        ("priority", str(spec.priority)),
    ]
