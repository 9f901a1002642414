"""The jobs of the demo, and the data they work on."""

import gzip
import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path

from workrs.domain.errors import ConfigError
from workrs.ports.runtime import Rung

LONG = "long"
"""The job whose agent is killed."""
TWIN = "long-undisturbed"
"""The same job on an agent that nobody touches: its result is what LONG's must be."""
FIELD = "field"
"""Label of the agents that may get LONG."""
SPARE = "spare"
"""Label of the agent that gets TWIN."""

_CHAINS = ((75, 12), (100, 6), (130, 3), (235, 1))
"""Matrix size and number of products: the sizes of the paper's benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJob:
    """One job: a raw run when `data` is set, else a JSON spec."""

    name: str
    function: str
    data: bytes | None = None
    spec: dict[str, object] = field(default_factory=dict)
    about: str


def co2_series() -> bytes:
    """Return the weekly CO2 series of Mauna Loa that statsmodels ships, as CSV.

    The package is found, not imported: its data is wanted, not its code.
    """
    found = importlib.util.find_spec("statsmodels")
    if found is None or found.origin is None:
        raise ConfigError("the demo's data is missing: pip install --no-deps statsmodels")
    return (Path(found.origin).parent / "datasets" / "co2" / "co2.csv").read_bytes()


def _long(rung: Rung, seconds: float, label: str) -> dict[str, object]:
    pace_s = 0.25
    wanted = {
        "n": 75,
        "products": int(seconds / pace_s),
        "seed": 7,
        "ballast_mb": 64 if rung is Rung.MEMORY else 4,
        "pace_s": pace_s,
        "save": rung is not Rung.MEMORY,
    }
    return {
        "input": json.dumps(wanted),
        "checkpoint": {"interval_s": 2.0},
        "constraints": {"labels": [label]},
        "forecast_s": seconds,
    }


def demo_jobs(rung: Rung, *, long_s: float) -> list[DemoJob]:
    """Return what the demo's device sends."""
    series = co2_series()
    jobs = [
        DemoJob(
            name=LONG,
            function="matrix",
            spec=_long(rung, long_s, FIELD),
            about=f"{long_s:g} s of matrix products, its agent will be killed",
        ),
        DemoJob(
            name=TWIN,
            function="matrix",
            spec=_long(rung, long_s, SPARE),
            about="the same, undisturbed, to compare with",
        ),
        DemoJob(
            name="co2-raw",
            function="co2",
            data=gzip.compress(series, mtime=0),
            about="trend of 43 years of CO2, sent as raw bytes",
        ),
        DemoJob(
            name="co2-blob",
            function="co2",
            spec={"input": series.decode()},
            about="the same as CSV, too big for a message: through the blob store",
        ),
    ]
    jobs += [
        DemoJob(
            name=f"matrix-{n}",
            function="matrix",
            spec={"input": json.dumps({"n": n, "products": products})},
            about=f"{products} products of {n} x {n}",
        )
        for n, products in _CHAINS
    ]
    return jobs
