"""Schedules that broke a promise once, each under the name of what was wrong.

Method: each is run as the simulator printed it after making it small, and must break nothing.
What was wrong, and the commit that repaired it, stands in docs/track-record.md.
"""

import pytest

from workrs.testing.simulator import Schedule, run_schedule
from workrs.testing.simulator.schedule import AgentPlan, DevicePlan, FaultPlan, JobPlan

SCENARIOS = {
    "a checkpoint was deleted while its report waited at a node with a full disk": Schedule(
        seed=5262,
        nodes=1,
        drift=False,
        storm_s=12.1,
        agents=(AgentPlan(name="a2"),),
        devices=(DevicePlan(name="d1"),),
        jobs=(
            JobPlan(
                name="j4",
                device="d1",
                at_s=0.07,
                work_s=3.46,
                exits=(1,),
                checkpoint_s=0.8,
                attempts_max=5,
            ),
        ),
        faults=(
            FaultPlan(at_s=1.94, name="everything killed", salt=2),
            FaultPlan(at_s=3.9, name="disk full", salt=6),
        ),
    ),
    "a program began after its deadline because its agent was stopped during the start": Schedule(
        seed=5830,
        storm_s=11.4,
        agents=(
            AgentPlan(name="a1", home=1),
            AgentPlan(name="a2", home=2, slots=4),
            AgentPlan(name="a3", home=2),
        ),
        devices=(DevicePlan(name="d1"),),
        jobs=(
            JobPlan(name="j1", device="d1", at_s=4.77, work_s=1.34, strict=True, attempts_max=5),
            JobPlan(name="j2", device="d1", at_s=5.73, work_s=2.02, attempts_max=1),
            JobPlan(name="j3", device="d1", at_s=6.98, work_s=0.11),
        ),
        faults=(
            FaultPlan(at_s=3.51, name="brokers killed", salt=5),
            FaultPlan(at_s=5.13, name="brokers killed", salt=6),
            FaultPlan(at_s=7.41, name="agent stopped", salt=8),
        ),
    ),
    "an accepted job expired because the disk with one of its votes was lost": Schedule(
        seed=102173,
        drift=False,
        storm_s=15.5,
        agents=(AgentPlan(name="a1", home=2, slots=1), AgentPlan(name="a2")),
        devices=(DevicePlan(name="d1"),),
        jobs=(
            JobPlan(
                name="j4",
                device="d1",
                at_s=4.27,
                work_s=2.49,
                rivals=((5.25, 2), (7.44, 0), (11.45, 2)),
            ),
            JobPlan(
                name="j5",
                device="d1",
                at_s=7.73,
                work_s=6.45,
                attempts_max=1,
                copies=((10.43, 0), (8.48, 0), (11.02, 1), (10.73, 1)),
            ),
            JobPlan(
                name="j6",
                device="d1",
                at_s=11.62,
                work_s=4.59,
                rivals=((11.74, 1), (14.15, 1), (13.92, 0), (14.21, 1)),
            ),
        ),
        faults=(
            FaultPlan(at_s=5.25, name="disk full", salt=7),
            FaultPlan(at_s=5.79, name="disk full", salt=8),
            FaultPlan(at_s=7.07, name="agent host paused", salt=10),
            FaultPlan(at_s=7.89, name="broker stopped", salt=11),
            FaultPlan(at_s=13.77, name="disk lost", salt=17, on="claim"),
            FaultPlan(at_s=13.87, name="one way cut", salt=18),
            FaultPlan(at_s=14.48, name="disk full", salt=19, on="beat"),
        ),
    ),
    "two nodes split the votes of a cancel and waited for five leases": Schedule(
        seed=224,
        repeats=0.3,
        storm_s=17.0,
        agents=(AgentPlan(name="a1", home=2, slots=4),),
        devices=(DevicePlan(name="d1"),),
        jobs=(JobPlan(name="j2", device="d1", at_s=3.05, work_s=3.24, cancel_at_s=13.8),),
        faults=(
            FaultPlan(at_s=4.94, name="node lost", salt=8, on="outcome"),
            FaultPlan(at_s=5.22, name="disk lost", salt=9),
            FaultPlan(at_s=5.27, name="node lost", salt=10, on="outcome"),
            FaultPlan(at_s=8.86, name="node lost", salt=16),
        ),
    ),
    "a node that was away while its peers retired a job never learnt how it ended": Schedule(
        seed=41157,
        drift=False,
        storm_s=12.2,
        agents=(AgentPlan(name="a3"),),
        devices=(DevicePlan(name="d1"),),
        jobs=(
            JobPlan(
                name="j1", device="d1", at_s=0.84, work_s=1.15, attempts_max=2, retention_s=2.0
            ),
        ),
        faults=(
            FaultPlan(at_s=0.89, name="broker killed"),
            FaultPlan(at_s=2.14, name="broker killed", salt=2),
            FaultPlan(at_s=2.21, name="broker killed", salt=3),
        ),
    ),
    "two agents split the two nodes that were left over a job for ever": Schedule(
        seed=1430,
        ttl_s=20.0,
        storm_s=15.7,
        agents=(
            AgentPlan(name="a1", home=2),
            AgentPlan(name="a2", home=2),
            AgentPlan(name="a3", home=1, slots=4),
        ),
        devices=(DevicePlan(name="d1"), DevicePlan(name="d2", home=1)),
        jobs=(
            JobPlan(
                name="j1",
                device="d2",
                at_s=10.57,
                work_s=0.15,
                exits=(1, 1, 0),
                resumes=True,
                is_large=True,
                is_raw=True,
                checkpoint_s=0.8,
                attempts_max=2,
            ),
            JobPlan(name="j2", device="d2", at_s=9.52, work_s=6.21, exits=(1,), attempts_max=2),
            JobPlan(
                name="j3",
                device="d2",
                at_s=0.22,
                work_s=5.38,
                exits=(78,),
                is_raw=True,
                checkpoint_s=1.5,
                attempts_max=2,
                copies=((0.81, 2), (0.94, 0)),
                rivals=((1.14, 1), (1.91, 2), (5.62, 2), (0.97, 2)),
            ),
            JobPlan(
                name="j4",
                device="d1",
                at_s=0.39,
                work_s=3.87,
                resumes=True,
                strict=True,
                checkpoint_s=1.5,
                attempts_max=1,
                rivals=((1.1, 1), (2.06, 0), (8.74, 1)),
            ),
        ),
        faults=(
            FaultPlan(at_s=1.24, name="broker stopped", on="claim"),
            FaultPlan(at_s=2.09, name="minority cut off", salt=1, on="claim"),
            FaultPlan(at_s=3.42, name="disk lost", salt=2),
            FaultPlan(at_s=3.91, name="disk lost", salt=3, on="claim"),
            FaultPlan(at_s=4.68, name="brokers killed", salt=4, on="beat"),
            FaultPlan(at_s=5.99, name="brokers killed", salt=5),
            *(
                FaultPlan(at_s=at_s, name="disk lost", salt=salt)
                for salt, at_s in enumerate((6.36, 6.52, 7.89, 11.5), start=6)
            ),
            FaultPlan(at_s=11.75, name="broker stopped", salt=10, on="outcome"),
            FaultPlan(at_s=13.32, name="minority cut off", salt=11),
            FaultPlan(at_s=13.69, name="minority cut off", salt=12, on="outcome"),
            FaultPlan(at_s=13.71, name="broker stopped", salt=13),
            FaultPlan(at_s=13.85, name="disk lost", salt=14),
        ),
    ),
    "a retired job's record stayed at a peer whose bridge broke at its emptying": Schedule(
        seed=26,
        drift=False,
        repeats=0.3,
        storm_s=6.7,
        agents=(AgentPlan(name="a1", home=1), AgentPlan(name="a2", home=1, slots=1)),
        devices=(DevicePlan(name="d1", home=1),),
        jobs=(
            JobPlan(
                name="j2",
                device="d1",
                at_s=0.07,
                work_s=0.14,
                resumes=True,
                attempts_max=1,
                retention_s=2.0,
            ),
        ),
        faults=(
            FaultPlan(at_s=1.43, name="connection broken"),
            FaultPlan(at_s=5.67, name="connection broken", salt=13),
        ),
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_schedule_that_broke_a_promise_once_breaks_none_now(name: str) -> None:
    result = run_schedule(SCENARIOS[name], keep_trace=True)
    assert result.violation is None, "\n".join(result.trace[-40:])
