"""Who is connected to which node, for rows that part a client from its own.

Agents are heard: a heartbeat at a node's broker tells. Devices are asked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from workrs.faults.load import Sent
from workrs.faults.net import Network
from workrs.faults.row import RowError
from workrs.faults.site import Site
from workrs.faults.trace import Lease

MOVE_MAX_S = 15.0
"""Longer than any silence that a client bears."""


def network(site: Site) -> Network:
    """Return the site's network, which a row that needs NET has."""
    if site.net is None:
        raise RowError("this row needs a site with a network of its own")
    return site.net


@contextmanager
def healing(site: Site) -> Iterator[Network]:
    """Have the network whole again after the block, however it ends."""
    found = network(site)
    try:
        yield found
    finally:
        found.heal()


def home(site: Site, client: str) -> str:
    """Return the node that an agent or a device of the site is connected to; empty: none."""
    if client in site.agents:
        heard = site.trace.home(client)
        return heard.node if heard is not None else ""
    address = site.device(client).node
    return next((n for n, at in site.cluster.addresses.items() if str(at) == address), "")


def until_home(site: Site, client: str) -> str:
    """Wait until a client is connected to any node; return which."""
    return site.until(f"a node of {client}", lambda: home(site, client), MOVE_MAX_S)


def until_moved(site: Site, client: str, since_s: float, left: str) -> float:
    """Return when a client that *left* a node at *since_s* or later was at another one first."""

    def look() -> float | None:
        now = home(site, client)
        if now in ("", left):
            return None
        heard = site.trace.home(client)
        return heard.at_s if heard is not None else site.trace.now_s

    return max(since_s, site.until(f"{client} at another node than {left}", look, MOVE_MAX_S))


def chase(site: Site, client: str, node: str) -> None:
    """Cut a client off from wherever it is until it is connected to *node*."""
    for _ in range(2 * len(site.nodes)):
        here = until_home(site, client)
        if here == node:
            return
        with healing(site) as net:
            net.cut(client, here)
            until_moved(site, client, site.trace.now_s, here)
    raise RowError(f"{client} never went to {node}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A long job that an agent runs, and the node of that agent."""

    sent: Sent
    lease: Lease
    home: str

    @property
    def agent(self) -> str:
        """Return who runs it."""
        return self.lease.agent


def walk(site: Site, *, run_s: float) -> Walk:
    """Start a job that takes *run_s*, and wait until its program runs."""
    sent = site.send_beads("walker", run_s=run_s)
    lease = site.until_lease(sent.bus_id)
    site.until_seen(sent.bus_id, above=0)
    return Walk(sent=sent, lease=lease, home=until_home(site, lease.agent))


def require_end(site: Site, sent: Sent) -> None:
    """Wait until a job has ended."""
    patience_s = sent.run_s + 10 * site.timing.ttl_s
    site.until(f"the end of {sent.bus_id}", lambda: sent.ended_s, patience_s)


def require_kept(site: Site, walked: Walk) -> None:
    """Raise RowError unless the walk's agent kept the lease of its job."""
    others = [x for x in site.trace.leases(walked.sent.bus_id) if x.agent != walked.agent]
    if others:
        raise RowError(
            f"{walked.sent.bus_id} was taken over by {others[0].agent} at {others[0].at_s:.2f} s, "
            f"though {walked.agent} could reach a majority"
        )
