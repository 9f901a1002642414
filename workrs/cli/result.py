"""`workrs result JOB`: the result's bytes, as they are, on the standard output."""

import asyncio
import sys
from argparse import Namespace
from contextlib import aclosing
from pathlib import Path

from device_client.blob import Access, get_result
from workrs.cli import job_name
from workrs.cli.connection import add_node_options, caller
from workrs.cli.error import FAILED, OK
from workrs.cli.harmless import harmless
from workrs.cli.job_feed import follow
from workrs.cli.jobs import as_json
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.table import print_json
from workrs.domain.errors import ConfigError, TimedOutError
from workrs.domain.job import Verdict
from workrs.wire.view import JobView

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
    it.argument("job", help=job_name.HELP, complete=job_name.COMPLETE)
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


def _replace(path: Path, data: bytes) -> None:
    """Write a file at once as a whole: a full disk leaves no half of a result under its name."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)  # a pipe, a terminal
        return
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _write(data: bytes, asked: Namespace) -> None:
    if asked.output is not None:
        try:
            _replace(asked.output, data)
        except OSError as error:
            raise ConfigError(f"cannot write {asked.output}: {error.strerror}") from error
    elif not asked.json:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


async def _look(asked: Namespace) -> tuple[JobView, list[str]]:
    """Return the job, and where blobs can be got."""
    try:
        async with (
            asyncio.timeout(asked.timeout if asked.wait else _LOOK_TIMEOUT_S),
            aclosing(follow(caller(asked), asked.job)) as steps,
        ):
            async for job, view in steps:
                if not (asked.wait and job.is_open):
                    states = [node.state for node in view.nodes() if node.state is not None]
                    return job, [each.blobs_url for each in states if each.live and each.blobs_url]
    except TimeoutError:
        pass
    if asked.wait:
        raise TimedOutError(f"{asked.job} has not ended within {asked.timeout:g} s")
    raise TimedOutError(f"the nodes did not answer within {_LOOK_TIMEOUT_S:g} s")
