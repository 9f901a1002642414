"""One node over time: what it says of itself, how much it says, and which bridges lead to it.

1. A node repeats its state every second; one that was not heard for SILENT_S is silent.
2. A bridge is said to lead from one node to another where the other hears it.
3. Lag of a bridge: commits of the one that the other has not seen yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tui.model.age import Since
from workrs.domain.ids import ClientId, Instant
from workrs.wire.message import NodeState

SILENT_S: Final = 3.0
"""As nodes count it among themselves."""
RATE_S: Final = 0.5
"""What a rate is taken over at least: states that were held up on the way come in a heap."""
_SMOOTH: Final = 0.5
"""Weight of the newest second in a rate."""


@dataclass(slots=True)
class Node:
    """A node as it is shown."""

    name: ClientId
    state: NodeState | None = None
    heard: Since | None = None
    """When its state last came; None if it never did."""
    rate: float | None = None
    """Messages it publishes a second."""
    dropped_rate: float | None = None
    """Messages it refuses a second."""
    counted: tuple[NodeState, Instant] | None = None
    """What rates were taken up to, and when that came; None if it may have been old."""

    def health(self, now: Instant) -> str:
        """Return in one or two words how it stands; `ok` when all is well."""
        state = self.state
        if state is None or self.heard is None:
            return "never heard"
        if not state.live:
            return "gone"
        if self.heard.age_s(now) > SILENT_S:
            return "silent"
        if state.rejoining:
            return "rejoining"
        if not state.quorum:
            return "minority"
        return state.health if state.health != "ok" or state.ready else "not ready"

    def role(self, now: Instant) -> str:
        """Return what it does for the cluster: votes, keeps, rejoins, or nothing."""
        if self.state is None or not self.is_heard(now):
            return "-"
        if self.state.rejoining:
            return "rejoins"
        return "votes" if self.state.ready and self.state.quorum else "keeps"

    def is_heard(self, now: Instant) -> bool:
        """Return whether it gives signs of life to this reader."""
        live = self.state is not None and self.state.live
        return live and self.heard is not None and self.heard.age_s(now) <= SILENT_S


def hear(node: Node, state: NodeState, now: Instant, *, retained: bool) -> None:
    """Take in what the node says of itself; *retained*: it may be old."""
    node.state, node.heard = state, Since(now, retained)
    if retained:
        node.counted = None
        return
    if node.counted is None or node.counted[0].boot != state.boot:
        node.rate = node.dropped_rate = None
        node.counted = state, now
        return
    before, at = node.counted
    took_s = now - at
    if took_s < RATE_S:
        return
    node.counted = state, now
    node.rate = _smoothed(node.rate, (state.sent - before.sent) / took_s)
    node.dropped_rate = _smoothed(node.dropped_rate, (state.dropped - before.dropped) / took_s)


def _smoothed(known: float | None, newest: float) -> float:
    newest = max(0.0, newest)
    return newest if known is None else known + _SMOOTH * (newest - known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A bridge from one node to another, as the other tells it."""

    source: ClientId
    target: ClientId
    is_up: bool | None
    """None: the target is not heard, or does not say."""
    behind: int
    """Commits that the target has not seen."""


def link(nodes: Mapping[ClientId, Node], source: ClientId, target: ClientId, now: Instant) -> Link:
    """Return how the bridge from *source* to *target* stands."""
    here, there = nodes[source].state, nodes[target].state
    if there is None or not nodes[target].is_heard(now) or there.nodes_heard == 0:
        return Link(source=source, target=target, is_up=None, behind=0)
    seen = there.seen.get(source)
    is_same = here is not None and seen is not None and seen.boot == here.boot
    behind = here.serial - seen.serial if is_same and here is not None and seen is not None else 0
    is_up = source in there.hears
    return Link(source=source, target=target, is_up=is_up, behind=max(0, behind))


def links(nodes: Mapping[ClientId, Node], now: Instant) -> list[Link]:
    """Return all bridges between *nodes*, by source, then target."""
    names = sorted(nodes)
    return [link(nodes, a, b, now) for a in names for b in names if a != b]
