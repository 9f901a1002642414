"""Every error Workrs raises on purpose, grouped by what the caller does next.

The docstring is the message's sentence; facts go into attributes and the text.
"""


class WorkrsError(Exception):
    """Root of all errors raised on purpose. Never raised itself."""


class BusError(WorkrsError):
    """The connection to a node failed: try again, here or at the next node."""


class WireError(WorkrsError):
    """A message from outside is malformed: drop it, count it, say why to its sender."""


class IdError(WireError, ValueError):
    """A name or id breaks the alphabet of ids."""


class SpecError(WireError, ValueError):
    """A job spec asks for something that is not allowed. The text is for its author."""


class OutcomeError(WireError, ValueError):
    """An outcome holds what its device could not read."""


class ContainerError(WorkrsError):
    """A container could not be started, checkpointed or restored: report the attempt."""


class StoreError(WorkrsError):
    """A blob store did not answer or refused: release the job or try another store."""


class CheckpointError(WorkrsError):
    """A checkpoint is damaged, forged or of another job: use the one before it."""


class LedgerError(WorkrsError):
    """The ledger cannot be read or written: stop voting."""


class TimedOutError(WorkrsError):
    """The time was up before the answer came: ask again, for longer or for less."""


class OlderDiskError(WorkrsError):
    """A node's disk is older than its peers saw it: it must be re-admitted."""


class ConfigError(WorkrsError):
    """The configuration is wrong: say what to change and exit with 2."""
