"""Which job is meant: `DEVICE/ID`, or the id alone where only one device has it."""

from workrs.cli.error import NotFoundError
from workrs.domain.errors import ConfigError, IdError
from workrs.domain.ids import client_id, job_id, local_job_id
from workrs.wire.view import ClusterView, JobView

HELP = "DEVICE/ID, or the id alone where only one device has it"
_NAMED_MAX = 5


def find_job(view: ClusterView, text: str) -> JobView:
    """Return the job that *text* names.

    Raises:
        ConfigError: it is no name of a job, or several devices have a job of this id.
        NotFoundError: no node shows such a job.
    """
    device, slash, local = text.rpartition("/")
    try:
        if slash:
            found = view.job(job_id(client_id(device), local_job_id(local)))
            matches = [] if found is None else [found]
        else:
            wanted = local_job_id(local)
            matches = [job for job in view.jobs() if job.id == wanted]
    except IdError as error:
        raise ConfigError(f"{text!r} names no job: {error}. Write {HELP}") from error
    if not matches:
        raise NotFoundError(
            f"there is no job {text}; workrs jobs lists them. Ended jobs leave the list after "
            "their retention_s"
        )
    if len(matches) > 1:
        named = ", ".join(f"{job.device}/{job.id}" for job in matches[:_NAMED_MAX])
        raise ConfigError(f"{len(matches)} devices have a job {text}: write one of {named}")
    return matches[0]
