"""When to leave a node that works but reaches no majority of nodes.

1. As long as others of the list were not tried, at once: one of them may be on the side of
   the majority.
2. When all have said the same, each is given `stay_s`: hopping heals nothing, and whoever
   stays with one node hears from it when it has healed.
"""


class Patience:
    """What one device was told by the nodes of its list, since a majority was last there."""

    def __init__(self, nodes: int, stay_s: float) -> None:
        self._nodes = nodes
        self._stay_s = stay_s
        self._left = 0
        """Nodes left because of this."""
        self._since = 0.0
        self._is_leaving = False

    def connected(self, now: float) -> None:
        """Note that a connection stands."""
        self._since = now
        self._is_leaving = False

    def has_majority(self) -> None:
        """Note that the present node reaches one."""
        self._left = 0

    def is_over(self, now: float) -> bool:
        """Take in that the node reaches no majority; return, once, that it is to be left."""
        if self._is_leaving or self._nodes == 1:
            return False
        if self._left + 1 >= self._nodes and now < self._since + self._stay_s:
            return False
        self._left += 1
        self._is_leaving = True
        return True
