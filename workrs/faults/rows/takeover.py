"""How long a takeover takes with the default timings (ttl 10 s), by fault.

Measured from the fault to the lease held by another agent (records of a majority, as an
observer at the brokers sees them), and beside it to its program's first sign of life. Several
jobs run at the agent that is lost, so one injection gives several figures; they are not
independent of each other.
"""

from collections.abc import Sequence
from typing import Final

from workrs.domain.lease import LeaseTiming
from workrs.faults.plan import LoadPlan, SitePlan
from workrs.faults.row import NET, Injection, Row
from workrs.faults.rows import agent
from workrs.faults.rows.process import broker_killed
from workrs.faults.site import Site

JOBS: Final = 9
KILL_P99_S: Final = 2.0
_TIMING: Final = LeaseTiming()
_PLAN: Final = SitePlan(
    net=True, timing=_TIMING, slots=12, load=LoadPlan(echo_period_s=1.0, long_jobs=0)
)
_NEEDS: Final = frozenset({NET})


def _agent_killed(site: Site) -> Injection:
    return agent.agent_killed(site, jobs=JOBS)


def _host_lost(site: Site) -> Injection:
    return agent.host_lost(site, jobs=JOBS)


ROWS: Sequence[Row] = (
    Row(
        name="takeover-agent-killed",
        title="ttl 10 s: agent killed",
        passes_when="lease held by another agent within 2 s (p99)",
        inject=_agent_killed,
        plan=_PLAN,
        repeat=12,
        needs=_NEEDS,
        bounds={"lease": KILL_P99_S},
    ),
    Row(
        name="takeover-host-lost",
        title="ttl 10 s: host lost",
        passes_when="lease held by another agent within 1.2 ttl (p99)",
        inject=_host_lost,
        plan=_PLAN,
        repeat=10,
        needs=_NEEDS,
        bounds={"lease": agent.LOSS_TTLS * _TIMING.ttl_s},
    ),
    Row(
        name="takeover-broker-killed",
        title="ttl 10 s: broker killed, back after 0-10 s",
        passes_when="no takeover at all",
        inject=broker_killed,
        plan=_PLAN,
        repeat=8,
        needs=_NEEDS,
    ),
)
