"""When a failed attempt is tried again, and when it is the last.

Exponential back-off without jitter: the offers' own jitter spreads the load, and a delay
that is a function of the attempt alone can be told to the device.
"""

from dataclasses import dataclass

EXIT_TRY_LATER = 75
"""sysexits' EX_TEMPFAIL: try again later."""
EXIT_NEVER = 78
"""sysexits' EX_CONFIG: trying again cannot help."""
EXIT_CHECKPOINTED = 85
"""HTCondor's convention: the job saved its state in /job, start it again from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Back-off between attempts, in seconds."""

    first_s: float = 1.0
    factor: float = 2.0
    max_s: float = 60.0

    def delay_s(self, attempt: int) -> float:
        """Return how long to wait after attempt number *attempt* (from 1) failed."""
        exponent = min(max(attempt - 1, 0), 64)
        return float(min(self.max_s, self.first_s * self.factor**exponent))


def is_final(exit_code: int | None, attempt: int, attempts_max: int) -> bool:
    """Return whether a failed attempt with this exit code is the job's last."""
    return exit_code == EXIT_NEVER or attempt >= attempts_max
