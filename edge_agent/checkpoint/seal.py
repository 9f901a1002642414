"""What becomes of bytes between a program's memory and a store: compressed, encrypted, and back.

This is the one place through which every byte of a checkpoint passes, in both directions.
AES-256 in Galois/counter mode, so that what was changed does not open.

1. A *job key* is random, belongs to one job at one epoch and to the one process that drew it,
   and is held in memory alone; manifests carry it wrapped by the cluster's key. Nobody else
   ever seals with it, so its nonces are a counter, and none is used twice.
2. The cluster's key wraps with random nonces of 96 bits, once a job key: good for 2**32 of them.
3. Blobs are bound to cluster, job and epoch; manifests to their number as well. A blob's place
   in a checkpoint is bound by the manifest, which names its SHA-256: so later checkpoints of
   the epoch can use it without sealing it again.
4. With a key, nothing that was not sealed is opened.

Not hidden: sizes, hence how well the memory compresses, and which blobs a checkpoint shares
with the one before.

Without a cluster key nothing is encrypted; blobs still carry random bytes, so that no two of
them have one name, and deleting an old one never takes a new one along.
"""

import hashlib
import itertools
import secrets
from dataclasses import dataclass, field

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_agent.checkpoint.body import BODY_BYTES_MAX
from edge_agent.checkpoint.keys import KEY_ID_BYTES, ClusterKey, KeyRing
from workrs.domain.errors import CheckpointError, StoreError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.store import JobSpace

Bytes = bytes | memoryview
_LEVEL = 1
"""Of zstd. Measured on 156 MiB of a Python program's memory, a core: level -1 727 MB/s to 19.3 %,
1 619 MB/s to 17.9 %, 3 355 MB/s to 16.4 %; lz4 743 MB/s to 31 %."""
_SEALED, _PLAIN = b"WKS2", b"WKP2"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_WRAPPED_BYTES = KEY_ID_BYTES + _NONCE_BYTES + 32 + _TAG_BYTES
"""Id of the cluster's key, nonce, the job key, tag."""


class KeyMissingError(StoreError):
    """The checkpoint is sealed with a key that is not here: another agent must take the job."""


def digest(data: bytes) -> Digest:
    """Return the SHA-256 of *data*: what the stores call it."""
    return Digest(hashlib.sha256(data).hexdigest())


def _bound(kind: str, cluster: str, space: JobSpace, seq: int = 0) -> bytes:
    """Return the data that something sealed is bound to. No part can have the separator."""
    return "\0".join((kind, cluster, space.job, str(space.epoch), str(seq))).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealer:
    """Seals what one process stores for one job at one epoch."""

    space: JobSpace
    cluster: str = ""
    wrapped: bytes = b""
    """The job key, for manifests; empty: nothing is encrypted."""
    _cipher: AESGCM | None = field(default=None, repr=False)
    _nonces: "itertools.count[int]" = field(default_factory=itertools.count, repr=False)

    @property
    def is_sealed(self) -> bool:
        """Return whether it encrypts."""
        return self._cipher is not None

    @property
    def key_id(self) -> bytes:
        """Return the id of the cluster's key that wraps the job key; empty: nothing is sealed."""
        return self.wrapped[:KEY_ID_BYTES]

    def blob(self, raw: bytes | bytearray) -> bytes:
        """Return the blob for some of the stream's bytes."""
        return self._seal(raw, b"", _bound("blob", self.cluster, self.space))

    def manifest(self, body: bytes, seq: int) -> bytes:
        """Return the blob for the body of manifest number *seq*."""
        return self._seal(body, self.wrapped, _bound("manifest", self.cluster, self.space, seq))

    def _seal(self, raw: bytes | bytearray, head: bytes, bound: bytes) -> bytes:
        packed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False).compress(raw)
        if self._cipher is None:
            return _PLAIN + secrets.token_bytes(_NONCE_BYTES) + packed
        nonce = next(self._nonces).to_bytes(_NONCE_BYTES, "big")
        return b"".join((_SEALED, head, nonce, self._cipher.encrypt(nonce, packed, bound + head)))


