"""Which node this agent is connected to, and when it tries the next.

1. A lost connection is followed by the next node of the list at once; only after a whole
   round without success is there a wait, growing to RETRY_MAX_S.
2. A node through which no majority has answered for `silence_s` is left for the next. So a
   node without a quorum is left, too, whatever it says of itself. When no node of a whole
   round had one, each is given longer, up to PATIENCE_MAX_S: nothing is gained by hopping.
3. The connection number grows with every try, so that an old will is told from a new one.
"""

from dataclasses import dataclass
from enum import Enum

from edge_agent.agent import Agent
from edge_agent.effect import Connect
from edge_agent.work import NOT, PAST, growing
from workrs.domain.ids import Instant
from workrs.wire.message import Beat

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 2.0
PATIENCE_MAX_S = 10.0


class Line(Enum):
    """State of the connection."""

    DOWN = "down"
    CONNECTING = "connecting"
    UP = "up"


@dataclass(slots=True, kw_only=True)
class Uplink:
    """One connection at a time, to one of *nodes* configured nodes."""

    nodes: int
    line: Line = Line.DOWN
    connection: int = 0
    node: int = -1
    up_at: Instant = PAST
    retry_at: Instant = NOT
    failures: int = 0
    """Tries since the last connection that came up."""
    fruitless: int = 0
    """Nodes left since one through which a majority was heard."""

    def connect(self, agent: Agent) -> None:
        """Go to the next node."""
        self.node = (self.node + 1) % self.nodes
        self.connection += 1
        self.line = Line.CONNECTING
        self.retry_at = NOT
        agent.cluster.reconnect()
        will = Beat(incarnation=agent.incarnation, connection=self.connection, gone=True)
        agent.do(Connect(node=self.node, connection=self.connection, will=will))

    def on_connected(self, connection: int, now: Instant) -> bool:
        """Note that the connection stands; return whether it is the one asked for."""
        if connection != self.connection or self.line is not Line.CONNECTING:
            return False
        self.line = Line.UP
        self.up_at = now
        self.failures = 0
        return True

    def on_lost(self, connection: int, agent: Agent) -> None:
        """Try the next node, at once while any of the list is untried."""
        if connection != self.connection or self.line is Line.DOWN:
            return
        self.failures += 1
        if self.failures < self.nodes:
            self.connect(agent)
            return
        self.line = Line.DOWN
        wait_s = growing(RETRY_FIRST_S, RETRY_MAX_S, self.failures - self.nodes)
        self.retry_at = agent.jittered(wait_s)

    def silent_at(self, heard_at: Instant, silence_s: float) -> Instant:
        """Return when this node is to be left unless a majority is heard."""
        if self.line is not Line.UP:
            return NOT
        if heard_at > self.up_at:
            return Instant(heard_at + silence_s)
        patience_s = growing(silence_s, PATIENCE_MAX_S, self.fruitless // self.nodes)
        return Instant(self.up_at + max(silence_s, patience_s))

    def on_silent(self, heard_at: Instant, agent: Agent) -> None:
        """Leave this node: no majority answers through it."""
        self.fruitless = 0 if heard_at > self.up_at else self.fruitless + 1
        self.connect(agent)
