"""Operators' orders: cancel a job, drain or undrain an agent. Answered once each is noted.

An order is idempotent; its sender repeats it until it is answered.
"""

from broker import intake
from broker.effect import Publish
from broker.event import OrderHeard
from broker.node import Node
from workrs.domain.errors import IdError
from workrs.domain.ids import Instant
from workrs.domain.job import Verdict
from workrs.wire import topics
from workrs.wire.message import OrderKind, OrderReply


def on_order(node: Node, event: OrderHeard, now: Instant) -> None:
    """Carry an order out, as far as this node can, and answer the operator."""
    order = event.order
    if order.order is OrderKind.CANCEL:
        reply = _cancel(node, order.job, now)
    else:
        reply = _pass_on(node, event)
    if not event.via:
        node.fact("order", operator=event.operator, order=order.order.value, ok=reply.ok)
        topic = topics.down(event.operator, event.order_id)
        node.say(Publish(topic, reply, retain=False))


def _cancel(node: Node, text: str, now: Instant) -> OrderReply:
    try:
        job = intake.parse_local(text)
    except IdError as error:
        return OrderReply(ok=False, text=str(error))
    entry = node.entries.get(job) if job else None
    if entry is None:
        return OrderReply(ok=False, text=f"there is no job {text[:130]}")
    decided = entry.record.decided
    if decided is not None:
        # A repeated order has to be answered like the first, whose answer may be lost.
        is_done = decided.verdict is Verdict.CANCELLED
        return OrderReply(ok=is_done, text=f"{text} has ended already: {decided.verdict.value}")
    intake.request_cancel(node, entry, now)
    return OrderReply(ok=True, text=f"{text} is being cancelled")


def _pass_on(node: Node, event: OrderHeard) -> OrderReply:
    name = event.order.agent
    found = [entry for client, entry in node.agents.entries.items() if client == name]
    if not found:
        return OrderReply(ok=False, text=f"there is no agent {name[:80]!r}")
    if found[0].gone:
        return OrderReply(ok=False, text=f"agent {name} is gone")
    if not event.via:
        node.say(Publish(topics.node(node.name, "order", name), event.order, retain=False))
    return OrderReply(ok=True, text=f"agent {name} was told to {event.order.order.value}")
