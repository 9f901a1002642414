"""Job images without a registry: this machine's own Python in a small image.

1. An image's tag is a digest of what goes into it, by names, sizes and times: where an engine
   lists the tag, nothing is read, built or sent.
2. Its id is a digest of the contents: the same files give the same id on every engine.
3. It is not for other machines to rebuild: their Python may differ by a patch release, and a
   checkpoint is restored only with the very image it was taken from.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
from docker.errors import DockerException, ImageNotFound

from workrs.domain.errors import ContainerError
from workrs.engine import image_archive, image_files
from workrs.engine.image_files import Copy, Files

_LOAD_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image that all engines asked for have."""

    image_id: str
    """`sha256:` and 64 hex digits; what a job spec names."""
    tag: str
    """A name for humans, `NAME:DIGEST-OF-INPUTS`; it can be moved, the id cannot."""
    size_bytes: int
    loaded: tuple[str, ...]
    """URLs of the engines that did not have it yet; empty if nothing was to do."""


def build_image(
    engines: Sequence[str], *, packages: Sequence[str] = (), name: str = "workrs/python"
) -> BuiltImage:
    """Make sure that each of *engines* has an image of this machine's Python.

    Args:
        engines: URLs, as in `DOCKER_HOST`; at least one.
        packages: distributions installed beside this module that jobs need, like `numpy`; what
            they require comes along.
        name: the image's name, to which the tag is added.

    Raises:
        ContainerError: a package is not installed, or an engine does not take the image.
    """
    files = image_files.collect(packages)
    tag = f"{name}:{inputs_digest(files)[:16]}"
    with ExitStack() as stack, _engine_errors():
        clients = {url: stack.enter_context(_client(url)) for url in engines}
        lacking = [url for url, client in clients.items() if not _has(client, tag)]
        if lacking:
            with tempfile.NamedTemporaryFile(prefix="workrs-image-") as archive:
                image_archive.write_image(files | image_files.libraries(files), tag, archive)
                archive.flush()
                _load(Path(archive.name), [clients[url] for url in lacking])
        images = [client.images.get(tag) for client in clients.values()]
    ids = {image.id for image in images}
    if len(ids) != 1:
        raise ContainerError(f"the engines name one image differently: {sorted(ids)}")
    return BuiltImage(
        image_id=ids.pop(), tag=tag, size_bytes=images[0].attrs["Size"], loaded=tuple(lacking)
    )


def inputs_digest(files: Files) -> str:
    """Return a digest of everything that decides what the image will contain.

    Shared libraries count by the loader's cache, which is written anew whenever one changes.
    """
    digest = hashlib.sha256()
    for module in (image_files, image_archive):
        digest.update(Path(str(module.__file__)).read_bytes())
    for path, entry in files.items():
        digest.update(f"{path}\0{entry}\0".encode())
        if isinstance(entry, Copy):
            digest.update(_stamp(entry.source))
    digest.update(_stamp(Path("/etc/ld.so.cache")))
    return digest.hexdigest()


def _stamp(path: Path) -> bytes:
    try:
        status = path.stat()
    except FileNotFoundError:
        return b"absent\0"
    return f"{status.st_size} {status.st_mtime_ns}\0".encode()


@contextmanager
def _client(url: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=url, timeout=_LOAD_TIMEOUT_S)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except (DockerException, requests.RequestException) as error:
        raise ContainerError(f"an engine does not take the image: {error}") from error


def _load(archive: Path, clients: list[docker.DockerClient]) -> None:
    """Send *archive* to all engines at once: each unpacks it with one thread."""

    def load(client: docker.DockerClient) -> None:
        with archive.open("rb") as file:
            client.images.load(file)

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(load, clients))


def _has(client: docker.DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True
