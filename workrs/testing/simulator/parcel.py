"""A message under way, parsed once for all that receive it.

Sharing is safe because every event is frozen; that nobody changes one is thereby tested, too.
"""

from broker import inbox as node_inbox
from broker.event import Event as NodeEvent
from edge_agent import inbox as agent_inbox
from edge_agent.event import Event as AgentEvent
from workrs.domain.ids import ClientId, JobId
from workrs.ports.bus import Message
from workrs.wire import topics

_UP = f"{topics.ROOT}/up/"


class Parcel:
    """One publication and what it means to whom."""

    __slots__ = ("_for_agent", "_for_node", "_relayed", "body", "message")

    def __init__(self, message: Message, body: object = None) -> None:
        """Wrap *message*; *body* is what was encoded into it, for the checkers only."""
        self.message = message
        self.body = body
        self._for_node: NodeEvent | node_inbox.Dropped | None = None
        self._for_agent: AgentEvent | agent_inbox.Dropped | None = None
        self._relayed: Parcel | None = None

    def for_node(self, name: ClientId) -> NodeEvent | node_inbox.Dropped | None:
        """Return the event it is to the daemon *name*. It is never that daemon's own."""
        if self._for_node is None:
            self._for_node = node_inbox.parse(name, self.message)
        return self._for_node

    def for_agent(self, name: ClientId, jobs: set[JobId]) -> AgentEvent | None:
        """Return the event it is to the agent *name*, which follows *jobs*."""
        if self._for_agent is None or isinstance(self._for_agent, agent_inbox.Dropped):
            self._for_agent = agent_inbox.parse(name, self.message, jobs)
        elif "/job/" in self.message.topic:
            job = self.message.topic.rpartition("/")[2]
            return None if JobId(job) not in jobs else self._for_agent
        return None if isinstance(self._for_agent, agent_inbox.Dropped) else self._for_agent

    def relayed(self, node: ClientId) -> "Parcel | None":
        """Return it as *node*'s bridges carry it to a peer; None when they do not."""
        topic = self.message.topic
        if topic.startswith(_UP):
            if self._relayed is None:
                moved = f"{topics.ROOT}/relay/{node}/{topic[len(_UP) :]}"
                message = Message(moved, self.message.payload, self.message.qos)
                self._relayed = Parcel(message, self.body)
            return self._relayed
        return self if topic.startswith(f"{topics.ROOT}/node/{node}/") else None
