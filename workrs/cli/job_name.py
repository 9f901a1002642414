"""Which job is meant: `DEVICE/ID`, or the id alone where only one device has it."""

from workrs.cli.error import NotFoundError
from workrs.cli.near import near
from workrs.domain.errors import ConfigError, IdError
from workrs.domain.ids import JobId, client_id, job_id, local_job_id, split_job_id
from workrs.wire.view import ClusterView, JobView

COMPLETE = "job"
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
        raise ConfigError(f"{text[:80]!r} names no job: {error}. Write {HELP}") from error
    if not matches:
        hint = _near(view, text) or (
            "; workrs jobs lists them. Ended jobs leave the list after their retention_s"
        )
        raise NotFoundError(f"there is no job {text}{hint}")
    if len(matches) > 1:
        named = ", ".join(f"{job.device}/{job.id}" for job in matches[:_NAMED_MAX])
        raise ConfigError(f"{len(matches)} devices have a job {text}: write one of {named}")
    return matches[0]


def exact(text: str) -> JobId | None:
    """Return the one job that *text* can name, if it names its device, too."""
    device, slash, local = text.rpartition("/")
    try:
        return job_id(client_id(device), local_job_id(local)) if slash else None
    except IdError:
        return None


def _near(view: ClusterView, text: str) -> str:
    names = ["/".join(split_job_id(job)) for job in view.job_ids()]
    if "/" in text:
        return near(text, names, likeness=0.85)
    hint = near(text, dict.fromkeys(name.partition("/")[2] for name in names))
    return hint or near(text, names)
