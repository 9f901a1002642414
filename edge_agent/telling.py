"""Telling how far a job is and what it prints: once a second at most, and only what is new.

Progress is told always. What a job prints is read and told for LOG_S after somebody asked, and
only while it runs: nobody's log costs nothing.
"""

from edge_agent.agent import Agent
from edge_agent.effect import ReadLog
from edge_agent.work import NOT, PAST, Lease, Work
from workrs.domain.ids import Instant
from workrs.wire.message import LOG_S, Progress

PERIOD_S = 1.0


def on_progress(work: Work, agent: Agent, fraction: float, note: str) -> None:
    """Take what the program says of itself."""
    work.progress = (fraction, note)
    if work.progress != work.told:
        work.tell_at = Instant(max(agent.now, work.told_at + PERIOD_S))
        if work.tell_at <= agent.now:
            tell(work, agent)


def tell(work: Work, agent: Agent) -> None:
    """Publish the newest progress. At QoS 0: the next one replaces a lost one."""
    work.tell_at = NOT
    if work.progress is None or work.progress == work.told or work.lease is not Lease.HELD:
        return
    work.told, work.told_at = work.progress, agent.now
    work.tellings += 1
    fraction, note = work.progress
    body = Progress(
        incarnation=agent.incarnation,
        epoch=work.epoch,
        progress=fraction,
        note=note,
        seq=work.tellings,
    )
    agent.say("progress", work.job, body, qos=0)


def on_log_asked(work: Work, agent: Agent) -> None:
    """Show the log for a while. A reader that came late gets it though nothing changed."""
    work.log_until = agent.later(LOG_S)
    work.log_told = None
    read_log(work, agent)


def read_log(work: Work, agent: Agent) -> None:
    """Have the log read, if it is wanted and a second has passed since the last time."""
    work.log_at = NOT
    if not work.alive or work.frozen or work.lease is not Lease.HELD:
        work.log_until = PAST
    if agent.now >= work.log_until:
        return
    work.log_at = Instant(work.log_read_at + PERIOD_S)
    if work.log_at <= agent.now:
        work.log_read_at, work.log_at = agent.now, agent.later(PERIOD_S)
        agent.do(ReadLog(job=work.job, run=work.run))


def on_log_read(work: Work, agent: Agent, tail: bytes) -> None:
    """Publish what the program printed, if it is new and still wanted. At QoS 0, like progress."""
    if tail != work.log_told and agent.now < work.log_until and work.lease is Lease.HELD:
        work.log_told = tail
        agent.say("log", work.job, tail, qos=0)
