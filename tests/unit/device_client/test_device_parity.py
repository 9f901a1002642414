"""Goal: the two front ends stay twins, and the package stays as light as it claims.

Method: signatures are compared; a fresh interpreter says what an import brings with it.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import device_client
from device_client import AsyncDevice, Device

PACKAGE = Path(device_client.__file__).parent
RENAMED = {"__enter__": "__aenter__", "__exit__": "__aexit__"}
OWN = {f"device_client.{file.stem}" for file in PACKAGE.glob("*.py")} | {"device_client"}
LATER = {f"device_client.{name}" for name in ("__init__", "async_device", "blob", "uploader")}
OTHERS = {"heapq", "_heapq", "json", "_json", "json.decoder", "json.encoder", "json.scanner"}
RULES = {"workrs", "workrs.domain", "workrs.domain.errors", "workrs.domain.ids"} | {
    "workrs.wire",
    "workrs.wire.topics",
}


def methods(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in vars(kind).items()
        if callable(member) and (not name.startswith("_") or name.startswith("__"))
    }


def test_both_devices_have_the_same_methods_with_the_same_parameters() -> None:
    blocking, awaited = methods(Device), methods(AsyncDevice)
    assert {RENAMED.get(name, name) for name in blocking} == set(awaited)
    for name, signature in blocking.items():
        twin = awaited[RENAMED.get(name, name)]
        assert list(twin.parameters.values()) == list(signature.parameters.values()), name


@pytest.mark.parametrize("name", ["submit", "run", "result", "state", "cancel", "drain", "close"])
def test_what_waits_or_writes_is_awaited(name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(AsyncDevice, name))
    assert not inspect.iscoroutinefunction(getattr(Device, name))


def test_every_public_name_exists() -> None:
    for name in device_client.__all__:
        assert getattr(device_client, name)
    with pytest.raises(AttributeError):
        _ = device_client.NoSuchName


def test_the_import_brings_what_it_must_and_nothing_else() -> None:
    """What it costs is measured by bench/import_cost.py; this keeps it so."""
    code = (
        "import paho.mqtt.client, sys; before = set(sys.modules); import device_client;"
        "print(*(set(sys.modules) - before))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(shown) - OTHERS - RULES == OWN - LATER


def test_the_package_imports_paho_the_standard_library_and_the_rules_alone() -> None:
    allowed = {"paho", "device_client", "workrs", *sys.stdlib_module_names}
    for file in PACKAGE.glob("*.py"):
        for statement in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom):
                names = [f"{statement.module}.{alias.name}" for alias in statement.names]
            for name in names:
                assert name.split(".")[0] in allowed, f"{file.name}: {name}"
                if name.startswith("workrs."):
                    assert name.startswith(
                        (
                            "workrs.domain.",
                            "workrs.wire.topics",
                            "workrs.trust.credential.",
                            "workrs.trust.refusal.",
                        )
                    ), f"{file.name}: {name}"
