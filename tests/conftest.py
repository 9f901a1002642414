"""Settings that all tests share: one fixed hypothesis profile, so that a run repeats exactly."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

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
