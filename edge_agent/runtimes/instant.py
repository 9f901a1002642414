"""Runs nothing: every job succeeds at once, and its result is its input. For benchmarks.

What is measured with it is the control plane alone: votes, leases, records and outcomes are
the real ones, and everything that a container would cost is left out.
"""

from collections.abc import Callable

from edge_agent.effect import ContainerEffect, PrepareStart, RemoveContainer, StartContainer
from edge_agent.event import (
    ContainerExited,
    ContainerRemoved,
    ContainerStarted,
    Event,
    StartPrepared,
)


class InstantHands:
    """Answers every effect on a container in the moment it is asked."""

    def __init__(self, post: Callable[[Event], None]) -> None:
        """Tell *post* what became of each effect."""
        self._post = post

    def perform(self, effect: ContainerEffect) -> None:
        """Claim to have done it."""
        match effect:
            case StartContainer(job=job, run=run, spec=spec):
                result = spec.input_bytes() or b""
                self._post(ContainerStarted(job=job, run=run))
                self._post(
                    ContainerExited(
                        job=job, run=run, code=0, result=result, result_bytes=len(result)
                    )
                )
            case PrepareStart(job=job, run=run):
                self._post(StartPrepared(job=job, run=run))
            case RemoveContainer(job=job, run=run):
                self._post(ContainerRemoved(job=job, run=run))
            case _:
                pass

    def close(self) -> None:
        """Have nothing under way."""
