"""The few calls to a Docker Engine that a runtime needs, as coroutines with our errors.

Short calls go through the Docker SDK on a few threads. Waiting for a container's end would
hold a thread for hours, so that one call is made on the engine's socket directly.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from workrs.domain.errors import ContainerError
from workrs.ports.runtime import ImageError

T = TypeVar("T")

_THREADS = 8
_TIMEOUT_S = 60
_PULL_TIMEOUT_S = 600.0


class DockerEngine:
    """A client of one engine."""

    def __init__(self, url: str, client: Any) -> None:
        """Use `open`."""
        self.url = url
        self._client = client
        self._threads = ThreadPoolExecutor(_THREADS, "docker")
        parts = urlsplit(url)
        self._base = "http://engine" if parts.scheme == "unix" else f"http://{parts.netloc}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(parts.path, limit=0)
            if parts.scheme == "unix"
            else None,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the engine at *url*, as in DOCKER_HOST.

        Raises:
            ContainerError: nobody answers there.
        """
        try:
            client = await asyncio.to_thread(
                docker.DockerClient, base_url=url, version="auto", timeout=_TIMEOUT_S
            )
        except (DockerException, requests.RequestException) as error:
            raise ContainerError(f"the engine at {url} does not answer: {error}") from error
        return cls(url, client)

    async def _call(self, what: str, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, call)
        except APIError as error:
            raise ContainerError(f"{what}: {error.explanation or error}") from error
        except (DockerException, requests.RequestException) as error:
            raise ContainerError(f"{what}: the engine does not answer: {error}") from error

    async def info(self) -> dict[str, Any]:
        """Return what the engine says of itself."""
        return await self._call("info", self._client.info)

    async def images(self) -> tuple[str, ...]:
        """Return the ids and names of all images."""
        found = await self._call("images", self._client.images.list)
        return tuple(name for image in found for name in (image.id, *image.tags))

    async def image_id(self, name: str, *, pull: bool) -> str:
        """Return the id of an image, fetching it from its registry if *pull* allows that.

        Raises:
            ImageError: it is not here, and was not to be had.
        """

        def look() -> str | None:
            try:
                return str(self._client.images.get(name).id)
            except ImageNotFound:
                return None

        found = await self._call(f"image {name}", look)
        if found is None and pull and not name.startswith("sha256:"):
            try:
                async with asyncio.timeout(_PULL_TIMEOUT_S):
                    found = await self._call(
                        f"image {name}", lambda: str(self._client.images.pull(name).id)
                    )
            except (ContainerError, TimeoutError) as error:
                raise ImageError(
                    f"image {name} is not here and cannot be fetched: {error}"
                ) from error
        if found is None:
            raise ImageError(f"image {name} is not on this engine: build or load it there")
        return found

    async def create(self, options: dict[str, object]) -> str:
        """Create a container, and return its id."""

        def create() -> str:
            return str(self._client.containers.create(**options).id)

        return await self._call("create", create)

    async def start(self, container_id: str) -> None:
        """Start a container that was created."""
        await self._call("start", lambda: self._client.api.start(container_id))

    async def state(self, container_id: str) -> dict[str, Any]:
        """Return the engine's view of a container: Pid, OOMKilled and so on."""
        found = await self._call(
            "inspect", lambda: self._client.api.inspect_container(container_id)
        )
        state: dict[str, Any] = found["State"]
        return state

    async def wait(self, container_id: str) -> int:
        """Return a container's exit code, when it has ended."""
        try:
            async with self._session.post(f"{self._base}/containers/{container_id}/wait") as answer:
                said = await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ContainerError(
                f"the engine lost container {container_id[:12]}: {error}"
            ) from error
        if "StatusCode" not in said:
            raise ContainerError(f"the engine lost container {container_id[:12]}: {said}")
        return int(said["StatusCode"])

    async def remove(self, container_id: str) -> None:
        """Remove a container; one that is gone is fine."""

        def remove() -> None:
            with contextlib.suppress(NotFound):
                self._client.api.remove_container(container_id, force=True, v=True)

        await self._call("remove", remove)

    async def labelled(self, label: str) -> list[str]:
        """Return the ids of all containers with a label, given as NAME=VALUE."""

        def ids() -> list[str]:
            found: Iterable[dict[str, Any]] = self._client.api.containers(
                all=True, filters={"label": label}
            )
            return [str(container["Id"]) for container in found]

        return await self._call("list", ids)

    async def close(self) -> None:
        """Let go of the engine."""
        await self._session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._client.close)
