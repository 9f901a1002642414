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


class BlobOverQuotaError(BlobError):
    """One job or tenant has as much here as it may."""

    status: ClassVar[int] = 507

    def __init__(self, whose: str, *, limit_bytes: int) -> None:
        """Name who, and the limit."""
        super().__init__(f"{whose} may have at most {limit_bytes} bytes here")
        self.whose = whose
        self.limit_bytes = limit_bytes


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


class BlobForbiddenError(BlobError):
    """Who asks may not do that here."""

    status: ClassVar[int] = 403


class BlobFencedError(BlobError):
    """The writer's epoch is past, or its job is over: whatever it writes, nobody will read."""

    status: ClassVar[int] = 409


class BlobUnknownCallerError(BlobError):
    """Nobody that this cluster knows is asking."""

    status: ClassVar[int] = 401


class BlobBusyError(BlobError):
    """Who asks has more connections here than one member may have."""

    status: ClassVar[int] = 503
