"""Whether operators want an agent to drain: told to it until it shows that it knows.

1. An order is answered when the agent's heartbeat shows its number, or a later one. Until then it
   is said to the agent again with every repetition of its operator and every heartbeat. A node
   that starts again has forgotten it; its operator has not.
2. The orders of an agent's incarnation are numbered, and it takes only what is above the last it
   took: what arrives late, or twice, changes nothing. Odd numbers drain, even ones undrain, so a
   number alone says what the agent knows.
3. Nodes count what was told to other nodes as well, so the later of two orders has the higher
   number, whichever nodes they were told.

Not promised: which of two orders wins that were given while neither node had heard of the other's.
The operator of the one that lost is told. Nor which wins of two that were given one after the other
if the first one's node stood still: later is what nodes hear later.
"""

from broker.agents import AgentEntry, Wish
from broker.effect import Publish
from broker.event import OrderHeard
from broker.limits import ORDERS_MAX
from broker.node import Node
from workrs.domain.ids import ClientId, Instant, LocalJobId
from workrs.wire import topics
from workrs.wire.message import Order, OrderKind, OrderReply

GONE_S = 3.0
"""How long an agent is gone before its operator is told: it may be changing its node."""
KEEP_S = 30.0
"""How long an order is said again after its operator has said it last."""


def on_order(node: Node, agent: AgentEntry, event: OrderHeard, now: Instant) -> OrderReply | None:
    """Number the order if it is new, and say it to the agent; None while that does not know it."""
    key = (event.operator, event.order_id)
    drains = event.order.order is OrderKind.DRAIN
    wish = agent.wishes.get(key)
    if wish is None:
        number = _above(max(agent.ordered, agent.wished), drains=drains)
        wish = Wish(number=number, was_draining=_is_draining(agent), until=now)
        agent.wished = number
        agent.wishes[key] = wish
        if len(agent.wishes) > ORDERS_MAX:
            del agent.wishes[next(iter(agent.wishes))]
    if event.via:
        return None
    if agent.ordered >= wish.number:
        return _answer(agent, wish)
    wish.until = Instant(now + KEEP_S)
    if not agent.gone:
        _say(node, agent, wish.number)
    elif now - agent.seen_at > GONE_S:
        wish.until = now
        return OrderReply(ok=False, text=f"agent {agent.client} is gone")
    return None


def on_beat(node: Node, agent: AgentEntry, ordered: int, now: Instant) -> None:
    """Answer the orders that the agent knows by now, and say the newest again that it does not."""
    agent.ordered = ordered
    waiting = [(key, wish) for key, wish in agent.wishes.items() if now < wish.until]
    for key, wish in waiting:
        if ordered >= wish.number:
            wish.until = now
            kind = OrderKind.DRAIN if wish.number % 2 else OrderKind.UNDRAIN
            answer(node, key, kind, _answer(agent, wish))
    newest = max((wish.number for _, wish in waiting), default=0)
    if newest > ordered:
        _say(node, agent, newest)


def answer(
    node: Node, key: tuple[ClientId, LocalJobId], kind: OrderKind, reply: OrderReply
) -> None:
    """Tell an operator of this node what became of an order."""
    operator, name = key
    node.fact_limited("order", operator=operator, order=kind.value, ok=reply.ok)
    node.say(Publish(topics.down(operator, name), reply, retain=False))


def forget(agent: AgentEntry) -> None:
    """Count anew, because the agent has started again: it takes jobs, whatever it was told."""
    agent.ordered = agent.wished = 0
    agent.wishes.clear()


def _above(number: int, *, drains: bool) -> int:
    """Return the next number of an order of its kind."""
    return number + 1 if (number % 2 == 0) is drains else number + 2


def _say(node: Node, agent: AgentEntry, number: int) -> None:
    kind = OrderKind.DRAIN if number % 2 else OrderKind.UNDRAIN
    order = Order(order=kind, agent=agent.client, number=number, incarnation=agent.incarnation)
    node.say(Publish(topics.node(node.name, "order", agent.client), order, retain=False))


def _answer(agent: AgentEntry, wish: Wish) -> OrderReply:
    name, drains = agent.client, wish.number % 2 == 1
    if (agent.ordered % 2 == 1) is not drains:
        text = f"agent {name} was told otherwise by a later order"
        return OrderReply(ok=False, text=text)
    if drains:
        done = "is draining already" if wish.was_draining else "was told to drain"
        return OrderReply(ok=True, text=f"agent {name} {done}")
    if _is_draining(agent):
        why = "it stops, or its machine wants it to leave"
        text = f"agent {name} was told to undrain, and drains on: {why}"
        return OrderReply(ok=True, text=text)
    return OrderReply(ok=True, text=f"agent {name} was told to undrain")


def _is_draining(agent: AgentEntry) -> bool:
    return agent.profile is not None and agent.profile.draining
