"""Settings that all tests share: one fixed hypothesis profile, so that a run repeats exactly.

All tests run in one process, in random order: one that leaves a trace in it fails another.
"""

from __future__ import annotations

import gc
import locale
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell that runs this in the background has SIGINT ignored, and every program a test starts
# would inherit that; tests of Ctrl-C need what a terminal gives.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Derandomised: the same examples on every machine and run. `HYPOTHESIS_PROFILE=search` looks
# for new ones, and what it finds becomes a named test.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=False,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.register_profile("search", parent=settings.get_profile("ci"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def _is_pytests(handler: logging.Handler) -> bool:
    """Return whether pytest placed the handler: a run that is broken off ends without its own."""
    return type(handler).__module__.startswith("_pytest.")


_CHANGING = {
    "PYTEST_CURRENT_TEST",  # with each step of a test
    "TEXTUAL_FPS",  # by `tui`, whoever imports it first
    "MPLCONFIGDIR",  # by matplotlib, where the home cannot be written to
}


def surroundings() -> dict[str, object]:
    """Return what tests of one process share and must leave as they found it; some 0.05 ms.

    Threads and programs are not among it: a fixture of the session may be asked for in the middle
    of a test and keeps its server, and pools of threads end in their own time.
    """
    # To ask the system for the mask is to set it, and another thread may make a file meanwhile.
    _, _, mask = Path("/proc/self/status").read_text().partition("Umask:")
    return {
        **{f"${name}": value for name, value in os.environ.items() if name not in _CHANGING},
        "working directory": Path("/proc/self/cwd").readlink(),
        "umask": mask.split(maxsplit=1)[0],
        "signal handlers": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)],
        "locale": locale.setlocale(locale.LC_ALL),
        "logging": (logging.root.level, logging.root.manager.disable),
        "log handlers": [each for each in logging.root.handlers if not _is_pytests(each)],
        "garbage collection": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 0),
    }


@pytest.fixture(autouse=True)
def _leaves_no_trace() -> Iterator[None]:
    """Fail the test that changes the process for all that follow, and not one of these."""
    before = surroundings()
    yield
    after = surroundings()
    names = sorted(before.keys() | after.keys())
    found = {name: (before.get(name), after.get(name)) for name in names}
    assert {name: each for name, each in found.items() if each[0] != each[1]} == {}
