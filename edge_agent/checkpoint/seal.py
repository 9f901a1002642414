"""What becomes of a part between a program's memory and a store: compressed, and back.

This is the one place through which every byte of a checkpoint passes, in both directions.
Encryption belongs here and nowhere else.
"""

import hashlib
from functools import cache

import zstandard

from workrs.domain.errors import CheckpointError
from workrs.domain.ids import Digest

_LEVEL = 1
"""Higher levels save a tenth more and cost twice the time."""


def digest(data: bytes) -> Digest:
    """Return the SHA-256 of *data*."""
    return Digest(hashlib.sha256(data).hexdigest())


@cache
def digest_of_zeros(size: int) -> Digest:
    """Return the SHA-256 of *size* zeros. Few sizes occur: a full part, and the last ones."""
    return digest(bytes(size))


def seal(raw: bytes) -> bytes:
    """Return the blob for a part's bytes."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False).compress(raw)


def unseal(blob: bytes, *, raw: Digest, raw_bytes: int) -> bytes:
    """Return a part's bytes from its verified blob.

    Never allocates more than *raw_bytes*, whatever the blob claims.

    Raises:
        CheckpointError: they are not what the manifest says.
    """
    try:
        if zstandard.frame_content_size(blob) != raw_bytes:
            raise CheckpointError(
                "a part of the checkpoint has another size than the manifest says"
            )
        data = zstandard.ZstdDecompressor().decompress(blob, max_output_size=raw_bytes)
    except zstandard.ZstdError as error:
        raise CheckpointError(f"a part of the checkpoint does not decompress: {error}") from None
    if digest(data) != raw:
        raise CheckpointError("a part of the checkpoint has other bytes than the manifest says")
    return data
