"""Strategies for legal values of everything that travels."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from workrs.domain.dispatch import AgentProfile
from workrs.domain.fault_history import FaultHistory
from workrs.domain.function import Function, FunctionRecord, next_record
from workrs.domain.ids import ClientId, Digest, Epoch, JobId, tenant_of
from workrs.domain.job import (
    Base64File,
    CheckpointMode,
    CheckpointPolicy,
    Constraints,
    JobSpec,
    Outcome,
    StoredSpec,
    Takeover,
    Verdict,
)
from workrs.domain.lease import LeaseTiming
from workrs.domain.record import Accepted, CheckpointRef, Holder, Incarnation, Record, Version
from workrs.domain.rollback import Seen
from workrs.wire import message

REQUESTS = (
    message.Claim,
    message.OutcomeProposal,
    message.CheckpointReport,
    message.Release,
    message.Progress,
    message.Beat,
    message.Order,
    Function,
    JobSpec,
)
STATES = (
    message.AgentView,
    message.NodeState,
    message.NodeTerms,
    message.Barred,
    message.Offer,
    message.OrderReply,
    message.JobState,
    StoredSpec,
    Record,
    FunctionRecord,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNT = st.integers(0, 2**53)
EPOCH = COUNT.map(Epoch)
FRACTION = st.floats(0, 1)
CLIENT = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,62}", fullmatch=True).map(ClientId)
LOCAL = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
JOB = st.builds(lambda device, local: JobId(f"{device}_{local}"), CLIENT, LOCAL)
DIGEST = st.from_regex(r"[0-9a-f]{64}", fullmatch=True).map(Digest)
BASE64 = st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode())
INCARNATION = st.builds(Incarnation, COUNT, TEXT)
HOLDER = st.builds(Holder, client=CLIENT, incarnation=INCARNATION)
OUTCOME = st.builds(
    Outcome,
    verdict=st.sampled_from(Verdict),
    exit_code=st.none() | st.integers(0, 255),
    result=st.none() | TEXT,
    result_b64=st.none() | BASE64,
    result_url=st.none() | TEXT,
    result_bytes=COUNT,
    reason=TEXT,
)
PROFILE = st.builds(
    AgentProfile,
    slots=COUNT,
    arch=TEXT,
    memory_mb=COUNT,
    cpus=FRACTION,
    labels=st.lists(TEXT, max_size=3).map(tuple),
    images=st.lists(TEXT, max_size=3).map(tuple),
    load=FRACTION,
    draining=st.booleans(),
)
CHECKPOINT = st.builds(
    CheckpointRef,
    epoch=EPOCH,
    seq=COUNT,
    manifest=DIGEST,
    location=st.lists(TEXT, min_size=1, max_size=2).map(tuple),
    rung=st.sampled_from(["memory", "files"]),
    bytes=COUNT,
    progress=st.none() | FRACTION,
)
TIMING = st.builds(
    lambda period_s, grace_s: LeaseTiming(
        ttl_s=period_s * 5,
        heartbeat_period_s=period_s,
        margin_s=1.5 * period_s,
        reconnect_grace_s=grace_s,
        freeze_max_s=period_s / 2,
    ),
    st.floats(0.5, 100),
    st.floats(0, 10),
)
NAME = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(
    lambda name: name != "input"
)
ENV = st.dictionaries(
    st.from_regex(r"[A-VX-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True),
    TEXT.filter(lambda text: "\0" not in text),
    max_size=3,
)
WORDS = st.lists(TEXT.filter(lambda text: "\0" not in text), min_size=1, max_size=3).map(tuple)
SPEC_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "env": ENV,
    "files": st.dictionaries(NAME, TEXT | st.builds(Base64File, b64=BASE64), max_size=2),
    "input": st.none() | TEXT,
    "forecast_s": st.none() | st.floats(0.1, 1e6),
    "timeout_s": st.floats(0.1, 1e6),
    "attempts_max": st.integers(1, 100),
    "memory_mb": st.integers(4, 1 << 20),
    "cpus": st.floats(0.01, 1024),
    "constraints": st.builds(
        Constraints, arch=st.none() | TEXT, labels=st.lists(TEXT, max_size=2).map(tuple)
    ),
    "priority": st.integers(0, 9),
    "takeover": st.sampled_from(Takeover),
    "checkpoint": st.builds(
        CheckpointPolicy,
        mode=st.sampled_from(CheckpointMode),
        interval_s=st.none() | st.floats(0.1, 1e6),
    ),
    "retention_s": st.floats(1, 1e6),
}
SPEC = st.builds(JobSpec, image=TEXT.filter(bool), command=WORDS, **SPEC_FIELDS) | st.builds(
    JobSpec, function=TEXT, **SPEC_FIELDS
)
STORED = st.builds(
    StoredSpec,
    job=JOB,
    request=DIGEST,
    plain=st.booleans(),
    function=st.none() | TEXT,
    spec=SPEC,
)
RECORD = st.builds(
    Record,
    job=JOB,
    version=st.builds(Version, COUNT, COUNT),
    digest=st.none() | DIGEST,
    generation=COUNT,
    epoch=EPOCH,
    holder=st.none() | HOLDER,
    checkpoints=st.lists(CHECKPOINT, max_size=2).map(tuple),
    attempt=COUNT,
    cancel=st.booleans(),
    accepted=st.none() | st.builds(Accepted, epoch=EPOCH, outcome=OUTCOME, digest=DIGEST),
    decided=st.none() | OUTCOME,
    decided_digest=st.none() | DIGEST,
    progress=st.none() | FRACTION,
    note=TEXT,
    reason=TEXT,
    serial=COUNT,
    abstains=st.booleans(),
)
CALLER = st.from_regex(r"[a-z0-9*][a-z0-9.*-]{0,20}", fullmatch=True)
FUNCTION = st.builds(
    Function,
    image=TEXT.filter(bool),
    command=WORDS,
    description=TEXT.filter(lambda text: not text or text.isprintable()),
    callers=st.lists(CALLER, max_size=2).map(tuple),
    tenants=st.lists(CLIENT.map(tenant_of), max_size=2).map(tuple),
    **{name: values for name, values in SPEC_FIELDS.items() if name != "input"},
)
FUNCTION_RECORD = st.builds(
    lambda function, version, definition: replace(
        next_record(function, definition, None), version=version
    ),
    CLIENT,
    st.integers(1, 2**53),
    st.none() | FUNCTION,
)
_HELD = st.builds(message.Held, JOB, EPOCH, COUNT)
_KINDS: dict[type, st.SearchStrategy[Any]] = {
    Outcome: OUTCOME,
    JobSpec: SPEC,
    StoredSpec: STORED,
    Record: RECORD,
    message.Claim: st.builds(message.Claim, incarnation=INCARNATION, epoch=EPOCH, digest=DIGEST),
    message.OutcomeProposal: st.builds(
        message.OutcomeProposal, incarnation=INCARNATION, epoch=EPOCH, outcome=OUTCOME
    ),
    message.CheckpointReport: st.builds(
        message.CheckpointReport, incarnation=INCARNATION, checkpoint=CHECKPOINT
    ),
    message.Release: st.builds(
        message.Release, incarnation=INCARNATION, epoch=EPOCH, retry_after_s=FRACTION, reason=TEXT
    ),
    message.Progress: st.builds(
        message.Progress, incarnation=INCARNATION, epoch=EPOCH, progress=FRACTION, note=TEXT
    ),
    message.Beat: st.builds(
        message.Beat,
        incarnation=INCARNATION,
        connection=COUNT,
        counter=COUNT,
        held=st.lists(_HELD, max_size=3).map(tuple),
        profile=st.none() | PROFILE,
        gone=st.booleans(),
    ),
    message.AgentView: st.builds(
        message.AgentView,
        incarnation=INCARNATION,
        connection=COUNT,
        counter=COUNT,
        refused=st.lists(st.tuples(JOB, EPOCH), max_size=3).map(tuple),
        profile=st.none() | PROFILE,
        held=COUNT,
        gone=st.booleans(),
    ),
    message.NodeState: st.builds(
        message.NodeState,
        generation=COUNT,
        rejoining=st.booleans(),
        serial=COUNT,
        seen=st.dictionaries(CLIENT, st.builds(Seen, COUNT, TEXT, COUNT), max_size=2),
        boot=COUNT,
        nonce=TEXT,
        nodes=st.lists(CLIENT, max_size=5).map(tuple),
        live=st.booleans(),
        ready=st.booleans(),
        health=TEXT,
        timing=TIMING,
        beat=COUNT,
    ),
    message.NodeTerms: st.builds(
        message.NodeTerms,
        nodes=st.lists(CLIENT, max_size=5).map(tuple),
        timing=TIMING,
        blobs_url=TEXT,
        faults=st.builds(FaultHistory, losses=st.integers(0, 200), agent_s=st.floats(0, 1e7)),
    ),
    message.Barred: st.builds(message.Barred, devices=st.lists(CLIENT, max_size=5).map(tuple)),
    message.Offer: st.builds(message.Offer, job=JOB, epoch=EPOCH, digest=DIGEST, stored=STORED),
    message.Order: st.builds(
        message.Order,
        order=st.sampled_from(message.OrderKind),
        agent=TEXT,
        job=TEXT,
        function=TEXT,
        definition=st.none() | FUNCTION,
    ),
    message.OrderReply: st.builds(message.OrderReply, ok=st.booleans(), text=TEXT),
    message.JobState: st.builds(
        message.JobState,
        v=st.just(1),
        job=LOCAL,
        state=st.sampled_from(message.State),
        epoch=st.none() | EPOCH,
        progress=st.none() | FRACTION,
        checkpoint=st.none()
        | st.builds(
            message.CheckpointState,
            epoch=COUNT,
            seq=COUNT,
            location=st.lists(TEXT, max_size=2).map(tuple),
            bytes=COUNT,
        ),
        exit_code=st.none() | st.integers(0, 255),
        result=st.none() | TEXT,
        reason=st.none() | TEXT,
    ),
    Function: FUNCTION,
    FunctionRecord: FUNCTION_RECORD,
}


def values(kind: type) -> st.SearchStrategy[Any]:
    """Return a strategy for legal values of *kind*."""
    return _KINDS[kind]
