"""Schedules after which an order or a job waited too long: see `scenarios`."""

from tests.simulation import left_out
from tests.simulation.scenario import Scenario
from workrs.testing.simulator import Schedule
from workrs.testing.simulator.schedule import AgentPlan, DevicePlan, FaultPlan, JobPlan

SCENARIOS = {
    "a drain that a node had kept since before it voted undid an undrain answered since": Scenario(
        first_seed=644,
        breaks="L1",
        leave_out=left_out.order_kept_before_a_vote_undoes_none,
        schedule=Schedule(
            seed=644,
            nodes=5,
            drift=False,
            repeats=0.3,
            storm_s=4.3,
            agents=(
                AgentPlan(name="a1", home=2, slots=4),
                AgentPlan(name="a2", home=2, slots=1),
            ),
            devices=(DevicePlan(name="d1", home=2),),
            jobs=(JobPlan(name="j1", device="d1", at_s=1.84, work_s=1.11, attempts_max=1),),
            faults=(
                FaultPlan(at_s=0.68, name="agent drained"),
                FaultPlan(at_s=1.34, name="brokers killed", salt=1),
                FaultPlan(at_s=2.35, name="brokers killed", salt=6),
                FaultPlan(at_s=3.29, name="disk lost", salt=7),
            ),
        ),
    ),
    "two agents had a vote each and waited for a node that abstains": Scenario(
        first_seed=4274,
        breaks="L1",
        leave_out=left_out.who_abstains_never_grants,
        schedule=Schedule(
            seed=4274,
            drift=False,
            storm_s=17.0,
            agents=(
                AgentPlan(name="a1", slots=1, rung="none"),
                AgentPlan(name="a2", home=2, slots=4),
                AgentPlan(name="a3", home=1, slots=1),
            ),
            devices=(DevicePlan(name="d1", home=1),),
            jobs=(
                JobPlan(
                    name="j1",
                    device="d1",
                    at_s=11.13,
                    work_s=7.2,
                    attempts_max=2,
                    cancel_at_s=16.12,
                ),
                JobPlan(
                    name="j2", device="d1", at_s=1.62, work_s=0.14, is_large=True, attempts_max=5
                ),
                JobPlan(
                    name="j3",
                    device="d1",
                    at_s=3.67,
                    work_s=0.8,
                    strict=True,
                    checkpoint_s=1.5,
                    attempts_max=1,
                ),
                JobPlan(
                    name="j4",
                    device="d1",
                    at_s=5.23,
                    work_s=0.13,
                    strict=True,
                    checkpoint_s=0.4,
                    attempts_max=5,
                ),
            ),
            faults=(
                FaultPlan(at_s=0.4, name="disk lost", on="release"),
                FaultPlan(at_s=1.05, name="slow network", salt=1),
                FaultPlan(at_s=3.48, name="device killed", salt=2),
                FaultPlan(at_s=3.54, name="slow network", salt=3, on="beat"),
                FaultPlan(at_s=3.6, name="disk lost", salt=4),
                FaultPlan(at_s=4.64, name="disk lost", salt=6, on="outcome"),
                FaultPlan(at_s=4.69, name="device killed", salt=7),
                FaultPlan(at_s=5.14, name="slow network", salt=8),
                FaultPlan(at_s=5.85, name="slow network", salt=9),
                FaultPlan(at_s=6.36, name="disk lost", salt=11, on="release"),
                FaultPlan(at_s=6.53, name="slow network", salt=12),
                FaultPlan(at_s=6.77, name="device killed", salt=13),
                FaultPlan(at_s=8.63, name="device killed", salt=15),
                FaultPlan(at_s=9.13, name="broker stopped", salt=17),
                FaultPlan(at_s=10.13, name="broker stopped", salt=19),
                FaultPlan(at_s=10.25, name="minority cut off", salt=20, on="beat"),
                FaultPlan(at_s=10.55, name="agent host lost", salt=21),
                FaultPlan(at_s=10.88, name="agent host lost", salt=22),
                FaultPlan(at_s=10.95, name="slow network", salt=24),
                FaultPlan(at_s=10.96, name="agent host lost", salt=25),
                FaultPlan(at_s=12.89, name="agent host lost", salt=26),
                FaultPlan(at_s=13.41, name="slow network", salt=27),
                FaultPlan(at_s=13.76, name="minority cut off", salt=28),
                FaultPlan(at_s=14.35, name="slow network", salt=29, on="beat"),
                FaultPlan(at_s=15.08, name="agent host lost", salt=32),
            ),
        ),
    ),
    "nodes that were stopped together split the votes on a cancel twice": Scenario(
        first_seed=300261,
        breaks="L1",
        leave_out=left_out.turns_go_by_all_nodes_after_a_claim,
        schedule=Schedule(
            seed=300261,
            drift=False,
            storm_s=9.2,
            agents=(AgentPlan(name="a1", home=1), AgentPlan(name="a2", home=2)),
            devices=(DevicePlan(name="d1", home=1),),
            jobs=(
                JobPlan(
                    name="j2",
                    device="d1",
                    at_s=0.54,
                    work_s=1.42,
                    exits=(1,),
                    attempts_max=5,
                    cancel_at_s=8.18,
                ),
            ),
            faults=(
                FaultPlan(at_s=0.94, name="daemon stopped", salt=1),
                FaultPlan(at_s=5.48, name="daemon stopped", salt=19),
                FaultPlan(at_s=5.74, name="daemon stopped", salt=22),
                FaultPlan(at_s=5.88, name="daemon stopped", salt=24, on="release"),
            ),
        ),
    ),
}
