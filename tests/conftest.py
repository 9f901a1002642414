"""Settings that all tests share: one fixed hypothesis profile, so that a run repeats exactly."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

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