def new_sealer(keys: KeyRing | None, job: JobId, epoch: Epoch) -> Sealer:
    """Return a sealer with a new job key; without *keys* one that does not encrypt."""
    space = JobSpace(job=job, epoch=epoch)
    if keys is None:
        return Sealer(space=space)
    secret = AESGCM.generate_key(256)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    by = keys.keys[0]
    bound = _bound("key", keys.cluster, space)
    wrapped = by.id + nonce + AESGCM(by.secret).encrypt(nonce, secret, bound)
    return Sealer(space=space, cluster=keys.cluster, wrapped=wrapped, _cipher=AESGCM(secret))


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """Opens the blobs that one manifest names."""

    space: JobSpace
    cluster: str = ""
    _cipher: AESGCM | None = field(default=None, repr=False)

    def blob(self, data: bytes, size: int) -> bytes:
        """Return the *size* bytes in a blob. Never allocates more, whatever the blob claims.

        Raises:
            CheckpointError: it is not of this job and epoch, was changed, or has other bytes.
        """
        bound = _bound("blob", self.cluster, self.space)
        raw = _unpack(_open(data, 0, self._cipher, bound), size)
        if len(raw) != size:
            raise CheckpointError(
                "a blob of the checkpoint has another size than its manifest says"
            )
        return raw


def open_manifest(
    data: bytes, *, keys: KeyRing | None, space: JobSpace, seq: int, key_id: str = ""
) -> tuple[Opener, bytes]:
    """Return what opens the blobs of a manifest, and the manifest's body.

    Args:
        data: the manifest as it is stored.
        keys: the cluster's.
        space: the job and epoch it must be of.
        seq: the number it must have.
        key_id: of the key it must be sealed with, in hex; empty: with any that is here.

    Raises:
        CheckpointError: it is not number *seq* of this job and epoch of this cluster, or was
            changed.
        KeyMissingError: it is sealed with a key that is not among *keys*.
    """
    sealed = data.startswith(_SEALED)
    head = data[len(_SEALED) : len(_SEALED) + _WRAPPED_BYTES] if sealed else b""
    if key_id and head[:KEY_ID_BYTES].hex() != key_id:
        raise CheckpointError(f"the manifest is not sealed with key {key_id}, as its record says")
    if keys is None:
        if sealed:
            raise KeyMissingError(
                f"{space.job}: the checkpoint is sealed, and this agent has no key"
            )
        return Opener(space=space), _unpack(_open(data, 0, None, b""), BODY_BYTES_MAX)
    if not sealed:
        raise CheckpointError("the manifest is not sealed, and this cluster has a key")
    if len(head) < _WRAPPED_BYTES:
        raise CheckpointError("the manifest was cut short")
    key = keys.find(head[:KEY_ID_BYTES])
    if key is None:
        raise KeyMissingError(
            f"{space.job}: the checkpoint is sealed with key {head[:KEY_ID_BYTES].hex()}, "
            "which this agent has not"
        )
    cipher = AESGCM(_unwrap(head, key, _bound("key", keys.cluster, space)))
    bound = _bound("manifest", keys.cluster, space, seq) + head
    body = _unpack(_open(data, len(head), cipher, bound), BODY_BYTES_MAX)
    return Opener(space=space, cluster=keys.cluster, _cipher=cipher), body


def _unwrap(head: bytes, key: ClusterKey, bound: bytes) -> bytes:
    nonce, wrapped = head[KEY_ID_BYTES:][:_NONCE_BYTES], head[KEY_ID_BYTES + _NONCE_BYTES :]
    return _decrypt(AESGCM(key.secret), nonce, wrapped, bound)


def _open(data: bytes, head_bytes: int, cipher: AESGCM | None, bound: bytes) -> Bytes:
    """Return the compressed bytes in a blob that has *head_bytes* between magic and nonce."""
    start = len(_SEALED) + head_bytes
    nonce = data[start : start + _NONCE_BYTES]
    rest = memoryview(data)[start + _NONCE_BYTES :]  # no copy of some MiB
    if not data.startswith(_PLAIN if cipher is None else _SEALED):
        raise CheckpointError("a blob of the checkpoint is of another kind than its manifest")
    return rest if cipher is None else _decrypt(cipher, nonce, rest, bound)


def _decrypt(cipher: AESGCM, nonce: bytes, data: Bytes, bound: bytes) -> bytes:
    try:
        return cipher.decrypt(nonce, data, bound)
    except (InvalidTag, ValueError):
        raise CheckpointError(
            "a seal of the checkpoint is broken: it was changed, or is of another job, epoch, "
            "number or cluster"
        ) from None


def _unpack(packed: Bytes, limit_bytes: int) -> bytes:
    """Return what was compressed, of at most *limit_bytes*."""
    try:
        size = zstandard.frame_content_size(packed)
        if not 0 <= size <= limit_bytes:
            raise CheckpointError(f"a blob of the checkpoint claims {size} bytes: too many")
        return zstandard.ZstdDecompressor().decompress(
            packed, max_output_size=limit_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CheckpointError(f"a blob of the checkpoint does not decompress: {error}") from None
