"""`workrs result JOB`: the result's bytes, as they are, on the standard output."""

import asyncio
import sys
from argparse import Namespace
from pathlib import Path

from device_client.blob import Access, get_result
from workrs.cli import job_name
from workrs.cli.connection import add_node_options, caller, connected, fill
from workrs.cli.error import FAILED, OK, TimedOutError
from workrs.cli.harmless import harmless
from workrs.cli.jobs import as_json
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.table import print_json
from workrs.domain.errors import BusError, ConfigError
from workrs.domain.job import Verdict
from workrs.ports.bus import Bus
from workrs.wire.view import ClusterView, JobView

_RESULT_MAX_BYTES = 4 << 30
_BLOB_TIMEOUT_S = 30.0
_LOOK_TIMEOUT_S = 15.0


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "result",
        "write a job's result to the standard output",
        examples=(
            "workrs result pump-7/sum",
            "workrs result sum --wait --timeout 600 > sum.bin",
            "workrs result pump-7/sum --output sum.bin --json",
        ),
    )
    it.argument("job", help=job_name.HELP)
    it.flag("--wait", help="wait for the job's end")
    it.value(
        "--timeout",
        convert=seconds,
        default=3600.0,
        metavar="SECONDS",
        help="how long to wait at most, with --wait",
    )
    it.value("--output", convert=Path, metavar="FILE", help="write the result there")
    it.flag("--json", help="print how the job ended; the result only goes to --output")
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Read or wait, fetch, write. 1 when the job has no result."""
    who = caller(asked)
    job, bases = asyncio.run(_look(asked))
    outcome = job.outcome
    if outcome is None or outcome.verdict is not Verdict.SUCCEEDED:
        if asked.json:
            print_json(as_json(job))
        reason = f": {harmless(job.reason)}" if job.reason else ""
        hint = "; --wait waits for its end" if outcome is None else ""
        print(f"workrs: {job.device}/{job.id} {_stands(job)}{reason}{hint}", file=sys.stderr)
        return FAILED
    data = outcome.inline_result()
    if data is None and outcome.result_url is not None and (asked.output or not asked.json):
        data = get_result(
            outcome.result_url,
            job.job,
            bases,
            limit_bytes=_RESULT_MAX_BYTES,
            access=Access(username=who.user, tls=who.tls),
            timeout_s=_BLOB_TIMEOUT_S,
        )
    _write(data or b"", asked)
    if asked.json:
        print_json(as_json(job))
    return OK


def _stands(job: JobView) -> str:
    return f"is {job.state}" if job.is_open else job.state


def _write(data: bytes, asked: Namespace) -> None:
    if asked.output is not None:
        try:
            asked.output.write_bytes(data)
        except OSError as error:
            raise ConfigError(f"cannot write {asked.output}: {error.strerror}") from error
    elif not asked.json:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


async def _look(asked: Namespace) -> tuple[JobView, list[str]]:
    """Return the job, and where blobs can be got."""
    who = caller(asked)
    try:
        async with asyncio.timeout(asked.timeout if asked.wait else _LOOK_TIMEOUT_S):
            while True:
                try:
                    async with connected(who) as bus:
                        return await _follow(bus, asked)
                except BusError:
                    # The node was lost meanwhile: the others know the same.
                    who = who.next_first()
    except TimeoutError:
        what = f"{asked.job} has no outcome" if asked.wait else "the nodes did not answer"
        raise TimedOutError(what + " in time") from None


async def _follow(bus: Bus, asked: Namespace) -> tuple[JobView, list[str]]:
    view = ClusterView()
    await fill(view, bus)
    job = job_name.find_job(view, asked.job)
    while asked.wait and job.is_open:
        job = await _next(view, bus, job)
    states = [node.state for node in view.nodes() if node.state is not None]
    return job, [state.blobs_url for state in states if state.live and state.blobs_url]


async def _next(view: ClusterView, bus: Bus, job: JobView) -> JobView:
    for message in await bus.receive():
        view.apply(message.topic, message.payload)
    # A decided job whose retention ended meanwhile is gone from the bus: its last view stays.
    return view.job(job.job) or job
