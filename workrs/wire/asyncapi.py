"""docs/asyncapi.json: the topics and messages as an AsyncAPI 3 document, made from the models.

Run: python -m workrs.wire.asyncapi > docs/asyncapi.json   (a test fails when the file is stale)

It is for tools: documentation, client stubs, mocks. docs/protocol.md is normative; what JSON Schema
cannot say (epochs, order, who may write) is only there. `send` and `receive` are a node's.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from workrs.domain.function import FunctionRecord
from workrs.domain.job import JobSpec, StoredSpec
from workrs.domain.record import Record
from workrs.wire import message, topics

VERSION: Final = "3.0.0"
_SCHEMAS: Final = "#/components/schemas/"
_MODE: Final = "validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A row of docs/protocol.md's table of topics."""

    address: str
    """Below the root, as in the table."""
    action: Literal["send", "receive"]
    text: str
    model: type | None = None
    """None: raw bytes."""
    qos: int = 1
    retain: bool = False

    @property
    def name(self) -> str:
        """Return its key: the address in camel case, placeholders left out but at the end."""
        words: list[str] = re.findall(r"\w+", self.address.replace("{", "by/"))
        return words[0] + "".join(word.capitalize() for word in words[1:])


def _up(address: str, text: str, model: type | None = None, *, qos: int = 1) -> Channel:
    return Channel(address=f"up/{address}", action="receive", text=text, model=model, qos=qos)


def _told(
    address: str, text: str, model: type | None = None, *, qos: int = 1, retain: bool = True
) -> Channel:
    return Channel(address=address, action="send", text=text, model=model, qos=qos, retain=retain)


CHANNELS: Final = (
    _up("{device}/submit/{id}", "A device submits a job.", JobSpec),
    _up("{device}/run/{function}/{id}", "The raw input of a registered function."),
    _up("{device}/cancel/{id}", "A device cancels its job; the payload is not read."),
    _told("down/{device}/{id}", "A job's state, for its device.", message.JobState),
    _told("down/{device}/{id}/state", "The same as one ASCII line, for a job sent by run."),
    _told("down/{device}/{id}/out", "The raw bytes of such a job's result."),
    _up("{agent}/beat", "An agent's heartbeat, and its last will.", message.Beat),
    _up("{agent}/claim/{job}", "An agent claims a job's lease.", message.Claim),
    _up("{agent}/outcome/{job}", "A proposed outcome.", message.OutcomeProposal),
    _up("{agent}/checkpoint/{job}", "A checkpoint asks for votes.", message.CheckpointReport),
    _up("{agent}/release/{job}", "A lease given back before its end.", message.Release),
    _up("{agent}/progress/{job}", "Progress.", message.Progress, qos=0),
    _up("{agent}/log/{job}", "The end of what the job printed, while somebody asks.", qos=0),
    _up("{operator}/order/{id}", "An operator's order.", message.Order),
    _up("{operator}/revoke/{id}", "A list of the revoked, PEM, signed by its authority."),
    _told("down/{operator}/{id}", "The answer to it.", message.OrderReply, retain=False),
    _told("node/{n}/job/{job}", "A node's record of a job.", Record),
    _told("node/{n}/spec/{job}", "The stored spec of a job.", StoredSpec),
    _told("node/{n}/function/{function}", "What a node has of a function.", FunctionRecord),
    _told("node/{n}/revoked/{kind}", "The list of the revoked that is in force at a node, PEM."),
    _told("node/{n}/state", "A node's own state, once a second.", message.NodeState),
    _told("node/{n}/terms", "What agents must know of a node.", message.NodeTerms),
    _told("node/{n}/barred", "Devices that a node has barred.", message.Barred, retain=False),
    _told("node/{n}/agent/{agent}", "A node's view of an agent.", message.AgentView),
    _told("node/{n}/offer/{agent}", "A job that fits an agent.", message.Offer, retain=False),
    _told("node/{n}/order/{agent}", "An order for an agent.", message.Order, retain=False),
    _told("node/{n}/log/{job}", "What a job prints, for operators.", qos=0, retain=False),
)
"""All topics but `relay/…`, which repeats `up/…`, and `echo/…`, which nodes never see."""


def _draft_7(schema: Any) -> Any:
    """Return a schema in AsyncAPI's dialect, which writes tuples in the former way."""
    match schema:
        case dict():
            found = {name: _draft_7(part) for name, part in schema.items()}
            if "prefixItems" in found:
                found["items"] = found.pop("prefixItems")
            return found
        case list():
            return [_draft_7(part) for part in schema]
        case _:
            return schema


def _schemas() -> tuple[dict[type, Any], dict[str, Any]]:
    """Return the schema of each model, and those that they refer to."""
    models = list(dict.fromkeys(one.model for one in CHANNELS if one.model is not None))
    found, shared = TypeAdapter.json_schemas(
        [(model, _MODE, TypeAdapter(model)) for model in models], ref_template=_SCHEMAS + "{model}"
    )
    named = shared.get("$defs", {})
    return {model: _draft_7(found[model, _MODE]) for model in models}, _draft_7(named)


def document() -> dict[str, Any]:
    """Return the whole document as plain JSON values."""
    of_model, schemas = _schemas()
    channels, operations, messages = {}, {}, {}
    for one in CHANNELS:
        kind = "Bytes" if one.model is None else one.model.__name__
        if one.model is None:
            messages[kind] = {
                "contentType": "application/octet-stream",
                "payload": {"type": "string", "format": "binary"},
            }
        else:
            messages[kind] = {"contentType": "application/json", "payload": of_model[one.model]}
        channels[one.name] = {
            "address": f"{topics.ROOT}/{one.address}",
            "description": one.text,
            "parameters": {name: {} for name in re.findall(r"\{(\w+)\}", one.address)},
            "messages": {kind: {"$ref": f"#/components/messages/{kind}"}},
        }
        operations[one.name] = {
            "action": one.action,
            "channel": {"$ref": f"#/channels/{one.name}"},
            "summary": one.text,
            "messages": [{"$ref": f"#/channels/{one.name}/messages/{kind}"}],
            "bindings": {"mqtt": {"qos": one.qos, "retain": one.retain, "bindingVersion": "0.2.0"}},
        }
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Workrs",
            "version": topics.ROOT.rpartition("/")[2] + ".0.0",
            "description": "Made from the models; docs/protocol.md is normative.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


if __name__ == "__main__":
    print(json.dumps(document(), indent=1, ensure_ascii=False))  # noqa: T201 (its whole purpose)
