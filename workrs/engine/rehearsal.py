"""Trying the memory rung for real: a container is saved, removed and brought back, in a second.

`criu check` looks at the kernel alone. That an engine, its runc, its mounts and CRIU work
together shows only when they do it.
"""

import contextlib
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from workrs import oci
from workrs.domain.errors import ContainerError
from workrs.engine.probe import find_program

LABEL = "workrs.rehearsal"

_IMAGE = "workrs/rehearsal"
_TIMEOUT_S = 20
_CONTAINER: dict[str, Any] = {
    "command": ["/busybox", "sleep", "600"],
    "runtime": oci.RUNTIME_NAME,
    "labels": {LABEL: "1"},
    "network_mode": "none",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


def rehearse(url: str, runc_root: str) -> str:
    """Save and restore a container on the engine at *url*.

    Args:
        url: of a local engine that lists our runtime.
        runc_root: where its runc keeps the containers' state.

    Returns:
        What went wrong, empty if nothing did. Image and containers are gone either way.
    """
    try:
        client = docker.DockerClient(base_url=url, timeout=_TIMEOUT_S)
        with contextlib.closing(client), tempfile.TemporaryDirectory() as folder, _image(client):
            _save_and_restore(client, runc_root, Path(folder))
    except (DockerException, ContainerError, OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


def _save_and_restore(client: docker.DockerClient, runc_root: str, checkpoint: Path) -> None:
    with _container(client) as original:
        original.start()
        original.pause()
        _dump(original.id, runc_root, checkpoint)
    with _container(client) as restored:
        oci.hand_over(restored.id, checkpoint)
        try:
            restored.start()
        except DockerException as error:
            reasons = oci.restore_errors(checkpoint)
            raise ContainerError(f"restore: {' | '.join(reasons[-2:]) or error}") from error
        finally:
            oci.take_back(restored.id)
        restored.reload()
        if restored.status != "running":
            raise ContainerError(f"the restored container is {restored.status}")


def _dump(container_id: str, runc_root: str, checkpoint: Path) -> None:
    for part in ("image", "work"):
        (checkpoint / part).mkdir()
    ran = subprocess.run(
        [
            *("runc", "--root", runc_root, "checkpoint", "--leave-running", "--file-locks"),
            *("--image-path", checkpoint / "image", "--work-path", checkpoint / "work"),
            container_id,
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        env={"PATH": f"{oci.PREFIX_BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"},
    )
    if ran.returncode != 0:
        raise ContainerError(f"runc checkpoint: {ran.stderr.strip().splitlines()[-1:]}")


@contextlib.contextmanager
def _image(client: docker.DockerClient) -> Iterator[None]:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(Path(find_program("busybox")).resolve(), "busybox")
    client.api.import_image_from_data(archive.getvalue(), repository=_IMAGE, tag="latest")
    try:
        yield
    finally:
        client.images.remove(_IMAGE, force=True)


@contextlib.contextmanager
def _container(client: docker.DockerClient) -> Iterator[Any]:
    container = client.containers.create(_IMAGE, **_CONTAINER)
    try:
        yield container
    finally:
        container.remove(force=True)
