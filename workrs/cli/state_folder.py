"""Where nodes and agents of this machine keep their files, unless they are told."""

import os
from pathlib import Path


def state_home() -> Path:
    """Return the folder that has a folder of each node and agent of this user."""
    if os.geteuid() == 0:
        return Path("/var/lib/workrs")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "workrs"
