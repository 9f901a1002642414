"""Where the nodes' blob stores are: told by the device's owner, or learned from the bus.

The nodes repeat their state every second. A device subscribes to that only while somebody
needs an address, and remembers what it learned for FRESH_S.
"""

import json
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from workrs.domain.errors import ConfigError, StoreError
from workrs.wire import topics

FRESH_S = 60.0
_SETTLED_S = 0.5
"""Once a node is known, the others of the same retained burst are not waited for longer."""


class Stores(NamedTuple):
    """Base URLs to try in order, and how many should hold an input."""

    bases: tuple[str, ...]
    copies: int


class StoreDirectory:
    """See the module. Every method may be called from any thread."""

    def __init__(
        self,
        fixed: Sequence[str],
        *,
        clock: Callable[[], float],
        watch: Callable[[], None],
        unwatch: Callable[[], None],
    ) -> None:
        for url in fixed:
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"blob_urls: {url!r} must begin with http:// or https://")
        self._fixed = tuple(fixed)
        self._clock = clock
        self._watch = watch
        self._unwatch = unwatch
        self._changed = threading.Condition()
        self._urls: dict[str, str] = {}
        """By node; empty for one that is down or has no store."""
        self._nodes: set[str] = set()
        """All nodes of the cluster, by what those heard say."""
        self._learned_at = float("-inf")
        self._closed = False

    def find(self, timeout_s: float) -> Stores:
        """Return where the stores are, waiting for the nodes to say it if need be.

        Raises:
            StoreError: None is known after *timeout_s*.
        """
        if self._fixed:
            return Stores(self._fixed, min(2, len(self._fixed)))
        with self._changed:
            if self._clock() - self._learned_at > FRESH_S or not self._bases():
                self._learn(timeout_s)
            bases = self._bases()
            if not bases:
                raise StoreError(
                    "no node told where its blob store is: give the device blob_urls, or allow "
                    f"it to read {topics.node('+', 'state')}"
                )
            return Stores(bases, min(2, max(len(self._nodes), len(bases))))

    def forget(self) -> None:
        """Ask anew the next time: what is known did not work."""
        with self._changed:
            self._learned_at = float("-inf")

    def close(self) -> None:
        """End all waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def heard(self, topic: str, payload: bytes) -> None:
        """Take in a message that may be a node's state."""
        parsed = topics.parse_node(topic)
        if parsed is None or parsed.kind != "state":
            return
        try:
            body = json.loads(payload)
        except (ValueError, RecursionError):
            return
        if not isinstance(body, dict):
            return
        url, nodes = body.get("blobs_url"), body.get("nodes")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            url = ""
        with self._changed:
            self._urls[parsed.node] = url if body.get("live", True) is True else ""
            self._nodes.add(parsed.node)
            if isinstance(nodes, list):
                self._nodes.update(name for name in nodes[:64] if isinstance(name, str))
            self._changed.notify_all()

    def _learn(self, timeout_s: float) -> None:
        """Listen until every node was heard, or one was and the others seem away."""
        self._urls.clear()
        self._nodes.clear()
        self._watch()
        try:
            deadline = self._clock() + timeout_s
            self._changed.wait_for(lambda: self._closed or bool(self._bases()), timeout_s)
            left_s = min(_SETTLED_S, deadline - self._clock())
            self._changed.wait_for(
                lambda: self._closed or self._nodes <= self._urls.keys(), max(0.0, left_s)
            )
        finally:
            self._unwatch()
        self._learned_at = self._clock()

    def _bases(self) -> tuple[str, ...]:
        return tuple(url for _, url in sorted(self._urls.items()) if url)
