"""How long an agent passes on a job whose checkpoint it has no key for.

Others may have the key: for RESTORE_WAIT_S nodes offer the job only to agents that say they do,
and one that finds out late gives it back. But a key may be gone for good, or never have been one
of this cluster: after that time the checkpoint counts as one that cannot be restored, and the job
falls to what is left.
"""

from workrs.domain.dispatch import RESTORE_WAIT_S
from workrs.domain.ids import Digest

_CHECKPOINTS_MAX = 1000


class Patience:
    """Since when each checkpoint was passed on. Of the oldest it forgets that."""

    def __init__(self) -> None:
        """None was."""
        self._since: dict[Digest, float] = {}

    def is_over(self, manifest: Digest, now: float) -> bool:
        """Return whether a checkpoint that cannot be read here has been passed on for too long."""
        first = self._since.setdefault(manifest, now)
        while len(self._since) > _CHECKPOINTS_MAX:
            del self._since[next(iter(self._since))]
        return now - first >= RESTORE_WAIT_S
