"""Operators' orders: cancel a job, show its log, drain or undrain an agent, change a function.

1. Each is answered once it is noted, one about a function once a majority of nodes has it, one for
   an agent once that knows it: see `wish`. It is idempotent; its sender repeats it until then.
2. A log is shown only from the agent that holds the job, and only by that agent's own node.

Not promised: that a log is complete. It is the end of what was printed, sent at QoS 0.
"""

from broker import functions, intake, teller, wish
from broker.effect import Publish
from broker.entry import JobEntry
from broker.event import LogHeard, OrderHeard
from broker.node import Node
from workrs.domain.errors import IdError
from workrs.domain.ids import ClientId, Instant, split_job_id
from workrs.domain.job import Verdict
from workrs.wire import topics
from workrs.wire.message import LOG_MAX_BYTES, Order, OrderKind, OrderReply


def on_order(node: Node, event: OrderHeard, now: Instant) -> None:
    """Carry an order out, as far as this node can, and answer the operator."""
    order = event.order
    reply: OrderReply | None
    match order.order:
        case OrderKind.CANCEL:
            reply = _cancel(node, order.job, now)
        case OrderKind.LOG:
            reply = _show_log(node, event)
        case OrderKind.DRAIN | OrderKind.UNDRAIN:
            reply = _pass_on(node, event, now)
        case OrderKind.ADD | OrderKind.REMOVE:
            reply = functions.on_order(node, event)
        case OrderKind.FETCH:
            reply = OrderReply(ok=False, text="fetch is what nodes tell agents: nothing to order")
    if reply is not None and not event.via:
        wish.answer(node, (event.operator, event.order_id), order.order, reply)


def on_log(node: Node, event: LogHeard) -> None:
    """Show the end of a job's output to whoever reads it, if its holder sent it."""
    entry = node.entries.get(event.job)
    holder = entry.record.holder if entry and entry.is_open else None
    if holder is None or holder.client != event.agent:
        node.dropped += 1
        return
    tail = event.tail[-LOG_MAX_BYTES:]
    node.say(Publish(topics.node(node.name, "log", event.job), tail, qos=0, retain=False))


def _find(node: Node, text: str) -> JobEntry | OrderReply:
    """Return the job that *text* names, or what to answer instead."""
    try:
        job = intake.parse_local(text)
    except IdError as error:
        return OrderReply(ok=False, text=str(error))
    entry = node.entries.get(job) if job else None
    if entry is not None:
        return entry
    reach = teller.reach(node)
    found = node.find_retired(job) if job and _is_job_id(job) else None
    if found is not None:
        # Said again: an order is repeated until its answer arrives.
        return _ended(text, found.short.verdict)
    unsure = f"; {reach}, so it may be one that {node.name} never heard of" if reach else ""
    return OrderReply(ok=False, text=f"there is no job {text[:130]}{unsure}")


def _is_job_id(text: str) -> bool:
    try:
        split_job_id(text)
    except IdError:
        return False
    return True


def _ended(text: str, verdict: Verdict) -> OrderReply:
    # A repeated cancel has to be answered like the first, whose answer may be lost.
    is_done = verdict is Verdict.CANCELLED
    return OrderReply(ok=is_done, text=f"{text} has ended already: {verdict.value}")


def _show_log(node: Node, event: OrderHeard) -> OrderReply:
    text = event.order.job
    entry = _find(node, text)
    if isinstance(entry, OrderReply):
        return entry
    decided, holder = entry.record.decided, entry.record.holder
    if decided is not None:
        return OrderReply(ok=False, text=f"{text} has ended already: {decided.verdict.value}")
    agent = node.agents.get(holder.client) if holder else None
    if agent is None or agent.gone:
        return OrderReply(ok=False, text=f"{text} is not running now")
    if not event.via:
        wish = Order(order=OrderKind.LOG, job=entry.job)
        node.say(Publish(topics.node(node.name, "order", agent.client), wish, retain=False))
    return OrderReply(ok=True, text=f"agent {agent.client} was told to show the log of {text}")


def _cancel(node: Node, text: str, now: Instant) -> OrderReply:
    entry = _find(node, text)
    if isinstance(entry, OrderReply):
        return entry
    decided = entry.record.decided
    if decided is not None:
        return _ended(text, decided.verdict)
    intake.request_cancel(node, entry, now)
    reach = teller.reach(node)
    if reach:
        what = f"the wish to cancel {text} is kept: {reach}, and fulfils it when it has a majority"
        return OrderReply(ok=True, text=what)
    return OrderReply(ok=True, text=f"{text} is being cancelled")


def _pass_on(node: Node, event: OrderHeard, now: Instant) -> OrderReply | None:
    name = event.order.agent
    agent = node.agents.get(ClientId(name))
    if agent is None:
        return OrderReply(ok=False, text=f"there is no agent {name[:80]!r}")
    reach = teller.reach(node)
    if reach and not agent.local:
        text = f"{reach}, and agent {name} is connected to another: give the order there"
        return OrderReply(ok=False, text=text)
    return wish.on_order(node, agent, event, now)
