"""Goal: an agent reads and shows a job's log only while somebody asked for it.

Method: scripted talks with a brain; the test plays the container that is read.
"""

from edge_agent.effect import Publish, ReadLog
from edge_agent.event import ConnectionLost, LogRead, OrderReceived
from tests.unit.edge_agent.agent_talk import JOB, TIMING, Talk
from workrs.domain.ids import JobId
from workrs.wire import topics
from workrs.wire.message import LOG_S, Order, OrderKind

LOG_TOPIC = topics.up("a1", "log", JOB)


def ask(talk: Talk, job: JobId = JOB) -> None:
    talk.tell(OrderReceived(order=Order(order=OrderKind.LOG, job=job)))


def prints(talk: Talk, tail: bytes) -> None:
    """Answer the last reading."""
    talk.tell(LogRead(job=JOB, run=talk.last(ReadLog).run, tail=tail))


def shown(talk: Talk) -> list[object]:
    found = [effect for effect in talk.all(Publish) if effect.topic == LOG_TOPIC]
    assert all(effect.qos == 0 for effect in found)
    return [effect.body for effect in found]


def test_nothing_is_read_while_nobody_asks() -> None:
    talk = Talk()
    talk.run()
    talk.wait(60)
    assert talk.all(ReadLog) == []
    ask(talk, JobId("pump_2"))
    ask(talk, JobId("no job at all"))
    assert talk.all(ReadLog) == []


def test_a_log_is_shown_at_once_then_once_a_second_and_only_when_new() -> None:
    talk = Talk()
    talk.run()
    ask(talk)
    prints(talk, b"")
    assert shown(talk) == [b""], "the reader learns that nothing was printed yet"
    talk.wait(0.9)
    assert len(talk.all(ReadLog)) == 1
    talk.wait(0.2)
    assert len(talk.all(ReadLog)) == 2
    prints(talk, b"1\n")
    talk.wait(1.0)
    prints(talk, b"1\n")
    talk.wait(1.0)
    prints(talk, b"1\n2\n")
    assert shown(talk) == [b"", b"1\n", b"1\n2\n"]


def test_a_second_reader_gets_what_the_first_one_has() -> None:
    talk = Talk()
    talk.run()
    ask(talk)
    prints(talk, b"1\n")
    ask(talk)
    ask(talk)
    assert len(talk.all(ReadLog)) == 1, "many readers do not make it faster"
    talk.wait(1.0)
    prints(talk, b"1\n")
    talk.wait(1.0)
    prints(talk, b"1\n")
    assert shown(talk) == [b"1\n", b"1\n"]


def test_a_log_ends_after_the_last_order_unless_it_is_repeated() -> None:
    talk = Talk()
    talk.run()
    ask(talk)
    talk.wait(LOG_S - 1)
    ask(talk)
    talk.wait(LOG_S - 0.5)
    count = len(talk.all(ReadLog))
    assert count >= 2 * LOG_S - 3
    talk.wait(1.0)
    count = len(talk.all(ReadLog))
    talk.wait(60)
    assert len(talk.all(ReadLog)) == count
    prints(talk, b"late\n")
    assert shown(talk) == []


def test_a_frozen_job_is_not_read_until_it_is_asked_for_again() -> None:
    talk = Talk()
    talk.run()
    ask(talk)
    talk.cut()
    talk.wait(TIMING.ttl_s)
    assert talk.brain.roster.works[JOB].frozen
    count = len(talk.all(ReadLog))
    ask(talk)
    talk.wait(5)
    assert len(talk.all(ReadLog)) == count


def test_an_ended_job_is_not_read() -> None:
    talk = Talk()
    talk.run()
    ask(talk)
    talk.exits(0)
    talk.wait(LOG_S)
    assert len(talk.all(ReadLog)) == 1
    prints(talk, b"late\n")
    assert shown(talk) == []


def test_a_lost_connection_does_not_end_it() -> None:
    talk = Talk()
    talk.run()
    ask(talk)
    talk.tell(ConnectionLost(connection=1, reason="test"))
    talk.connect()
    talk.wait(1.0)
    prints(talk, b"1\n")
    assert shown(talk) == [b"1\n"]
