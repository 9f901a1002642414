"""Functions on all nodes: one record each, changed by operators, merged by version.

1. A node shows a record only when it is on its disk, and takes over from every peer what counts
   more than its own (`workrs.domain.function`). So nodes that hear each other show the same.
2. An operator is told that an order is done when a majority of nodes shows it. From then on only
   an order that was given at the same time or later replaces it, whatever single node is lost.
3. A job has the definition that its node had when it took it in, in its spec, for good.
4. A functions file is an operator too: what is new or changed in it since the node's last start
   is ordered then. What an operator changed or removed since stays so, as long as the file does.

While a node does not vote it learns, and writes and shows nothing. A removed function is kept as
a removal: a peer that was away would bring it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import front, teller
from broker.effect import Publish
from broker.limits import (
    ASKS_PER_BEAT,
    FUNCTION_NAMES_MAX,
    FUNCTIONS_MAX,
    FUNCTIONS_MAX_BYTES,
    ORDERS_WAITING_MAX,
)
from workrs.domain.errors import IdError, WireError
from workrs.domain.function import counts_more, next_record
from workrs.domain.ids import Digest, client_id
from workrs.domain.quorum import majority
from workrs.ports.ledger import SaveFunction
from workrs.wire import codec, topics
from workrs.wire.function_file import check_size
from workrs.wire.message import OrderKind, OrderReply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.event import OrderHeard, PeerFunctionSeen
    from broker.node import Node
    from workrs.domain.function import Function, FunctionRecord, Stamp
    from workrs.domain.ids import ClientId, LocalJobId

REPEAT_BEATS = 5
"""Beats between two repetitions of a record that a live peer does not show: bridges resend all
that is retained when they are back, so hardly anything is ever missing."""


def load(node: Node, saved: Iterable[SaveFunction]) -> None:
    """Take what is on disk, at the start."""
    for each in saved:
        node.functions.put(each.record)
        if each.filed:
            node.functions.filed[each.record.function] = each.filed


def file(node: Node, definitions: Mapping[str, Function]) -> None:
    """Order what is new or changed in the node's functions file since its last start."""
    table = node.functions
    for name, definition in sorted(definitions.items()):
        digest, known = definition.digest(), table.records.get(name)
        if table.filed.get(name) != digest:
            table.filed[name] = digest
            table.unsaved[name] = None
            _change(node, next_record(name, definition, known), by="functions file")
        elif known is not None and known.digest != digest:
            node.fact("function_file_differs", function=name, version=known.version)


def _change(node: Node, record: FunctionRecord, *, by: str) -> None:
    """Take a record that may be new, from whomever."""
    table = node.functions
    known = table.records.get(record.function)
    if not counts_more(record, known):
        return
    table.put(record)
    table.unsaved[record.function] = None
    is_there = record.definition is not None
    event = "function_added" if is_there else "function_removed"
    node.note_limited(event, None, function=record.function, version=record.version, by=by)


def learn(node: Node, peer: ClientId, record: FunctionRecord) -> None:
    """Take what a peer knows of a function, if it counts more."""
    _change(node, record, by=peer)


def on_peer(node: Node, event: PeerFunctionSeen) -> None:
    """Note what a peer has on its disk, and take it if it counts more."""
    peer, record = event.node, event.record
    if peer not in node.settings.nodes:
        node.dropped += 1
        return
    name = record.function
    node.functions.shown.setdefault(name, {})[peer] = record.stamp
    learn(node, peer, record)
    if not node.functions.lacking(name, _peers(node)):
        node.functions.unsettled.pop(name, None)
    else:
        node.functions.unsettled[name] = None


def _peers(node: Node) -> list[ClientId]:
    return [name for name in node.settings.nodes if name != node.name]


