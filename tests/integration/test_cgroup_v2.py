"""Checkpoints and the warden on cgroup version 2, whatever this machine has.

Goal: what is shown on version 1 holds on version 2. Method: the same tests once more in a
mount namespace whose /sys/fs/cgroup is a cgroup2 hierarchy. Limits of resources are not
tried: their controllers stay bound to version 1 here.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ENTER = 'umount -R -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'

pytestmark = [
    pytest.mark.engine,
    pytest.mark.criu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a hierarchy needs root"),
    pytest.mark.skipif(
        Path("/sys/fs/cgroup/cgroup.controllers").exists(), reason="this machine has version 2"
    ),
]


@pytest.mark.parametrize(
    ("tests", "chosen"),
    [
        ("tests/integration/test_checkpoint.py", "twenty"),
        ("tests/integration/test_containers.py", "killed_agents_containers"),
        ("tests/integration/test_warden.py", ""),
    ],
)
def test_the_same_holds_on_version_2(tests: str, chosen: str) -> None:
    pytest_words = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", tests]
    words = [*pytest_words, *(["-k", chosen] if chosen else [])]
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _ENTER, "sh", *words],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=570,
    )
    told = ran.stdout[-3000:] + ran.stderr[-2000:]
    assert ran.returncode == 0, told
    assert " passed" in ran.stdout, told
    if chosen:
        assert " skipped" not in ran.stdout, told
