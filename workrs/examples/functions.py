"""The example functions as a `functions.toml` that any node can load."""

import json
from importlib.resources import files

FUNCTIONS = {
    "matrix": ("matrix.py", "chain of N x N integer matrix products; input is JSON", 20.0),
    "co2": ("co2.py", "trend and season of a CO2 series; input is CSV", 1.0),
}

_TEMPLATE = """\
[{name}]
description = {description}
image = {image}
command = ["python3", "/job/in/main.py"]
forecast_s = {forecast_s}
memory_mb = {memory_mb}

[{name}.files]
"main.py" = {program}

"""

_ECHO = """\
[echo]
description = "gives its input back"
image = {image}
command = ["cat", "/job/in/input"]
forecast_s = 0.1
memory_mb = 64

"""


def _toml(value: str) -> str:
    # A JSON string of ASCII is a TOML basic string too.
    return json.dumps(value)


def functions_toml(image: str, *, memory_mb: int = 512) -> str:
    """Return the text of a functions file whose programs run in *image*."""
    parts = [_ECHO.format(image=_toml(image))]
    for name, (program, description, forecast_s) in FUNCTIONS.items():
        source = (files("workrs.examples") / program).read_text()
        parts.append(
            _TEMPLATE.format(
                name=name,
                description=_toml(description),
                image=_toml(image),
                forecast_s=forecast_s,
                memory_mb=memory_mb,
                program=_toml(source),
            )
        )
    return "".join(parts)