def on_order(node: Node, event: OrderHeard) -> OrderReply | None:
    """Change a function as an operator of this node wants it; None: it is answered later."""
    if event.via:
        return None  # what it leads to arrives as the other node's record
    order, table = event.order, node.functions
    try:
        name = client_id(order.function)
        known = table.records.get(name)
        refusal = teller.reach(node) or _refusal(node, event, known)
        if order.definition is not None:
            check_size(order.definition)
            front.check_image(order.definition.image, node.settings.allowed_images)
    except (IdError, WireError) as error:
        return OrderReply(ok=False, text=str(error))
    if refusal:
        return OrderReply(ok=False, text=f"{refusal}; nothing was changed")
    definition = order.definition if order.order is OrderKind.ADD else None
    record = next_record(name, definition, known)
    _change(node, record, by=event.operator)
    key = (event.operator, event.order_id)
    table.waiting[key] = (name, record.stamp)
    if len(table.waiting) > ORDERS_WAITING_MAX:
        del table.waiting[next(iter(table.waiting))]
    return None


def _refusal(node: Node, event: OrderHeard, known: FunctionRecord | None) -> str:
    """Return why an order is not carried out, or nothing."""
    order, table = event.order, node.functions
    if order.order is OrderKind.REMOVE:
        return "" if known else f"there is no function {order.function}"
    definition = order.definition
    if definition is None:
        return "an order to add a function carries its definition"
    is_new = order.function not in table.definitions
    if is_new and len(table.definitions) >= FUNCTIONS_MAX:
        return f"{node.name} has {FUNCTIONS_MAX} functions, as many as it keeps: remove some"
    if known is None and len(table.records) >= FUNCTION_NAMES_MAX:
        return (
            f"{node.name} knows {FUNCTION_NAMES_MAX} names of functions, removed ones counted, as "
            "many as it keeps: define one of those anew"
        )
    others = sum(table.sizes_bytes.values()) - table.sizes_bytes.get(order.function, 0)
    if others + len(codec.encode(definition)) > FUNCTIONS_MAX_BYTES:
        return (
            f"all definitions would have more than {FUNCTIONS_MAX_BYTES >> 20} MiB: put programs "
            "into images, or remove functions"
        )
    return ""


def finish(node: Node) -> None:
    """Save, show and answer with this batch what it changed."""
    table = node.functions
    if not node.admission.votes:
        return
    for name in table.unsaved:
        record = table.records[name]
        filed = table.filed.get(name, Digest(""))
        node.effects.changes.append(SaveFunction(record=record, filed=filed))
        _show(node, record)
    table.unsaved.clear()
    for key, (name, stamp) in list(table.waiting.items()):
        if _answer(node, key, name, stamp):
            del table.waiting[key]


def _answer(node: Node, key: tuple[ClientId, LocalJobId], name: str, stamp: Stamp) -> bool:
    """Answer an order if it is known what became of it."""
    table = node.functions
    now = table.records[name].stamp
    having = node.size - len(table.lacking(name, _peers(node)))
    if now == stamp and having < majority(node.size):
        return False
    if now == stamp:
        what = "is removed: version" if table.records[name].definition is None else "is version"
        text = f"function {name} {what} {stamp.version}, on {having} of {node.size} nodes"
    else:
        text = (
            f"another order about function {name} came at the same time and counts, as version "
            f"{now.version}: look at it with workrs function show {name}, and order again"
        )
    reply = OrderReply(ok=now == stamp, text=text)
    node.say(Publish(topics.down(*key), reply, retain=False))
    return True


def _show(node: Node, record: FunctionRecord) -> None:
    node.say(Publish(topics.node(node.name, "function", record.function), record))


def refill(node: Node) -> None:
    """Show all that is on disk, on a broker that may know nothing."""
    for name, record in node.functions.records.items():
        if name not in node.functions.unsaved:
            _show(node, record)


def on_beat(node: Node) -> None:
    """Show again, some at a time, what a live peer does not show."""
    table = node.functions
    for peer, state in node.admission.states.items():
        if state.rejoining:
            # What it had on its disk went with the disk.
            for shown in table.shown.values():
                shown.pop(peer, None)
    if node.beat % REPEAT_BEATS:
        return
    live = [name for name in node.live_nodes() if name != node.name]
    behind = [name for name in table.unsettled if table.lacking(name, live)]
    for name in behind[:ASKS_PER_BEAT]:
        _show(node, table.records[name])
