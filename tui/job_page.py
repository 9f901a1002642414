"""The page of one job: how it stands, what was seen to happen to it, and what is planned."""

from collections.abc import Mapping, Sequence
from typing import Final

from tui import sign
from tui.cell import Cell, Look, Piece, narrow
from tui.job_columns import job_state, lease_tone, progress
from tui.model import amount
from tui.model.age import duration
from tui.model.job import Job
from tui.model.opened import Opened
from tui.page import Section, fact, facts, table, timeline
from workrs.domain import ladder
from workrs.domain.ids import JobId
from workrs.domain.next_checkpoint import Why
from workrs.domain.quorum import newest_checkpoints
from workrs.domain.record import CheckpointRef, Record
from workrs.wire.view import QUEUED

LOG_LINES: Final = 12
_BAR: Final = 40
_WHY: Final[Mapping[str, str]] = {
    Why.ASKED: "the job asks for it",
    Why.FORECAST: "equal parts of what is left of the forecast",
    Why.LAST: "only if the job outlives its forecast",
    Why.ENDLESS: "best for a job without a forecast",
    Why.OUTLIVED: "the forecast has passed",
}


def sections(look: Look, job_id: JobId) -> list[Section]:
    """Return the page."""
    job = look.model.jobs.get(job_id)
    if job is None:
        gone = [[Piece("It is not on the bus any more: its retention_s has passed.", "dim")]]
        return [Section("job", gone)]
    opened = look.model.opened
    if opened is not None and opened.job != job_id:
        opened = None
    found = [
        Section("state", _state(job, look)),
        Section("plan", _plan(job, look)),
        Section("checkpoints", _checkpoints(look, job_id), 1),
        Section("claims", _claims(job, look), 1),
        Section("votes", _votes(look, job_id), 1),
        Section("what happened", timeline(job.timeline, look.now), 1),
    ]
    if opened is not None:
        found.insert(2, Section("asked for", _spec(opened)))
        found.insert(2, Section("log" if job.view.is_open else "result", _output(job, opened)))
    return [section for section in found if section.lines]


def _state(job: Job, look: Look) -> list[Cell]:
    view = job.view
    left_s = look.model.lease_left_s(job, look.now)
    shown = job_state(job, look)
    # Of an orphan the records say since when it is held, not since when nobody renews that.
    span = "" if shown == "orphan" else f"  for {job.since.text(look.now)}"
    lines: list[Cell] = [fact("state", *sign.state(shown), span)]
    if view.is_open:
        lines.append([*fact("progress"), *progress(job, _BAR)])
    if view.is_open and view.agent is not None:
        agent = look.model.agents.get(view.agent)
        beat = f", heard {agent.beat.text(look.now)} ago" if agent else ""
        lines.append(fact("agent", f"{view.agent}{beat}"))
    if left_s is not None:
        ttl_s = look.model.timing.ttl_s
        share, tone = left_s / ttl_s, lease_tone(left_s, ttl_s)
        bar = Piece("▮" * round(share * 10) + "▯" * (10 - round(share * 10)), tone or "info")
        lines.append(fact("lease", bar, Piece(f" {left_s:.0f} s at least, epoch {view.epoch}")))
    tries = f"{view.attempt}" if view.attempt else ""
    if job.takeovers:
        tries += f", {job.takeovers} takeover{'s' if job.takeovers > 1 else ''} seen"
    lines += facts(
        [
            ("attempts", tries),
            ("note", job.note if view.is_open else ""),
            ("reason", " ".join(view.reason.split())),
        ]
    )
    if view.outcome is not None and view.outcome.exit_code is not None:
        lines.append(fact("exit code", str(view.outcome.exit_code)))
    return lines


def _plan(job: Job, look: Look) -> list[Cell]:
    """Say when the next checkpoint is due and why then, or why the job waits."""
    view, last = job.view, job.view.checkpoint
    if not view.is_open:
        return []
    if view.state == QUEUED:
        return _waits(last, look)
    if last is None:
        return [fact("next", "the first checkpoint is not there yet")]
    lines: list[Cell] = []
    if job.checkpointed is not None:
        lost = job.checkpointed.text(look.now)
        lines.append(fact("at risk", f"the work of {lost}, since checkpoint {_name(last)}"))
    if last.next_s is not None:
        why = _WHY.get(last.next_why, last.next_why)
        lines.append(fact("next", f"after {last.next_s:.1f} s more work"))
        lines.append(fact("because", why))
    return lines


def _waits(last: CheckpointRef | None, look: Look) -> list[Cell]:
    live = [agent for agent in look.model.agents.values() if agent.state == "live"]
    if not live:
        return [fact("waits", Piece("no agent is live", "warn"))]
    free = [agent for agent in live if agent.held < agent.slots]
    if not free:
        return [fact("waits", f"all slots of {len(live)} agents are taken")]
    if last is None:
        return [fact("waits", "for an offer, or for an agent that meets its constraints")]
    refusals = [
        (agent.name, ladder.refusal(ladder.saved_as(last), agent.profile.able))
        for agent in free
        if agent.profile is not None
    ]
    if any(why is None for _, why in refusals):
        return [fact("waits", "for an offer")]
    return [fact("waits", f"{name} cannot restore it: {why}") for name, why in refusals[:4]]


