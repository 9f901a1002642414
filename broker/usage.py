"""How many open jobs each device and each tenant has at a node, and what their specs take.

Who has none is not in the tables, so they are as long as there are open jobs at most.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from workrs.domain.ids import ClientId, JobId, tenant_of
from workrs.domain.job import owner

_Name = TypeVar("_Name", bound=str)


class Use(NamedTuple):
    """Open jobs of one, and the bytes of their specs."""

    jobs: int = 0
    size_bytes: int = 0


NONE = Use()


@dataclass(slots=True)
class Usage:
    """Of all."""

    devices: dict[ClientId, Use] = field(default_factory=dict)
    tenants: dict[str, Use] = field(default_factory=dict)

    def add(self, job: JobId, jobs: int, size_bytes: int) -> None:
        """Count so many jobs and bytes more, or fewer."""
        device = owner(job)
        _add(self.devices, device, jobs, size_bytes)
        _add(self.tenants, tenant_of(device), jobs, size_bytes)

    def of(self, device: ClientId) -> tuple[Use, Use]:
        """Return what the device has, and what its tenant has."""
        return self.devices.get(device, NONE), self.tenants.get(tenant_of(device), NONE)


def _add(table: dict[_Name, Use], name: _Name, jobs: int, size_bytes: int) -> None:
    use = table.get(name, NONE)
    use = Use(use.jobs + jobs, use.size_bytes + size_bytes)
    if use.jobs > 0:
        table[name] = use
    else:
        table.pop(name, None)
