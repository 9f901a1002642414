"""A device's brain, driven by hand: the test passes times, takes effects and plays the node."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from device_client.brain import Brain
from device_client.effect import Effect, Tell
from device_client.route import Timing
from workrs.wire import topics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device_client.report import Report

TIMING = Timing()


class Desk:
    """A brain at a time of the test's choice."""

    def __init__(self, nodes: int = 3) -> None:
        self.brain = Brain("dev", timing=TIMING, nodes=nodes)
        self.now = 100.0
        self.reports: list[Report] = []
        self.told: list[tuple[str, str]] = []

    def do(self, effects: Iterable[Effect]) -> list[Effect]:
        done = list(effects)
        told = [e.report for e in done if isinstance(e, Tell)]
        self.reports += told
        self.told += [(report.job, str(report.state)) for report in told]
        return [e for e in done if not isinstance(e, Tell)]

    def keep(self, job: str, **how: Any) -> list[Effect]:
        how = {"accepted": False, "ready": True, "cancel": False} | how
        return self.do(self.brain.keep(job, self.now, **how))

    def connect(self) -> list[Effect]:
        return self.do(self.brain.connected(self.now))

    def hear(
        self, job: str, state: str, *, retained: bool = False, tail: str = "", **more: Any
    ) -> list[Effect]:
        body = state.encode() if tail else json.dumps({"state": state, **more}).encode()
        topic = topics.down("dev", job, *([tail] if tail else []))
        return self.do(self.brain.heard(topic, body, self.now, retained=retained))

    def tick(self, after_s: float = 0.0) -> list[Effect]:
        self.now += after_s
        return self.do(self.brain.tick(self.now))

    def wait(self, job: str) -> list[Effect]:
        return self.do(self.brain.await_job(job, self.now))
