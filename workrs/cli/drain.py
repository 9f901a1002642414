"""`workrs drain AGENT`: an agent accepts nothing new, and moves what it has.

With --wait the command tells how the jobs move and ends when the agent has none left. Jobs that
nobody else takes at once are then waiting at the nodes, where they are safe.
"""

import asyncio
import sys
from argparse import Namespace
from typing import Final

from workrs.cli import order
from workrs.cli.connection import add_node_options, caller, connected, fill
from workrs.cli.error import FAILED, OK, TIMED_OUT, NoNodeError
from workrs.cli.harmless import harmless
from workrs.cli.move_watch import End, MoveWatch
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.table import print_json
from workrs.domain.errors import BusError, ConfigError, IdError
from workrs.domain.ids import ClientId, client_id
from workrs.ports.bus import Bus
from workrs.wire.message import Order, OrderKind, OrderReply
from workrs.wire.view import ClusterView

_LOOK_S: Final = 0.2
_RETRY_S: Final = 1.0
_NAMED_MAX: Final = 3
"""Jobs of a long list that are named when the time is up."""
_SETTLE_S: Final = 5.0
"""How long it is waited for the last job to run elsewhere, after the agent has none."""


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "drain",
        "move an agent's jobs to others and give it no new ones",
        examples=(
            "workrs drain agent-2",
            "workrs drain agent-2 --wait    # tells how its jobs move",
            "workrs drain agent-2 --wait --within 5m    # ends with 4 if late",
            "workrs drain agent-2 --wait --within 5m --json | jq '.jobs[]'",
        ),
    )
    it.argument("agent", help="the agent's name; workrs agents lists them", complete="agent")
    it.flag("--wait", help="wait until it has no job left, and tell what becomes of each")
    it.value(
        "--within",
        convert=seconds,
        metavar="SECONDS",
        help="how long to wait at most, with --wait; then the command ends with code 4, and the "
        "drain goes on; no limit unless told",
    )
    order.add_order_options(it)
    add_node_options(it)
    return it


def agent_name(asked: Namespace) -> ClientId:
    """Return the agent that was named, or raise ConfigError."""
    try:
        return client_id(asked.agent)
    except IdError as error:
        raise ConfigError(str(error)) from error


def run(asked: Namespace) -> int:
    """Order, wait if that is wanted, report."""
    agent = agent_name(asked)
    if asked.within is not None and not asked.wait:
        raise ConfigError("--within is how long to --wait: give both")
    wish = Order(order=OrderKind.DRAIN, agent=agent)
    reply = asyncio.run(order.send(wish, caller(asked), timeout_s=asked.timeout))
    if not (asked.wait and reply.ok):
        return order.report(reply, asked)
    if not asked.json:
        print(harmless(reply.text), flush=True)
    return asyncio.run(_wait(asked, agent, reply))


async def _wait(asked: Namespace, agent: ClientId, reply: OrderReply) -> int:
    watch = MoveWatch(agent)
    end: End | None = None
    try:
        async with asyncio.timeout(asked.within):
            end = await _follow(asked, watch)
    except TimeoutError:
        text = _late(asked, watch)
    else:
        text = f"{agent} {end.value}"
        if end is End.DRAINED:
            text += f": {watch.summed_up()}"
    drained = end is End.DRAINED
    if asked.json:
        print_json({"ok": reply.ok, "text": text, "drained": drained, "jobs": watch.as_json()})
    else:
        text = harmless(text)
        print(text if drained else f"workrs: {text}", file=sys.stdout if drained else sys.stderr)
    if end is None:
        return TIMED_OUT
    return OK if drained else FAILED


def _late(asked: Namespace, watch: MoveWatch) -> str:
    """Say how far it came within the time that was given, and what can be done now."""
    left = watch.left()
    more = f" and {len(left) - _NAMED_MAX} more" if len(left) > _NAMED_MAX else ""
    if left:
        stands = f": {'; '.join(left[:_NAMED_MAX])}{more}"
    else:
        stands = ": it has no job left, and not all run elsewhere" if watch.jobs else ""
    return (
        f"{watch.agent} was not drained within {asked.within:g} s{stands}. The drain goes on: the "
        f"same command waits on, workrs undrain {watch.agent} calls it off"
    )


async def _follow(asked: Namespace, watch: MoveWatch) -> End:
    """Tell what becomes of the jobs; return why there is nothing more to tell."""
    who = caller(asked)
    told = False
    while True:
        try:
            async with connected(who) as bus:
                told = False
                view = ClusterView()
                await fill(view, bus)
                return await _look(asked, watch, view, bus)
        except BusError:
            # The node was lost meanwhile: the others show the same.
            who = await who.next_first()
        except NoNodeError:
            # One has answered the order: as for `workrs watch`, nodes may be started again.
            if not told:
                print("workrs: no node answers; trying again", file=sys.stderr, flush=True)
                told = True
            await asyncio.sleep(_RETRY_S)


async def _look(asked: Namespace, watch: MoveWatch, view: ClusterView, bus: Bus) -> End:
    clock = asyncio.get_running_loop().time
    over_at: float | None = None
    while True:
        for line in watch.look(view):
            if not asked.json:
                print(harmless(line), flush=True)
        end = watch.end(view)
        if end is None:
            over_at = None
        elif end not in (End.DRAINED, End.GONE, End.FORGOTTEN):
            return end
        else:
            over_at = clock() if over_at is None else over_at
            # One that is gone may be back in a moment, above all if it has no jobs; and a broker
            # that was started again knows nobody until its node has filled it.
            is_sure = end is End.DRAINED or (end is End.GONE and bool(watch.jobs))
            settled = is_sure and watch.is_settled()
            if settled or clock() > over_at + _SETTLE_S:
                return end
        await _take_in(view, bus)


async def _take_in(view: ClusterView, bus: Bus) -> None:
    """Fold what comes in a moment into *view*: looking costs more than that."""
    try:
        async with asyncio.timeout(_LOOK_S):
            while True:
                for message in await bus.receive():
                    view.apply(message.topic, message.payload)
    except TimeoutError:
        return
