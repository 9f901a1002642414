"""What a program's saved memory needs of a machine, and whether another machine has it.

1. The same architecture and the same CPU features: a library chooses its code by them once,
   when the program starts, so code that is in the memory already must run there as well.
2. A kernel that is not older (first two numbers): it has every call and every kind of mapping
   that the program was seen to use. A newer one is let try; CRIU brings its own vDSO along.
3. A CRIU that is not older (first two numbers): later ones read the images of earlier ones,
   and nobody promises the reverse.
4. A version that cannot be read fits only its equal.

Not promised: that a restore succeeds. CRIU has the last word, and what it refuses falls back
to the checkpoint before.
"""

import re
from dataclasses import dataclass

_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a memory snapshot depends on, besides itself."""

    arch: str
    """As Debian writes it: amd64, arm64, armhf."""
    cpu: str
    """Digest of the CPU's feature flags."""
    kernel: str
    """Release, as `uname -r` says it."""
    criu: str = ""
    """Version, or empty where there is none."""


def can_restore(host_facts_of_checkpoint: HostFacts, host_facts_of_agent: HostFacts) -> str | None:
    """Return why memory saved on the one machine cannot be restored on the other, or None.

    A checkpoint on the `files` rung needs none of this.
    """
    there, here = host_facts_of_checkpoint, host_facts_of_agent
    if there.arch != here.arch:
        return f"another arch: {there.arch or 'unknown'}, and {here.arch or 'unknown'} here"
    if there.cpu != here.cpu:
        return "another cpu: its feature flags differ from those here"
    if not here.criu:
        return "there is no CRIU here"
    return _older("kernel", there.kernel, here.kernel) or _older("CRIU", there.criu, here.criu)


def _older(what: str, there: str, here: str) -> str | None:
    """Return why version *here* will not do for *there*, or None."""
    if there == here:
        return None
    needed, found = _VERSION.match(there), _VERSION.match(here)
    if needed is None or found is None:
        return f"another {what}: {there or 'unknown'}, and {here or 'unknown'} here"
    if tuple(map(int, found.groups())) < tuple(map(int, needed.groups())):
        return f"an older {what}: {here}, and it was saved with {there}"
    return None
