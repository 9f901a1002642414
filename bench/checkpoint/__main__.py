"""Checkpoints and restores beside their rivals, in one run; docs/benchmarks.md has the tables.

    sudo .venv/bin/python -m bench.checkpoint [--mib 64 1024] [--rounds 5] [--json FILE]

1. *speed*: raw runc, Docker's own checkpoints, Podman and Workrs, in turns.
2. *costs*: memory, processor and time of an agent that stores a checkpoint and fetches it.
3. *size*: what of a job is sent after a part of it changed; restic and borg on the same snapshots.

Podman, restic and borg are Debian's, unpacked beside the system and removed afterwards; give
`--programs DIR` to keep them. What this machine cannot have is left out, with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from bench.checkpoint.parts import PARTS
from bench.checkpoint.stage import stage


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.checkpoint", description=(__doc__ or "").partition(";")[0]
    )
    parser.add_argument("--mib", type=int, nargs="+", default=[64, 1024], help="sizes of the job")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="8 MiB, one round: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--programs", type=Path, metavar="DIR", help="keep the rivals' programs")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="/dev/shm where there is one")
    options = parser.parse_args()
    if options.quick:
        options.mib, options.rounds = [8], 1
    return options


def main() -> None:
    options = _options()
    scratch = options.scratch or (Path("/dev/shm") if os.path.ismount("/dev/shm") else None)
    # Ended from outside it cleans up as well.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    load_before = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="workrs-bench-", dir=scratch))
        )
        found = stack.enter_context(
            stage(
                folder,
                programs=options.programs or folder / "programs",
                sizes_mib=options.mib,
                rounds=options.rounds,
            )
        )
        for part in options.parts:
            PARTS[part](found)
            sys.stdout.flush()
    load_after = os.getloadavg()[0]
    print(f"\nload average {load_before:.1f} before, {load_after:.1f} after")
    result = {
        **found.results,
        "bounds": [bound.as_json() for bound in found.bounds],
        "load": [load_before, load_after],
        "rounds": options.rounds,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
