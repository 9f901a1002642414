"""Goal: a job that is lost, late or ends otherwise than it must is seen (L1).

Method: devices that tell what the test says of their jobs; a judge with nothing else to look at.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from device_client import Report, State
from workrs.domain.lease import LeaseTiming
from workrs.faults.disks import Disk
from workrs.faults.judge import STUCK_S, Judge
from workrs.faults.load import Load
from workrs.faults.plan import LoadPlan
from workrs.faults.row import RowError

QUIET = LoadPlan(echo_period_s=0.0, long_jobs=0)
TIMING = LeaseTiming()
WAIT_S = 60.0


@dataclass
class Teller:
    """A device that knows of its jobs what the test has told it."""

    reports: dict[str, Report] = field(default_factory=dict)

    def submit(self, spec: Mapping[str, object], *, job: str) -> None:
        assert spec
        self.reports[job] = Report(job, State.WAITING)

    def state(self, job: str) -> Report:
        return self.reports[job]


@pytest.fixture
def device() -> Any:
    return Teller()


@pytest.fixture
def load(device: Any) -> Iterator[Load]:
    it = Load(plan=QUIET, clock=time.monotonic)
    it.devices.append(("d", device))
    with it.running():
        yield it


def send(load: Load) -> str:
    _, device = load.devices[0]
    return load.send("d", device, {"function": "echo"}, b"right", run_s=2.0).job


def await_end(load: Load) -> None:
    deadline = time.monotonic() + WAIT_S
    while load.open_jobs():
        assert time.monotonic() < deadline
        Event().wait(0.01)


@pytest.mark.parametrize(
    ("end", "seen"),
    [
        ({"state": State.SUCCEEDED, "value": b"right"}, ""),
        ({"state": State.SUCCEEDED, "value": b"wrong"}, "d_j1 has the value b'wrong'"),
        ({"state": State.SUCCEEDED}, "d_j1 has the value None"),
        ({"state": State.FAILED, "reason": "no agent"}, "d_j1 ended as failed: no agent"),
        ({"state": State.EXPIRED, "reason": "two specs"}, "d_j1 ended as expired: two specs"),
    ],
)
def test_every_job_must_end_with_its_own_value(
    load: Load, device: Teller, end: dict[str, Any], seen: str
) -> None:
    job = send(load)
    device.reports[job] = Report(job, **end)
    await_end(load)
    assert [text.startswith(seen) for text in load.violations] == ([True] if seen else [])


def judge_of(load: Load, path: Path, now_s: Callable[[], float]) -> Judge:
    """Return a judge whose every wait is in vain, and who sees nothing but the load."""

    def until(what: str, look: Callable[[], bool], timeout_s: float) -> None:
        if not look():
            raise RowError(f"waited {timeout_s} s in vain for {what}")

    site = SimpleNamespace(load=load, nodes=[], timing=TIMING, until=until)
    site.trace = SimpleNamespace(path=path, flush=lambda: None, now_s=now_s())
    site.cluster = SimpleNamespace(addresses={}, plan=SimpleNamespace(root=path))
    site.diary = SimpleNamespace(take=list)
    site.eyes = SimpleNamespace(runs=list)
    site.evidence = path
    site.trace.zero_s = 0.0
    return Judge(site)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the job on the only disk."""
    disk = Disk(frozenset({"d_j1"}), {})
    monkeypatch.setattr(Judge, "read_disks", lambda _self: {"n1": disk})


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.touch()
    return path


def test_a_job_that_never_ends_fails_the_site(load: Load, trace: Path) -> None:
    send(load)
    found = judge_of(load, trace, time.monotonic).finish()
    assert len(found) == 1
    assert found[0].startswith("L1 d_j1 (2 s of work")
    assert found[0].endswith("has not ended in runtime + 3 ttl")


def test_a_site_whose_jobs_have_ended_well_passes(load: Load, device: Teller, trace: Path) -> None:
    job = send(load)
    device.reports[job] = Report(job, State.SUCCEEDED, value=b"right")
    await_end(load)
    assert judge_of(load, trace, time.monotonic).finish() == ()


@pytest.mark.parametrize(("over_s", "seen"), [(-1.0, 0), (1.0, 1)])
def test_a_job_that_is_stuck_is_told_once(
    load: Load, trace: Path, over_s: float, seen: int
) -> None:
    send(load)
    [sent] = load.open_jobs()
    age_s = sent.run_s + 3 * TIMING.ttl_s + STUCK_S + over_s
    judge = judge_of(load, trace, lambda: sent.sent_s + age_s)
    assert [text.startswith("L1 d_j1 has not ended") for text in judge.look()] == [True] * seen
    assert judge.look() == ()


def test_a_value_that_is_wrong_is_told_as_l1(load: Load, device: Teller, trace: Path) -> None:
    job = send(load)
    device.reports[job] = Report(job, State.SUCCEEDED, value=b"wrong")
    await_end(load)
    [text] = judge_of(load, trace, time.monotonic).look()
    assert text.startswith("L1 d_j1 has the value")
