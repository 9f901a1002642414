"""Schedules that broke a promise once, each under the name of what was wrong.

Where a later correction covers the case, the first schedule shows nothing any more; then another
was searched for, with the rule left out, and stands here under the first one's name.
What was wrong, and the commit that repaired it, is in docs/track-record.md.
"""

from tests.simulation import left_out
from tests.simulation.scenario import Scenario
from workrs.testing.simulator import Schedule
from workrs.testing.simulator.schedule import AgentPlan, DevicePlan, FaultPlan, JobPlan

SCENARIOS = {
    "a checkpoint was deleted while its report waited at a node with a full disk": Scenario(
        first_seed=5262,
        breaks="S5",
        leave_out=left_out.report_may_still_be_taken,
        schedule=Schedule(
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
    ),
    "a program began after its deadline because its agent was stopped during the start": Scenario(
        first_seed=5830,
        breaks="S6",
        leave_out=left_out.start_waits_for_its_lease,
        schedule=Schedule(
            seed=300002,
            nodes=1,
            storm_s=15.7,
            agents=(
                AgentPlan(name="a1"),
                AgentPlan(name="a2"),
                AgentPlan(name="a3"),
                AgentPlan(name="a4"),
                AgentPlan(name="a5"),
                AgentPlan(name="a6"),
                AgentPlan(name="a7"),
                AgentPlan(name="a8"),
            ),
            devices=(DevicePlan(name="d1"),),
            jobs=(
                JobPlan(name="j1", device="d1", at_s=9.67, work_s=3.0, attempts_max=5),
                JobPlan(name="j2", device="d1", at_s=6.81, work_s=3.0, strict=True, attempts_max=5),
                JobPlan(
                    name="j3", device="d1", at_s=10.31, work_s=3.0, strict=True, attempts_max=5
                ),
            ),
            faults=(
                FaultPlan(at_s=2.91, name="agent stopped", salt=5),
                FaultPlan(at_s=4.15, name="agent stopped", salt=8),
                FaultPlan(at_s=4.35, name="agent stopped", salt=9),
                FaultPlan(at_s=6.61, name="agent stopped", salt=13, on="claim"),
                FaultPlan(at_s=6.82, name="agent stopped", salt=14),
                FaultPlan(at_s=7.84, name="agent stopped", salt=17),
                FaultPlan(at_s=8.2, name="agent stopped", salt=18),
                FaultPlan(at_s=10.35, name="agent stopped", salt=22),
                FaultPlan(at_s=12.35, name="agent stopped", salt=26),
            ),
        ),
    ),
    "an accepted job expired because the disk with one of its votes was lost": Scenario(
        first_seed=102173,
        breaks="S9",
        leave_out=left_out.spec_once_accepted_counts,
        schedule=Schedule(
            seed=300140,
            storm_s=8.1,
            agents=(AgentPlan(name="a1", slots=1, rung="none"),),
            devices=(
                DevicePlan(name="d1", home=1),
                DevicePlan(name="d2", home=2),
            ),
            jobs=(
                JobPlan(name="j3", device="d1", at_s=1.41, work_s=6.0, attempts_max=2),
                JobPlan(
                    name="j4",
                    device="d2",
                    at_s=4.39,
                    work_s=6.0,
                    attempts_max=5,
                    rivals=((4.89, 0), (4.89, 1), (4.89, 2), (5.89, 0), (5.89, 1), (5.89, 2)),
                ),
            ),
            faults=(
                FaultPlan(at_s=2.9, name="one way cut", salt=8),
                FaultPlan(at_s=3.18, name="one way cut", salt=10),
                FaultPlan(at_s=4.46, name="one way cut", salt=13, on="beat"),
                FaultPlan(at_s=4.47, name="disk lost", salt=14),
            ),
        ),
    ),
    "two nodes split the votes of a cancel and waited for five leases": Scenario(
        first_seed=224,
        breaks="L1",
        leave_out=left_out.turns_shorter_than_a_lease,
        schedule=Schedule(
            seed=300002,
            drift=False,
            storm_s=15.7,
            agents=(
                AgentPlan(name="a1", home=1),
                AgentPlan(name="a2", home=2),
            ),
            devices=(
                DevicePlan(name="d1"),
                DevicePlan(name="d2", home=1),
            ),
            jobs=(JobPlan(name="j1", device="d2", at_s=5.54, work_s=20.0, cancel_at_s=10.54),),
            faults=(
                FaultPlan(at_s=3.78, name="minority cut off"),
                FaultPlan(at_s=6.18, name="minority cut off", salt=1),
                FaultPlan(at_s=6.18, name="node lost", salt=2),
                FaultPlan(at_s=6.47, name="node lost", salt=3),
                FaultPlan(at_s=9.04, name="node lost", salt=5),
                FaultPlan(at_s=9.12, name="minority cut off", salt=6),
                FaultPlan(at_s=9.53, name="node lost", salt=7, on="beat"),
            ),
        ),
    ),
    "two nodes that had claimed differently often split the votes of a cancel again": Scenario(
        first_seed=1027,
        breaks="L1",
        leave_out=left_out.no_two_wait_equally_long,
        schedule=Schedule(
            seed=300015,
            storm_s=12.1,
            agents=(AgentPlan(name="a1"),),
            devices=(DevicePlan(name="d1", home=1),),
            jobs=(
                JobPlan(name="j2", device="d1", at_s=1.16, work_s=20.0, checkpoint_s=1.5),
                JobPlan(
                    name="j3",
                    device="d1",
                    at_s=8.92,
                    work_s=20.0,
                    attempts_max=1,
                    cancel_at_s=13.92,
                ),
            ),
            faults=(
                FaultPlan(at_s=1.32, name="disk lost"),
                FaultPlan(at_s=2.34, name="node lost", salt=1),
                FaultPlan(at_s=3.73, name="node lost", salt=4),
                FaultPlan(at_s=3.92, name="disk lost", salt=5, on="beat"),
                FaultPlan(at_s=7.27, name="node lost", salt=11),
                FaultPlan(at_s=7.69, name="disk lost", salt=12, on="beat"),
                FaultPlan(at_s=10.33, name="node lost", salt=13),
                FaultPlan(at_s=11.06, name="node lost", salt=14),
            ),
        ),
    ),
    "two agents split the two nodes that were left over a job for ever": Scenario(
        first_seed=1430,
        breaks="L1",
        leave_out=left_out.claim_may_be_repeated_before_the_next_offer,
        schedule=Schedule(
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
    ),
    "a retired job's record stayed at a peer whose bridge broke at its emptying": Scenario(
        first_seed=26,
        breaks="L2",
        leave_out=left_out.copies_of_peers_emptied_soon,
        schedule=Schedule(
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
    ),
    "nobody showed the spec that counts after the node that had shown it lost its disk": Scenario(
        first_seed=1907,
        breaks="L1",
        leave_out=left_out.spec_shown_to_who_has_another,
        schedule=Schedule(
            seed=1907,
            repeats=0.3,
            storm_s=4.3,
            agents=(AgentPlan(name="a1", home=1, slots=4),),
            devices=(DevicePlan(name="d1", home=1),),
            jobs=(
                JobPlan(
                    name="j1",
                    device="d1",
                    at_s=1.51,
                    work_s=4.47,
                    attempts_max=1,
                    copies=((2.54, 0), (5.6, 0)),
                ),
                JobPlan(
                    name="j3", device="d1", at_s=1.27, work_s=8.86, rivals=((1.34, 2), (2.68, 0))
                ),
            ),
            faults=(
                FaultPlan(at_s=1.29, name="one way cut"),
                FaultPlan(at_s=1.68, name="one way cut", salt=1),
                FaultPlan(at_s=2.77, name="disk lost", salt=4),
                FaultPlan(at_s=3.34, name="one way cut", salt=5),
            ),
        ),
    ),
    "a job that left the bus before its retention ended kept its timer": Scenario(
        first_seed=400317,
        breaks="S10",
        leave_out=left_out.timer_goes_with_its_job,
        schedule=Schedule(
            seed=400317,
            nodes=5,
            drift=False,
            storm_s=11.5,
            agents=(AgentPlan(name="a3", slots=1, rung="none"),),
            devices=(DevicePlan(name="d1", home=3),),
            jobs=(
                JobPlan(
                    name="j1", device="d1", at_s=5.75, work_s=0.59, attempts_max=2, retention_s=2.0
                ),
                JobPlan(name="j2", device="d1", at_s=1.83, work_s=3.27, exits=(1,), attempts_max=2),
            ),
            faults=(
                FaultPlan(at_s=4.08, name="broker killed", salt=5),
                FaultPlan(at_s=7.52, name="daemon stopped", salt=17),
            ),
        ),
    ),
    "a node that was away while its peers retired a job never learnt how it ended": Scenario(
        first_seed=41157,
        breaks="L1",
        leave_out=left_out.vote_without_majority_shown_again,
        schedule=Schedule(
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
    ),
    "nodes of a cluster of five split the votes of a cancel and waited as long": Scenario(
        first_seed=62,
        breaks="L1",
        leave_out=left_out.turns_shorter_than_a_lease,
        schedule=Schedule(
            seed=62,
            nodes=5,
            repeats=0.3,
            storm_s=10.9,
            agents=(AgentPlan(name="a1", slots=1, rung="none"),),
            devices=(DevicePlan(name="d1", home=2),),
            jobs=(
                JobPlan(
                    name="j5", device="d1", at_s=1.26, work_s=0.1, attempts_max=5, cancel_at_s=3.32
                ),
            ),
            faults=(
                FaultPlan(at_s=1.1, name="broker killed"),
                FaultPlan(at_s=1.3, name="daemon stopped", salt=1),
                FaultPlan(at_s=1.86, name="broker killed", salt=2),
                FaultPlan(at_s=3.36, name="broker killed", salt=7),
                FaultPlan(at_s=4.24, name="node killed", salt=8),
                FaultPlan(at_s=4.68, name="disk lost", salt=9, on="claim"),
                FaultPlan(at_s=6.93, name="node killed", salt=11, on="claim"),
            ),
        ),
    ),
    "another spec was accepted once the disk with a vote for the first was lost": Scenario(
        first_seed=105915,
        breaks="S9",
        leave_out=left_out.spec_once_accepted_counts,
        schedule=Schedule(
            seed=105939,
            nodes=5,
            storm_s=9.2,
            agents=(
                AgentPlan(name="a1", slots=4),
                AgentPlan(name="a2"),
                AgentPlan(name="a3"),
                AgentPlan(name="a4"),
                AgentPlan(name="a5", slots=1),
                AgentPlan(name="a6", slots=4),
            ),
            devices=(DevicePlan(name="d1", home=2),),
            jobs=(
                JobPlan(
                    name="j3",
                    device="d1",
                    at_s=0.47,
                    work_s=0.78,
                    exits=(78,),
                    strict=True,
                    checkpoint_s=1.5,
                    attempts_max=5,
                    rivals=((6.57, 2), (3.56, 3), (0.89, 4)),
                    cancel_at_s=0.57,
                ),
                JobPlan(
                    name="j5",
                    device="d1",
                    at_s=1.49,
                    work_s=2.64,
                    exits=(1, 1, 0),
                    strict=True,
                    checkpoint_s=0.8,
                ),
            ),
            faults=(
                FaultPlan(at_s=0.68, name="disk lost", on="claim"),
                FaultPlan(at_s=0.8, name="node killed", salt=1),
                FaultPlan(at_s=1.46, name="node killed", salt=4),
                FaultPlan(at_s=2.51, name="node killed", salt=7),
                FaultPlan(at_s=2.97, name="broker killed", salt=12),
                FaultPlan(at_s=5.23, name="node killed", salt=19),
            ),
        ),
    ),
    "a checkpoint under way when its program ended was said to hold all its work": Scenario(
        first_seed=1,
        breaks="R4",
        leave_out=left_out.checkpoint_holds_the_work_of_its_own_begin,
        schedule=Schedule(
            seed=1,
            nodes=5,
            repeats=0.1,
            storm_s=9.3,
            agents=(
                AgentPlan(name="a1", home=1, slots=1),
                AgentPlan(name="a2", home=1, slots=1, rung="none"),
            ),
            devices=(DevicePlan(name="d1", home=4), DevicePlan(name="d2", home=1)),
            jobs=(
                JobPlan(name="j1", device="d2", at_s=4.57, work_s=0.1, attempts_max=5),
                JobPlan(name="j2", device="d2", at_s=2.67, work_s=5.7, attempts_max=5),
                JobPlan(
                    name="j3", device="d2", at_s=1.17, work_s=1.71, resumes=True, checkpoint_s=0.8
                ),
            ),
            faults=(
                FaultPlan(at_s=4.98, name="agent cut off", salt=5, on="outcome"),
                FaultPlan(at_s=5.3, name="agent cut off", salt=7),
            ),
        ),
    ),
}
