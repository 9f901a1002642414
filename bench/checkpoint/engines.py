"""Two engines with the experimental flag, which Docker's own checkpoints need, and the image."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from bench.checkpoint.rivals import run
from edge_agent.runtimes.host import tool_path
from workrs.engine import image_archive, image_files
from workrs.engine.own import own_engines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workrs.engine.own import OwnEngine

_TAG = "workrs/python:bench"


def write_archive(path: Path) -> None:
    """Write the image that all rivals use: this machine's Python, as jobs have it."""
    files = image_files.collect()
    with path.open("wb") as archive:
        image_archive.write_image(files | image_files.libraries(files), _TAG, archive)


@contextlib.contextmanager
def experimental_engines(folder: Path, archive: Path) -> Iterator[tuple[list[OwnEngine], str]]:
    """Run two engines that have the image in *archive*; yield them and the image's id.

    The project's engines have no such option, because nothing of the project needs it: a dockerd
    found first in PATH adds it to the arguments. PATH also leads the engine to a CRIU that works.
    """
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "dockerd"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("dockerd")} --experimental "$@"\n')
    program.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}/bin:{tool_path()['PATH']}:{before}"
    try:
        with own_engines(2, folder / "engines") as engines:
            for engine in engines:
                run("docker", "--host", engine.url, "load", "--input", archive)
            inspect = ("image", "inspect", "--format", "{{.Id}}", _TAG)
            yield list(engines), run("docker", "--host", engines[0].url, *inspect)
    finally:
        os.environ["PATH"] = before
