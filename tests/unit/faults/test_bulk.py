"""Goal: a bulk of jobs notices what is missing, doubled or wrong.

Method: messages as nodes publish them, by hand.
"""

from __future__ import annotations

import json

from workrs.faults.bulk import Bulk
from workrs.ports.bus import Message


def test_every_job_counts_once_and_must_have_its_own_value() -> None:
    bulk = Bulk(device="d", jobs=3, retention_s=1.0)
    bulk.sent_s = {"j0": 1.0, "j1": 1.0, "j2": 1.0}

    def say(job: str, state: str, **rest: object) -> None:
        payload = json.dumps({"state": state, **rest}).encode()
        bulk.hear(Message(f"workrs/1/down/d/{job}", payload))

    say("j0", "accepted")
    say("j0", "succeeded", result="j0")
    say("j0", "succeeded", result="j0")
    assert (list(bulk.accepted_s), list(bulk.ended_s), bulk.wrong) == (["j0"], ["j0"], [])
    say("j1", "succeeded", result="j0")
    say("j2", "failed", reason="no")
    say("j9", "succeeded", result="j9")
    assert bulk.wrong == ["j1 has the result 'j0'", "j2 is failed: no"]
    assert sorted(bulk.ended_s) == ["j0", "j1", "j2"]
    bulk.hear(Message("workrs/1/down/d/j0", b""))
    assert json.loads(bulk.spec("j7"))["input"] == "j7"
