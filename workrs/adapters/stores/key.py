"""Where a blob lies in a store that belongs to no node.

job/{job}/{epoch}/{sha256}      input/{device}/{sha256}
"""

from typing import Final

from workrs.domain.errors import IdError
from workrs.domain.ids import JobId, split_job_id
from workrs.ports.store import JobSpace, Space

JOBS: Final = "job"
_INPUTS: Final = "input"


def folders(space: Space) -> tuple[str, ...]:
    """Return the names of the folders from the root to a blob."""
    match space:
        case JobSpace(job=job, epoch=epoch):
            return JOBS, job, str(epoch)
        case _:
            return _INPUTS, space.device


def job_named(name: str) -> JobId | None:
    """Return the job whose folder has this name; None if it is no job's."""
    try:
        split_job_id(name)
    except IdError:
        return None
    return JobId(name)
