"""Turning the files of an image into an archive that `docker load` takes; same in, same out.

1. The archive's bytes depend on the files' paths, modes and contents alone: owners are root,
   times are zero, byte code is compiled anew with a fixed hash seed.
2. Byte code is not checked against its source when it is loaded, because in a read-only image
   neither changes; starting Python without it would take ten times as long.
"""

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO

from workrs.engine.image_files import Copy, Files, Folder, Link, Text

_COMPILERS = 4
"""Fixed: what else a process has compiled can show in the byte code it writes."""

_COMPILE = """
import json, py_compile, sys
for source, compiled, name in json.load(sys.stdin):
    py_compile.compile(
        source, compiled, name, quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
"""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_image(files: Files, tag: str, archive: IO[bytes]) -> None:
    """Write an image of one layer, named *tag*, to *archive*."""
    with tempfile.TemporaryDirectory(prefix="workrs-image-") as folder:
        compiled = _compile(files, Path(folder))
        layer_path = Path(folder, "layer.tar")
        with layer_path.open("wb") as layer:
            _write_layer(dict(sorted((files | compiled).items())), layer)
        with layer_path.open("rb") as layer:
            layer_digest = hashlib.file_digest(layer, "sha256").hexdigest()
        config = json.dumps(_config(layer_digest), sort_keys=True).encode()
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"]}]
        with tarfile.open(fileobj=archive, mode="w") as tar:
            _add_bytes(tar, config_name, config)
            _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())
            with layer_path.open("rb") as layer:
                tar.addfile(_info("layer.tar", size=layer_path.stat().st_size), layer)


def _config(layer_digest: str) -> dict[str, object]:
    return {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Cmd": ["python3"],
            "Env": [
                "PATH=/usr/local/bin:/usr/bin:/bin",
                "LANG=C.UTF-8",
                "PYTHONDONTWRITEBYTECODE=1",
                # Lines that a program prints are in its log, and in a checkpoint, at once.
                "PYTHONUNBUFFERED=1",
            ],
            "WorkingDir": "/job",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "workrs image build"}],
    }


def _compile(files: Files, folder: Path) -> Files:
    """Compile the Python modules of *files* into *folder* and return the byte code files."""
    compiled: Files = {}
    work: list[list[tuple[str, str, str]]] = [[] for _ in range(_COMPILERS)]
    for number, (path, entry) in enumerate(sorted(files.items())):
        if path.suffix == ".py" and isinstance(entry, Copy):
            output = folder / f"{number}.pyc"
            work[number % _COMPILERS].append((str(entry.source), str(output), f"/{path}"))
            name = f"{path.stem}.{sys.implementation.cache_tag}.pyc"
            compiled[path.parent / "__pycache__" / name] = Copy(source=output)
    running = []
    for share in work:
        process = subprocess.Popen(
            [sys.executable, "-S", "-B", "-c", _COMPILE],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(json.dumps(share).encode())
        running.append(process)
    for process in running:
        process.wait()
    # A module that does not compile stays without byte code, as after any installation.
    return {
        path: entry
        for path, entry in compiled.items()
        if isinstance(entry, Copy) and entry.source.exists()
    }


def _write_layer(files: Files, layer: IO[bytes]) -> None:
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        made: set[PurePosixPath] = {PurePosixPath()}
        for path, entry in files.items():
            for parent in reversed(path.parents):
                if parent not in made and parent not in files:
                    tar.addfile(_info(str(parent), kind=tarfile.DIRTYPE, mode=0o755))
                    made.add(parent)
            match entry:
                case Folder(mode=mode):
                    tar.addfile(_info(str(path), kind=tarfile.DIRTYPE, mode=mode))
                case Link(target=target):
                    tar.addfile(_info(str(path), kind=tarfile.SYMTYPE, target=target))
                case Text(text=text):
                    _add_bytes(tar, str(path), text.encode())
                case Copy(source=source, mode=mode):
                    with source.open("rb") as file:
                        size = os.fstat(file.fileno()).st_size
                        tar.addfile(_info(str(path), size=size, mode=mode), file)


def _info(
    name: str, *, size: int = 0, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, target: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.linkname = size, mode, kind, target
    return info


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_info(name, size=len(content)), io.BytesIO(content))
