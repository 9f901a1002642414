"""Telling how far a job is: once a second at most, and only what is new."""

from edge_agent.agent import Agent
from edge_agent.work import NOT, Lease, Work
from workrs.domain.ids import Instant
from workrs.wire.message import Progress

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
    fraction, note = work.progress
    body = Progress(incarnation=agent.incarnation, epoch=work.epoch, progress=fraction, note=note)
    agent.say("progress", work.job, body, qos=0)
