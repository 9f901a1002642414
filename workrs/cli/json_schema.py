"""docs/cli.schema.json: what `--json` prints, a JSON Schema for each subcommand.

Run: python -m workrs.cli.json_schema > docs/cli.schema.json   (a test fails when the file is stale,
and the tests of the program hold every document that it prints against this)

Keys stay, and a later version may add some: read what you know, and leave the rest.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from workrs.domain.dispatch import AgentProfile

Schema = Mapping[str, object]

_TEXT: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer"}
_NUMBER: Final[Schema] = {"type": "number"}
_FLAG: Final[Schema] = {"type": "boolean"}
_OBJECT: Final[Schema] = {"type": "object"}
_TEXT_OR_NONE: Final[Schema] = {"type": ["string", "null"]}
_INTEGER_OR_NONE: Final[Schema] = {"type": ["integer", "null"]}
_NUMBER_OR_NONE: Final[Schema] = {"type": ["number", "null"]}
_FLAG_OR_NONE: Final[Schema] = {"type": ["boolean", "null"]}
_OBJECT_OR_NONE: Final[Schema] = {"type": ["object", "null"]}


def _made_of(keys: Mapping[str, Schema] | None = None, /, **more: Schema) -> Schema:
    """Return an object that has all these keys."""
    every = {**(keys or {}), **more}
    return {"type": "object", "properties": every, "required": list(every)}


def _and_maybe(schema: Schema, **more: Schema) -> Schema:
    """Return the object with keys that it may have, too."""
    known = schema["properties"]
    assert isinstance(known, dict)
    return {**schema, "properties": {**known, **more}}


def _list_of(part: Schema, told: str = "") -> Schema:
    return {**({"description": told} if told else {}), "type": "array", "items": part}


def _or_none(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _told(text: str, schema: Schema) -> Schema:
    return {"description": text, **schema}


_CHECKPOINT: Final = _made_of(
    epoch=_INTEGER,
    seq=_INTEGER,
    rung=_told("memory, files", _TEXT),
    bytes=_INTEGER,
    progress=_NUMBER_OR_NONE,
    location=_list_of(_TEXT),
)
_JOB: Final[Mapping[str, Schema]] = {
    "job": _told("DEVICE/ID", _TEXT),
    "state": _told(
        "arriving, queued, running, cancelling, succeeded, failed, cancelled or expired", _TEXT
    ),
    "epoch": _told("of the newest lease; 0 before the first", _INTEGER),
    "attempt": _told("starts so far", _INTEGER),
    "agent": _told("who has it", _TEXT_OR_NONE),
    "progress": _told("0 to 1", _NUMBER_OR_NONE),
    "note": _TEXT,
    "reason": _told("why it waits, or ended as it did", _TEXT),
    "nodes": _told("how many have a record of it", _INTEGER),
    "exit_code": _INTEGER_OR_NONE,
    "result_bytes": _INTEGER_OR_NONE,
    "checkpoint": _told("the newest", _or_none(_CHECKPOINT)),
}
_NODE: Final[Mapping[str, Schema]] = {
    "node": _TEXT,
    "health": _told("ok, or what is wrong: minority, silent, gone, starting …", _TEXT),
    "role": _TEXT,
    "heard": _told("within the last seconds", _FLAG),
    "quorum": _told("whether it hears a majority", _FLAG_OR_NONE),
    "ready": _told("whether it votes", _FLAG_OR_NONE),
    "jobs_open": _INTEGER_OR_NONE,
    "jobs_decided": _INTEGER_OR_NONE,
    "agents": _INTEGER_OR_NONE,
    "dropped": _told("malformed messages since its start", _INTEGER_OR_NONE),
    "generation": _INTEGER_OR_NONE,
    "boot": _told("starts on this disk", _INTEGER_OR_NONE),
    "commits": _INTEGER_OR_NONE,
    "software": _TEXT_OR_NONE,
    "blobs_url": _TEXT_OR_NONE,
    "bridges": _list_of(_made_of(to=_TEXT, up=_FLAG_OR_NONE, behind=_INTEGER)),
}
_AGENT: Final = _made_of(
    agent=_TEXT,
    state=_told("live, draining or gone", _TEXT),
    incarnation=_INTEGER,
    jobs=_list_of(_told("DEVICE/ID", _TEXT)),
    profile=_or_none(_made_of({each.name: {} for each in fields(AgentProfile)})),
)
_ANSWER: Final[Mapping[str, Schema]] = {
    "ok": _told("whether the nodes took the order", _FLAG),
    "text": _told("what became of it", _TEXT),
}
_FATE: Final = _made_of(job=_TEXT, state=_TEXT, agent=_TEXT_OR_NONE, fate=_TEXT)
_DRAIN: Final = _and_maybe(
    _made_of(_ANSWER),
    drained=_told("only with --wait", _FLAG),
    jobs=_list_of(_FATE, "only with --wait"),
)
_FUNCTION: Final = _and_maybe(
    _made_of(
        function=_TEXT,
        version=_INTEGER,
        digest=_TEXT,
        nodes=_told("how many have it", _INTEGER),
        of=_told("how many nodes there are", _INTEGER),
    ),
    definition=_told("as in a functions file; none: it was removed", _OBJECT_OR_NONE),
)
_SUBMITTED: Final = _told(
    "attempt and later keys: only with --wait, or when it was rejected",
    _and_maybe(
        _made_of(job=_TEXT, state=_TEXT),
        attempt=_INTEGER_OR_NONE,
        agent=_TEXT_OR_NONE,
        exit_code=_INTEGER_OR_NONE,
        reason=_TEXT_OR_NONE,
        result=_told("if it is text", _TEXT),
        result_b64=_told("if it is none", _TEXT),
    ),
)
_ADVICE: Final[Mapping[str, Schema]] = {
    "interval_s": _NUMBER_OR_NONE,
    "stretch": _NUMBER_OR_NONE,
    "segments": _INTEGER_OR_NONE,
    "expected_s": _NUMBER_OR_NONE,
    "restart_only_s": _NUMBER_OR_NONE,
}
_PLAN: Final = _told(
    "null: longer than any number, or unknown",
    _made_of(
        _ADVICE,
        work_s=_NUMBER_OR_NONE,
        cost_s=_NUMBER,
        mtbf_s=_NUMBER_OR_NONE,
        restore_s=_NUMBER,
        detect_s=_NUMBER,
        young=_made_of(_ADVICE),
        daly=_made_of(_ADVICE),
        workrs=_and_maybe(_made_of(_ADVICE), published_s=_NUMBER_OR_NONE),
    ),
)
_TOP: Final = _made_of(
    via=_told("the node that is shown", _TEXT_OR_NONE),
    warnings=_list_of(_TEXT),
    jobs=_told("how many in each state", {"type": "object", "additionalProperties": _INTEGER}),
    agents=_made_of(
        live=_INTEGER, draining=_INTEGER, gone=_INTEGER, slots=_INTEGER, slots_used=_INTEGER
    ),
    nodes=_list_of(_made_of(_NODE, messages_per_s=_NUMBER_OR_NONE)),
)
_RUNG: Final = _made_of(rung=_TEXT, ok=_FLAG, why=_TEXT, fix=_TEXT)
_DOCTOR: Final = _made_of(
    findings=_list_of(
        _made_of(name=_TEXT, ok=_FLAG, why=_TEXT, fix=_told("what to type; or nothing", _TEXT))
    ),
    rungs=_told(
        "by where jobs would run", {"type": "object", "additionalProperties": _list_of(_RUNG)}
    ),
)

SCHEMAS: Final[Mapping[str, Schema]] = {
    "jobs": _list_of(_made_of(_JOB)),
    "show": _made_of(
        _JOB,
        waits=_list_of(_TEXT, "why no agent gets it, while it is queued"),
        spec=_told("the spec as it is stored", _OBJECT_OR_NONE),
    ),
    "watch": _told("a line for every change", _made_of(_JOB)),
    "result": _made_of(_JOB),
    "agents": _list_of(_AGENT),
    "nodes": _list_of(_made_of(_NODE)),
    "top": _TOP,
    "logs": _told("a line for each that comes", _made_of(line=_TEXT)),
    "events": _made_of(
        wall=_told("unix time at which it was seen", _NUMBER),
        event=_TEXT,
        of=_told("the job, agent or node", _TEXT),
        text=_TEXT,
    ),
    "submit": _SUBMITTED,
    "retry": _SUBMITTED,
    "cancel": _made_of(_ANSWER),
    "drain": _DRAIN,
    "undrain": _made_of(_ANSWER),
    "function": _told(
        "list: an array; show: an object; add and remove: the answer",
        {"anyOf": [_list_of(_FUNCTION), _FUNCTION, _made_of(_ANSWER)]},
    ),
    "history": _told(
        "a line for each row: columns and values, see docs/ledger.md; without --sql id, wall, "
        "event, job and facts",
        _OBJECT,
    ),
    "image": _made_of(
        image_id=_TEXT,
        tag=_TEXT,
        size_bytes=_INTEGER,
        loaded=_list_of(_told("of engines that did not have it", _TEXT)),
    ),
    "doctor": _DOCTOR,
    "plan": _PLAN,
}
"""By subcommand: of the document that it prints, or of each line."""


def text() -> str:
    """Return the page."""
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What the subcommands of workrs print with --json",
        "$defs": SCHEMAS,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    print(text())
