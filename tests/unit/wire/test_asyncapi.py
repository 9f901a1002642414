"""Goal: docs/asyncapi.json is current, valid, and has the topics of docs/protocol.md.

Method: made anew and compared; its references followed; AsyncAPI's own JSON schema, where the
set-up has put it; the normative table as the judge of addresses, QoS and retained.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.unit.wire.protocol_page import PAGE, Page
from workrs.wire.asyncapi import CHANNELS, VERSION, document

FILE = Path(__file__).parents[3] / "docs" / "asyncapi.json"
PREFIX = Path(os.environ.get("WORKRS_PREFIX", "/opt/workrs"))
PARSER = PREFIX / "asyncapi-parser" / "node_modules" / "@asyncapi" / "parser"
SPECS = PREFIX / "asyncapi" / "node_modules" / "@asyncapi" / "specs" / "schemas"


def test_the_document_is_fresh() -> None:
    fresh = json.loads(json.dumps(document()))
    assert json.loads(FILE.read_text()) == fresh, (
        "run: python -m workrs.wire.asyncapi > docs/asyncapi.json"
    )


def test_it_has_the_topics_of_the_protocol() -> None:
    rows = {
        (topic.strip("`"), retained, qos)
        for topic, _, retained, qos, _ in Page(PAGE).table("Topics", "topic")
        if not topic.startswith(("`relay", "`echo"))
    }
    assert {(c.address, "yes" if c.retain else "no", str(c.qos)) for c in CHANNELS} == rows
    assert len({channel.name for channel in CHANNELS}) == len(CHANNELS)


def references(value: Any) -> Iterator[str]:
    match value:
        case {"$ref": str(target)}:
            yield target
        case dict():
            for part in value.values():
                yield from references(part)
        case list():
            for part in value:
                yield from references(part)


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    targets = set(references(whole))
    assert len(targets) > 30
    for target in targets:
        place: Any = whole
        for step in target.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_asyncapis_own_schema_takes_it_and_refuses_a_wrong_one() -> None:
    schema = json.loads((SPECS / f"{VERSION}-without-$id.json").read_text())
    judge = import_module("jsonschema").Draft7Validator(schema)
    whole = document()
    assert [error.message for error in judge.iter_errors(whole)] == []
    next(iter(whole["operations"].values()))["action"] = "shout"
    assert not judge.is_valid(whole)


def test_asyncapis_own_parser_has_no_complaint() -> None:
    script = """
        const { Parser } = require(process.argv[1])
        const text = require('fs').readFileSync(process.argv[2], 'utf8')
        new Parser().parse(text).then(({ document, diagnostics }) => {
            const found = diagnostics.filter(d => d.code !== 'asyncapi-latest-version')
            console.log(document ? document.version() : 'refused', JSON.stringify(found))
        })
    """
    said = subprocess.run(
        ["node", "-e", script, str(PARSER), str(FILE)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.stdout == f"{VERSION} []\n"
