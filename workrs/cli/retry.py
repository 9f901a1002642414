"""`workrs retry JOB`: an ended job's spec, submitted again.

An outcome is for good, so this is a new job: whoever submits it gets its result, and the first one
stays as it is.
"""

import asyncio
import json
from argparse import Namespace
from typing import Final

from workrs.cli import job_name, submit
from workrs.cli.connection import add_node_options, caller, read_view
from workrs.cli.error import NotFoundError
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError
from workrs.wire import codec
from workrs.wire.view import ClusterView, JobView

_STEM_MAX: Final = 56
"""Of an id's at most 63 characters; the rest is for the number."""


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "retry",
        "submit an ended job's spec again, as a new job",
        examples=(
            "workrs retry pump-7/sum            # prints the new job's name",
            "workrs retry sum --as sum-again --wait > sum.bin",
        ),
    )
    it.argument("job", help=job_name.HELP, complete=job_name.COMPLETE)
    it.value("--as", metavar="ID", help="the new job's id; default the old one with a number")
    submit.add_submit_options(it)
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Read the spec, submit it, and wait until the job is accepted, or ended."""
    who = caller(asked)
    device = submit.device_of(asked, who)
    view = asyncio.run(read_view(who))
    spec = _spec(job_name.find_job(view, asked.job))
    name = getattr(asked, "as") or free_name(asked.job, device, view)
    return asyncio.run(submit.publish(asked, who, device, spec, job=name))


def _spec(job: JobView) -> dict[str, object]:
    name = f"{job.device}/{job.id}"
    if job.is_open:
        raise ConfigError(
            f"{name} has not ended: it is {job.state}, and tried again by itself; to begin anew, "
            f"workrs cancel {name} first"
        )
    if job.spec is None:
        raise NotFoundError(f"no node shows the spec of {name} any more: submit it again yourself")
    found: dict[str, object] = json.loads(codec.encode(job.spec.spec))
    return found


def free_name(text: str, device: str, view: ClusterView) -> str:
    """Return an id that *device* has not used for any job that *view* shows: `sum-2`, `sum-3` …."""
    taken = {job.id for job in view.jobs() if job.device == device}
    stem = text.rpartition("/")[2][:_STEM_MAX]
    return next(
        name for number in range(2, len(taken) + 3) if (name := f"{stem}-{number}") not in taken
    )
