"""Goal: one device that sends as fast as it can is refused, then barred, and the others are not.

Method: a node's gate on a clock of the test's own, played twice (tests/hostile/twice.py): with
quotas, and with ones that nobody meets. What a flood costs real nodes is measured in
tests/acceptance/test_flood.py.
"""

from __future__ import annotations

from broker.event import Refused, SubmitHeard
from broker.gate import GRACE_S, IGNORED_MAX, Gate
from broker.intake_queue import IntakeQueue
from tests.hostile.twice import played_twice
from tests.unit.broker.cluster import Cluster
from workrs.domain.ids import ClientId, Instant, LocalJobId
from workrs.domain.quota import Quota, Quotas
from workrs.wire.message import JobState

SMALL = Quota(rate_per_s=2.0, burst=4, open_max=3, open_max_bytes=1_000)
WIDE = Quota(rate_per_s=1e6, burst=10**6, open_max=10**6, open_max_bytes=1 << 40)
PERIOD_S = 0.01


def quotas(*, control: bool) -> Quotas:
    return Quotas(device=SMALL if control else WIDE, tenant=WIDE)


@played_twice
def test_a_device_that_does_not_listen_is_refused_and_then_barred(*, control: bool) -> None:
    gate, queue, now = Gate(quotas=quotas(control=control)), IntakeQueue(), 0.0
    evil, honest = (SubmitHeard(ClientId(n), LocalJobId("j"), b"", "") for n in ("evil", "pump"))
    found: list[Refused | bool] = []
    while now < GRACE_S + 3 * IGNORED_MAX * PERIOD_S:
        found.append(gate.judge(evil, queue, Instant(now)))
        now += PERIOD_S
    assert gate.judge(honest, queue, Instant(now)) is True
    assert any(isinstance(each, Refused) for each in found) is control
    assert gate.is_barred(ClientId("evil"), Instant(now)) is control
    assert found[-1] is not control
    assert ("evil" in gate.kicks) is control, "and disconnected"


@played_twice
def test_a_device_has_no_more_open_jobs_than_its_share(*, control: bool) -> None:
    cluster = Cluster(1)
    cluster.nodes["n1"].gate.quotas = quotas(control=control)
    for number in range(SMALL.open_max + 2):
        cluster.submit("n1", f"j{number}", device="evil")
    told = [p.body for _, p in cluster.heard if isinstance(p.body, JobState)]
    rejected = [each for each in told if each.state == "rejected"]
    assert bool(rejected) is control
    assert all(each.retry_after_s for each in rejected)
