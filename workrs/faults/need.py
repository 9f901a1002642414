"""What a machine must have for a row."""

import os
import shutil

from workrs.engine.own import missing
from workrs.faults.row import CRIU, ENGINE, NET, Row


def lacking(row: Row) -> str:
    """Return what this machine lacks for a row, or an empty string."""
    if os.geteuid() != 0:
        return "root"
    if row.needs & {ENGINE, CRIU} and (what := missing()):
        return what
    if NET in row.needs and shutil.which("nft") is None:
        return "nftables: apt-get install nftables"
    return ""
