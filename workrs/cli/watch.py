"""`workrs watch JOB`: how a job goes, until it has ended; its outcome is the exit code."""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Collection
from contextlib import AsyncExitStack, aclosing

from workrs.cli import job_name
from workrs.cli.connection import add_node_options, caller
from workrs.cli.error import FAILED, OK
from workrs.cli.harmless import harmless
from workrs.cli.job_feed import follow
from workrs.cli.jobs import as_json, gone_agents, holder
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.progress import Step, shown_progress
from workrs.cli.table import print_json_line, size
from workrs.domain.errors import TimedOutError
from workrs.domain.ids import ClientId
from workrs.domain.job import Verdict
from workrs.wire.view import JobView


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "watch",
        "follow a job to its end; the exit code is its outcome",
        examples=(
            "workrs watch pump-7/sum",
            "workrs watch sum --timeout 10m    # then: workrs result sum",
            "workrs watch sum --json | jq .progress",
        ),
    )
    it.argument("job", help=job_name.HELP, complete=job_name.COMPLETE)
    it.value(
        "--timeout", convert=seconds, metavar="SECONDS", help="how long to wait at most; no limit"
    )
    it.flag("--json", help="print a line of JSON for every change")
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Follow, print. 1 when it ended in another way than with a result."""
    return asyncio.run(_watch(asked))


async def _watch(asked: Namespace) -> int:
    who = caller(asked)
    told: dict[str, object] = {}
    try:
        async with (
            asyncio.timeout(asked.timeout),
            AsyncExitStack() as stack,
            aclosing(follow(who, asked.job)) as steps,
        ):
            show = None
            async for job, view in steps:
                if asked.json:
                    if told != (told := as_json(job)):
                        print_json_line(told)
                    continue
                if show is None:
                    name = f"{job.device}/{job.id}"
                    show = stack.enter_context(shown_progress(name, sys.stdout))
                show(_step(job, gone_agents(view)))
    except TimeoutError:
        raise TimedOutError(f"{asked.job} has not ended within {asked.timeout:g} s") from None
    if not asked.json:
        _print_end(job)
    return OK if job.outcome and job.outcome.verdict is Verdict.SUCCEEDED else FAILED


def _step(job: JobView, gone: Collection[ClientId]) -> Step:
    return Step(
        state=job.state,
        agent=holder(job.agent, gone),
        attempt=job.attempt,
        note=job.note,
        progress=job.progress,
        is_final=not job.is_open,
    )


def _print_end(job: JobView) -> None:
    """Say what a bar or a line does not: why it failed, or how much the result is."""
    outcome = job.outcome
    if outcome is None or outcome.verdict is Verdict.SUCCEEDED:
        count = 0 if outcome is None else outcome.result_bytes
        print(f"its result has {size(count)}: workrs result {job.device}/{job.id}")
    elif job.reason:
        print(harmless(job.reason))
