"""The cluster's keys: with them agents wrap the keys that checkpoints are sealed with.

They are in one file that the operator copies to every agent, and to nothing else: nodes and
object stores keep what they cannot read. Lines of it:

    cluster 32 hex digits       which cluster; bound into everything that is sealed
    key 64 hex digits           the first one wraps, all of them unwrap

To change the key: add a new one at the end (`workrs key add`), bring the file to all agents,
restart them; then move it to the front (`workrs key turn`) and do that again. The old one may
go when no open job has a checkpoint from before.
"""

import hashlib
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from workrs.domain.errors import ConfigError

KEY_ID_BYTES = 8
KEYS_MAX = 16
_FILE_BYTES_MAX = 64 << 10
_LINE = re.compile(r"(cluster) ([0-9a-f]{32})|(key) ([0-9a-f]{64})")
_HEAD = """\
# Whoever reads this file can read the memory of every job of this cluster.
# It belongs on every agent (0600) and nowhere else. The first key seals, the others only open.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterKey:
    """One key that wraps others."""

    secret: bytes = field(repr=False)
    """32 random bytes."""

    @property
    def id(self) -> bytes:
        """Return what manifests call it; it tells nothing about the secret."""
        return hashlib.sha256(b"workrs cluster key\0" + self.secret).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """What an agent may know of its cluster's secrets."""

    cluster: str
    keys: tuple[ClusterKey, ...]
    """At least one. The first wraps."""

    def find(self, key_id: bytes) -> ClusterKey | None:
        """Return the key of this id, if it is here."""
        return next((key for key in self.keys if key.id == key_id), None)


def new_ring() -> KeyRing:
    """Return a new cluster's ring."""
    return KeyRing(cluster=secrets.token_hex(16), keys=(new_key(),))


def new_key() -> ClusterKey:
    """Return a new key."""
    return ClusterKey(secret=secrets.token_bytes(32))


def read_keys(path: Path) -> KeyRing:
    """Return the keys in the file *path*.

    Raises:
        ConfigError: it is not there, others may read it, or it holds something else.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
                raise ConfigError(f"{path} holds secrets, and others may read it: chmod 600 {path}")
            text = file.read(_FILE_BYTES_MAX).decode("ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"the checkpoint key {path} cannot be read: {error.strerror}") from error
    lines = [line.strip() for line in text.splitlines()]
    found = [_LINE.fullmatch(line) for line in lines if line and not line.startswith("#")]
    clusters = [match[2] for match in found if match and match[1]]
    keys = tuple(
        ClusterKey(secret=bytes.fromhex(match[4])) for match in found if match and match[3]
    )
    if None in found or len(clusters) != 1 or not 1 <= len(keys) <= KEYS_MAX:
        # No word of what it holds instead: an error's text ends up in logs.
        raise ConfigError(f"{path} is no checkpoint key: make one with `workrs key make {path}`")
    return KeyRing(cluster=clusters[0], keys=keys)


def write_keys(path: Path, ring: KeyRing) -> None:
    """Write *ring* to the file *path*, whole or not at all, readable by its owner alone.

    Raises:
        ConfigError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    lines = [f"cluster {ring.cluster}", *(f"key {key.secret.hex()}" for key in ring.keys)]
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 (a descriptor)
                file.write(_HEAD + "\n".join(lines) + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"the checkpoint key {path} cannot be written: {error}") from error
