"""Sees from outside when a job's container runs: the engine's word, not the agent's."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import docker
from docker.errors import DockerException, NotFound

POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A running container of a job."""

    agent: str
    epoch: int
    engine: str
    at: float
    """On CLOCK_MONOTONIC."""


class ContainerWatch:
    """Looks at the containers of several engines by the labels agents put on them."""

    def __init__(self, engines: Sequence[str]) -> None:
        self._stack = ExitStack()
        self._clients = {
            url: self._stack.enter_context(closing(docker.DockerClient(base_url=url)))
            for url in engines
        }

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections to the engines."""
        self._stack.close()

    def running(self, job: str) -> list[Sighting]:
        """Return the running containers of a job (its id on the bus), newest epoch first."""
        found = []
        for url, client in self._clients.items():
            wanted = {"label": f"workrs.job={job}", "status": "running"}
            try:
                containers = client.containers.list(filters=wanted)
            except (DockerException, NotFound):
                continue  # one of them ended while the list was made
            for container in containers:
                labels = container.labels
                found.append(
                    Sighting(
                        agent=labels.get("workrs.agent", ""),
                        epoch=int(labels.get("workrs.epoch", "0")),
                        engine=url,
                        at=time.monotonic(),
                    )
                )
        return sorted(found, key=lambda s: s.epoch, reverse=True)

    def wait_above(self, job: str, epoch: int, timeout_s: float) -> Sighting | None:
        """Wait for a running container of a higher epoch; None after *timeout_s*."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for sighting in self.running(job):
                if sighting.epoch > epoch:
                    return sighting
            time.sleep(POLL_S)  # noqa: TID251 (an observer of another program's state)
        return None
