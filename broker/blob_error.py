"""Why a blob was not taken. Each error carries the HTTP status that says the same."""

from typing import ClassVar

from workrs.domain.errors import StoreError


class BlobError(StoreError):
    """A blob was not stored; nothing of it was kept."""

    status: ClassVar[int] = 500


class BlobTooLargeError(BlobError):
    """One blob is above the size that this node takes."""

    status: ClassVar[int] = 413

    def __init__(self, *, limit_bytes: int) -> None:
        """Name the limit."""
        super().__init__(f"a blob may have at most {limit_bytes} bytes here")
        self.limit_bytes = limit_bytes


class BlobStoreFullError(BlobError):
    """The store's quota or the disk has no room; other nodes may have."""

    status: ClassVar[int] = 507

    def __init__(self, reason: str) -> None:
        """Say which of them."""
        super().__init__(f"no room: {reason}")


class BlobMismatchError(BlobError):
    """The content is not what its name says."""

    status: ClassVar[int] = 400

    def __init__(self, *, named: str, found: str, size_bytes: int) -> None:
        """Name both hashes."""
        super().__init__(f"the {size_bytes} bytes received have SHA-256 {found}, not {named}")
        self.named = named
        self.found = found


class BlobDroppedError(BlobError):
    """The job was retired; nothing more is taken for it."""

    status: ClassVar[int] = 409

    def __init__(self, job: str) -> None:
        """Name the job."""
        super().__init__(f"job {job} is over and its blobs were dropped")
        self.job = job
