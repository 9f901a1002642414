"""One blob on its way in: reserved, written, hashed, synced, then named or removed."""

import errno
import hashlib
import os
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from broker.blob_error import BlobError, BlobMismatchError, BlobStoreFullError, BlobTooLargeError
from broker.blob_name import BlobName
from broker.blob_quota import ENTRY_BYTES

if TYPE_CHECKING:
    from broker.blob_directory import BlobDirectory

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Upload:
    """One blob on its way in. `commit` or `abandon` it; both may follow a failed `write`."""

    def __init__(
        self, directory: "BlobDirectory", name: BlobName, size_bytes: int, draft: Path
    ) -> None:
        """Reserve the announced size and open the draft."""
        self._directory = directory
        self._name = name
        self._draft = draft
        self._hash = hashlib.sha256()
        self._written_bytes = 0
        self._reserved_bytes = 0
        # A cancelled request abandons while its last write may still run in a thread.
        self._turn = Lock()
        self._open = False
        self._reserve(size_bytes)
        try:
            self._handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            self.abandon()
            raise _explained(error) from error
        self._open = True

    def _reserve(self, total_bytes: int) -> None:
        if total_bytes > self._directory.limits.blob_max_bytes:
            raise BlobTooLargeError(limit_bytes=self._directory.limits.blob_max_bytes)
        wanted_bytes = total_bytes + ENTRY_BYTES
        if wanted_bytes > self._reserved_bytes:
            self._directory.reserve(self._name, wanted_bytes - self._reserved_bytes)
            self._reserved_bytes = wanted_bytes

    def write(self, data: bytes | bytearray) -> None:
        """Append *data*.

        Raises:
            BlobError: too large, no room, or the disk fails. Abandon it then.
        """
        with self._turn:
            self._require_open()
            self._reserve(self._written_bytes + len(data))
            try:
                with memoryview(data) as rest:
                    done = 0
                    while done < len(rest):
                        done += os.write(self._handle, rest[done:])
            except OSError as error:
                raise _explained(error) from error
            self._hash.update(data)
            self._written_bytes += len(data)

    def commit(self) -> bool:
        """Give the blob its name once its bytes are on disk; False if it was there already.

        Raises:
            BlobError: the hash differs, or the disk fails. Nothing is kept.
        """
        try:
            with self._turn:
                self._require_open()
                found = self._hash.hexdigest()
                if found != self._name.digest:
                    raise BlobMismatchError(
                        named=self._name.digest, found=found, size_bytes=self._written_bytes
                    )
                try:
                    os.fsync(self._handle)
                    return self._directory.publish(self._name, self._draft, self._written_bytes)
                except OSError as error:
                    raise _explained(error) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Remove what is under way. Idempotent; after `commit` the blob stays."""
        with self._turn:
            if self._open:
                self._open = False
                os.close(self._handle)
                self._draft.unlink(missing_ok=True)
            self._directory.unreserve(self._name, self._reserved_bytes)
            self._reserved_bytes = 0

    def _require_open(self) -> None:
        if not self._open:
            raise BlobError("the upload was abandoned")


def _explained(error: OSError) -> BlobError:
    if error.errno in _FULL:
        return BlobStoreFullError(os.strerror(error.errno or 0))
    return BlobError(f"the disk failed: {error}")
