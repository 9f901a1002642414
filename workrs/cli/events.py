"""`workrs events`: what happens in the cluster, as it happens.

Not promised: every event. They are told from how records change, so a job may be claimed and
released between two looks. What a node has noted on its disk is told by `workrs history`.
"""

import asyncio
from argparse import Namespace
from collections.abc import Iterator

from tui.model.cluster import Model
from tui.model.event import Event, Kind
from tui.model.query import Query, parse
from workrs.cli.calendar import wall_clock
from workrs.cli.connection import add_node_options, caller
from workrs.cli.error import OK
from workrs.cli.harmless import harmless
from workrs.cli.model_feed import fed_model, settle
from workrs.cli.number import count, seconds
from workrs.cli.options import Options
from workrs.cli.table import cut, output_width, print_json_line
from workrs.domain.errors import TimedOutError

_LOOK_S = 0.1
_LISTEN_S = 10.0
_KIND_WIDTH = 16
_SUBJECT_WIDTH = 20
_NARROW = 100


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "events",
        "what happens in the cluster, as it happens",
        examples=(
            "workrs events --follow",
            "workrs events -f --filter 'event:takeover,failed -of:pump-7'",
            "workrs events --count 1 --filter event:agent_gone    # wait for one",
            "workrs events -f --json | jq -r .event",
        ),
    )
    it.flag("--follow", short="-f", help="go on until interrupted; without it, for 10 s")
    it.value(
        "--filter",
        convert=parse,
        metavar="QUERY",
        help="words that must stand in a line; event:, of: and text: look in one part, commas mean "
        "or, - means not",
    )
    it.value("--count", convert=count, metavar="N", help="end after so many, however long it takes")
    it.value(
        "--timeout",
        convert=seconds,
        metavar="SECONDS",
        help="end after this time; with --count it is an error that not all came",
    )
    it.flag("--json", help="print a line of JSON for each")
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Listen, print."""
    return asyncio.run(_listen(asked))


async def _listen(asked: Namespace) -> int:
    endless = asked.follow or asked.count is not None
    limit_s = asked.timeout if asked.timeout is not None or endless else _LISTEN_S
    printed = 0
    async with fed_model(caller(asked)) as model:
        try:
            async with asyncio.timeout(limit_s):
                while asked.count is None or printed < asked.count:
                    await settle(model)
                    for event in taken(model, asked.filter):
                        _print(event, is_json=asked.json)
                        # That watching began is no event of the cluster.
                        printed += event.kind is not Kind.WATCHING
                        if printed == asked.count:
                            break
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            pass
    if asked.count is not None and printed < asked.count:
        raise TimedOutError(f"{printed} of {asked.count} events came within {limit_s:g} s")
    return OK


def taken(model: Model, query: Query | None) -> Iterator[Event]:
    """Take the events that the model has gathered; yield those that are wanted."""
    while model.events:
        event = model.events.popleft()
        if query is None or query.matches(_fields(event)):
            yield event


def _fields(event: Event) -> dict[str, str]:
    # Both the word that is shown and the key of JSON, which has no spaces.
    kind = f"{event.kind.value} {event.kind.name}"
    return {"event": kind, "of": event.subject, "text": event.text}


def _print(event: Event, *, is_json: bool) -> None:
    now = wall_clock()
    if is_json:
        print_json_line(
            {
                "wall": round(now.timestamp(), 3),
                "event": event.kind.name.lower(),
                "of": event.subject,
                "text": event.text,
            }
        )
        return
    kind, subject = event.kind.value.ljust(_KIND_WIDTH), event.subject.ljust(_SUBJECT_WIDTH)
    text = " ".join(event.text.split())
    width = output_width()
    # Where there is little room, the day is the one that it is.
    stamp = f"{now:%Y-%m-%d %H:%M:%S}" if width is None or width > _NARROW else f"{now:%H:%M:%S}"
    line = harmless(f"{stamp}  {kind}  {subject}  {text}".rstrip())
    print(line if width is None else cut(line, width), flush=True)
