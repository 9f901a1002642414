"""Falling down the ladder: scripted talks about checkpoints that cannot be used as they are.

Goal: a start takes the best that is left, without fetching what cannot help, and says so.
"""

from dataclasses import replace

from edge_agent.effect import Log, PrepareStart, RemoveContainer, StartContainer
from edge_agent.event import Blame, ContainerRemoved, StartFailed, StartPrepared
from tests.unit.edge_agent.agent_talk import JOB, Talk, checkpoint
from workrs.domain.host import HostFacts
from workrs.domain.job import CheckpointMode, CheckpointPolicy
from workrs.domain.record import CheckpointRef
from workrs.wire.message import Progress

HERE = HostFacts(arch="amd64", cpu="c1", kernel="6.1", criu="4.1")
THERE = replace(HERE, cpu="c2")


def memory(seq: int, host: HostFacts) -> CheckpointRef:
    return replace(checkpoint(1, seq), rung="memory", host=host, progress=0.5)


def take(talk: Talk, *refs: CheckpointRef, mode: CheckpointMode = CheckpointMode.AUTO) -> None:
    """Let the agent, on the memory rung of the machine HERE, win a job with these checkpoints."""
    talk.brain.agent.rung = "memory"
    talk.brain.agent.host = HERE
    for node in talk.nodes:
        node.change(epoch=1, attempt=1, checkpoints=refs)
    talk.connect()
    talk.offer(epoch=2, checkpoint=CheckpointPolicy(mode=mode))
    talk.wait(0.1)


def start(talk: Talk) -> StartContainer:
    asked = talk.last(PrepareStart)
    talk.tell(StartPrepared(job=JOB, run=asked.run))
    talk.wait(0.1)
    return talk.started()


def refuse(talk: Talk, why: str) -> None:
    asked = talk.last(PrepareStart)
    talk.tell(StartFailed(job=JOB, run=asked.run, blame=Blame.CHECKPOINT, reason=why))


def fell(talk: Talk) -> list[str]:
    return [str(line.fields["what"]) for line in talk.all(Log) if line.key == "job_fell"]


def test_what_fits_is_restored_without_a_word() -> None:
    talk = Talk()
    take(talk, memory(2, HERE), memory(1, HERE))
    assert talk.last(PrepareStart).checkpoint == memory(2, HERE)
    assert talk.last(PrepareStart).rung == "memory"
    assert start(talk).restore
    assert fell(talk) == []


def test_an_older_one_that_fits_is_taken_before_the_files_of_the_newest() -> None:
    talk = Talk()
    take(talk, memory(2, THERE), memory(1, HERE))
    assert talk.last(PrepareStart).checkpoint == memory(1, HERE)
    start(talk)
    [said] = fell(talk)
    assert said.startswith(
        "went on from 1.1: checkpoint 1.2 (memory) is of no use here: another cpu"
    )
    assert talk.said(Progress)[0].note == said


def test_memory_of_another_machine_is_not_even_fetched_and_its_files_begin_again() -> None:
    talk = Talk()
    take(talk, memory(1, THERE))
    [asked] = talk.all(PrepareStart)
    assert (asked.checkpoint, asked.rung) == (memory(1, THERE), "files")
    assert start(talk).restore
    assert fell(talk)[0].startswith("began again with the files of 1.1: ")


def test_what_turns_out_to_be_damaged_falls_rung_by_rung_to_the_beginning() -> None:
    talk = Talk()
    take(talk, memory(2, HERE), memory(1, HERE))
    tried = []
    for _ in range(4):
        asked = talk.last(PrepareStart)
        assert asked.checkpoint is not None
        tried.append((asked.checkpoint.seq, asked.rung))
        refuse(talk, "no store has it whole")
    assert tried == [(2, "memory"), (1, "memory"), (2, "files"), (1, "files")]
    talk.wait(0.1)
    assert not talk.started().restore
    [said] = fell(talk)
    assert said.startswith("began again: ")
    assert said.endswith("no store has it whole")


def test_each_start_that_failed_is_removed_and_the_one_that_follows_is_not() -> None:
    talk = Talk()
    take(talk, memory(2, HERE), memory(1, HERE))
    refused = []
    for _ in range(3):
        refused.append(talk.last(PrepareStart).run)
        refuse(talk, "damaged")
    assert [effect.run for effect in talk.all(RemoveContainer)] == refused
    for run in refused:
        talk.tell(ContainerRemoved(job=JOB, run=run))
    assert start(talk).restore


def test_a_job_that_asks_for_memory_falls_to_the_beginning() -> None:
    talk = Talk()
    take(talk, memory(1, THERE), mode=CheckpointMode.MEMORY)
    assert talk.all(PrepareStart) == []
    assert not talk.started().restore
    assert fell(talk)[0].startswith("began again: ")


def test_memory_that_begins_again_with_its_files_is_credited_no_work() -> None:
    """What the files hold nobody knows; work that is not safe must not put the next save off."""
    for host, safe_s in ((HERE, 50.0), (THERE, 0.0)):
        talk = Talk()
        take(talk, replace(memory(1, host), work_s=50.0, frozen_s=9.0))
        start(talk)
        measured = talk.brain.roster.works[JOB].measured
        assert measured.safe_s == safe_s
        assert (measured.cost_s == 9.0) == (host == HERE)


def test_what_is_sealed_with_another_key_is_not_even_fetched() -> None:
    """Nodes offer it to agents that have the key first; who is offered it after that falls."""
    talk = Talk()
    talk.brain.agent.keys = ("k1",)
    take(talk, replace(memory(2, HERE), key="k2"), replace(memory(1, HERE), key="k1"))
    assert talk.last(PrepareStart).checkpoint == memory(1, HERE)
    start(talk)
    assert "it has not the checkpoint key k2" in fell(talk)[0]
