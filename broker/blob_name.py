"""Names of blobs, made only from checked ids, so that they are safe in a path and a URL."""

from dataclasses import dataclass

from workrs.domain.errors import IdError
from workrs.domain.ids import Digest, Epoch, JobId, client_id, is_digest, split_job_id


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobName:
    """Where a blob belongs. Made only from checked ids, so it is safe in a path."""

    folder: tuple[str, ...]
    digest: Digest
    job: JobId | None
    epoch: Epoch | None = None
    """Of the writer, for what lies under a job."""


def checkpoint_name(job: str, epoch: str, digest: str) -> BlobName:
    """Return the name of a blob that a holder of *epoch* writes, or raise IdError."""
    split_job_id(job)
    plain = epoch.isascii() and epoch.isdigit() and (epoch == "0" or epoch[0] != "0")
    if not plain or len(epoch) > 19 or int(epoch) >= 1 << 63:
        raise IdError(f"epoch {epoch[:80]!r} is not allowed: write a number without leading zeros")
    return BlobName(
        folder=("blobs", job, epoch),
        digest=checked_digest(digest),
        job=JobId(job),
        epoch=Epoch(int(epoch)),
    )


def input_name(device: str, digest: str) -> BlobName:
    """Return the name of a device's input, or raise IdError."""
    return BlobName(folder=("inputs", client_id(device)), digest=checked_digest(digest), job=None)


def checked_digest(text: str) -> Digest:
    """Return *text* as a digest, or raise IdError."""
    if not is_digest(text):
        raise IdError(f"{text[:80]!r} is no SHA-256 in lower-case hex")
    return Digest(text)
