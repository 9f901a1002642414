"""Goal: what an agent is offered names a job it may make topics and folders of.

Method: offers that a node would not make, through the inbox.
"""

from __future__ import annotations

import json

import pytest

from edge_agent.event import JobOffered
from edge_agent.inbox import Dropped, parse
from workrs.domain.ids import EPOCH_MAX, ClientId
from workrs.ports.bus import Message
from workrs.wire import topics

ME = ClientId("a1")


def offered(job: str, epoch: int) -> object:
    spec = {"image": "base", "command": ["true"]}
    stored = {"job": job, "request": "", "spec": spec}
    body = {"job": job, "epoch": epoch, "digest": "d", "stored": stored}
    payload = json.dumps(body).encode()
    return parse(ME, Message(topics.node("n1", "offer", ME), payload), ())


@pytest.mark.parametrize("job", ["", "j1", "../../etc_x", "pump-7_../j1", "pump-7_#", "pump-7_\0"])
def test_an_offer_of_what_is_no_job_is_dropped(job: str) -> None:
    assert isinstance(offered(job, 1), Dropped)


@pytest.mark.parametrize("epoch", [-1, 0, EPOCH_MAX + 1, 10**300])
def test_an_offer_of_an_epoch_that_nobody_grants_is_dropped(epoch: int) -> None:
    assert isinstance(offered("pump-7_j1", epoch), Dropped)


def test_any_other_offer_is_taken() -> None:
    assert isinstance(offered("pump-7_j1", EPOCH_MAX), JobOffered)