def _name(ref: CheckpointRef) -> str:
    return f"{ref.epoch}.{ref.seq}"


def _checkpoints(look: Look, job: JobId) -> list[Cell]:
    refs = newest_checkpoints(look.model.view.records(job))[:4]
    if not refs:
        return []
    rows = [
        (
            _name(ref),
            ref.rung,
            amount.size(ref.bytes),
            "" if ref.progress is None else f"{ref.progress:.0%}",
            _seconds(ref.frozen_s),
            _seconds(ref.upload_s),
            f"{len(ref.location)}",
        )
        for ref in refs
    ]
    titles = ("no.", "rung", "size", "at", "frozen", "upload", "copies")
    return table(titles, rows, right=titles[2:])


def _claims(job: Job, look: Look) -> list[Cell]:
    """Return who held the job, the newest first."""
    rows: list[Sequence[Cell | str]] = []
    for claim in reversed(job.claims):
        how = [Piece(narrow(claim.how), "warn" if claim.how == "taken over" else "")]
        lasted = f"{'>' if claim.since.before else ''}{duration(claim.lasted_s(look.now))}"
        ago = f"{claim.since.text(look.now)} ago"
        holds = [Piece("holds it", "info")]
        rows.append(
            (claim.agent, f"{claim.epoch}", ago, lasted, holds if claim.ended is None else how)
        )
    return (
        table(
            ("agent", "epoch", "began", "lasted", "ended"), rows, right=("epoch", "began", "lasted")
        )
        if rows
        else []
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _votes(look: Look, job: JobId) -> list[Cell]:
    """Return what each node has granted and accepted: its record."""
    records = look.model.view.records(job)
    if not records:
        return []
    highest = max(record.epoch for record in records.values())
    rows: list[Sequence[Cell | str]] = [
        _vote(name, records.get(name), highest) for name in sorted({*look.model.nodes, *records})
    ]
    titles = ("node", "epoch", "granted to", "checkpoint", "outcome")
    return table(titles, rows, right=("epoch",))


def _vote(name: str, record: Record | None, highest: int) -> Sequence[Cell | str]:
    if record is None:
        return (name, "-", [Piece("shows no record", "dim")], "", "")
    behind = record.epoch < highest
    epoch = [Piece(f"{record.epoch}{' behind' if behind else ''}", "warn" if behind else "")]
    mark = record.checkpoints[0] if record.checkpoints else None
    outcome = "decided" if record.decided else "accepted" if record.accepted else ""
    word = record.decided or (record.accepted.outcome if record.accepted else None)
    return (
        name,
        epoch,
        record.holder.client if record.holder else "-",
        _name(mark) if mark else "-",
        f"{outcome} {word.verdict.value}" if word else "-",
    )


def _output(job: Job, opened: Opened) -> list[Cell]:
    if job.view.is_open:
        if not opened.log:
            why = opened.refusal or "no lines yet"
            return [[Piece(narrow(why), "dim")]]
        return [[Piece(narrow(line))] for line in opened.log[-LOG_LINES:]]
    outcome = opened.outcome
    if outcome is None:
        return []
    inline = outcome.inline_result()
    if inline is None:
        where = f"{amount.size(outcome.result_bytes)} in the nodes' stores: o fetches it"
        return [[Piece(where if outcome.result_url else "none", "dim")]]
    head = inline[:400].decode("utf-8", errors="replace").splitlines()[:6]
    what = Piece(f"{len(inline)} bytes; o shows all of it", "dim")
    return [*([Piece(narrow(line))] for line in head), [what]]


def _spec(opened: Opened) -> list[Cell]:
    if opened.spec is None:
        return []
    spec = opened.spec.spec
    wanted = [*filter(None, [spec.constraints.arch]), *spec.constraints.labels]
    every = spec.checkpoint.interval_s
    return facts(
        [
            ("function", opened.spec.function or ""),
            ("image", spec.image or ""),
            ("command", " ".join(spec.command)[:200]),
            (
                "needs",
                ", ".join(
                    [f"{spec.memory_mb} MiB", f"{spec.cpus:g} CPU{'s' * (spec.cpus != 1)}", *wanted]
                ),
            ),
            ("limits", f"{spec.timeout_s:g} s an attempt, {spec.attempts_max} attempts"),
            ("forecast", "" if spec.forecast_s is None else f"{spec.forecast_s:g} s of work"),
            (
                "checkpoints",
                spec.checkpoint.mode.value + (f", every {every:g} s" if every else ", planned"),
            ),
            ("takeover", spec.takeover.value),
            ("priority", str(spec.priority)),
        ]
    )
