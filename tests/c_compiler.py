"""Compiles the C client with every warning an error and under sanitizers, once a test session."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / "device_client" / "c"
SOURCES = ROOT / "tests" / "c_client"
STRICT = [
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wshadow",
    "-Wcast-qual",
    "-Wstrict-prototypes",
    "-Werror",
]
MBED_TLS = ("mbedtls", "mbedx509", "mbedcrypto")
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None or not Path("/usr/include/stdio.h").exists(),
    reason="gcc with the C library's headers is not installed",
)


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="workrs-c-")


@cache
def compiled(*sources: Path, libraries: tuple[str, ...] = ()) -> Path:
    """Return a program made of the client and *sources*."""
    program = Path(_folder().name) / sources[0].stem
    command = ["gcc", *STRICT, *SANITIZED, f"-I{CLIENT}", str(CLIENT / "workrs.c")]
    done = subprocess.run(
        [*command, *map(str, sources), "-o", str(program), *(f"-l{name}" for name in libraries)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return program
