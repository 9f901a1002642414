"""Bars that nodes tell each other: a device that one has barred does not begin anew at the next.

1. A node tells of the bars it made itself, and of none that it was told of.
2. A bar ends at each node by its own clock, `bar_s` after it heard of it or of the device.

Not promised: that each peer hears of each bar. One that does not makes its own.
"""

from broker.effect import Publish
from broker.event import PeerBarred
from broker.node import Node
from workrs.domain.ids import Instant
from workrs.wire import topics
from workrs.wire.message import Barred

DEVICES_PER_MESSAGE = 1_000
"""A thousand of the longest names are a quarter of what a message may have."""


def on_peer(node: Node, event: PeerBarred, now: Instant) -> None:
    """Bar what a peer has barred. Who is no peer says nothing."""
    if event.node not in node.settings.nodes:
        node.dropped += 1
        return
    for device in event.devices:
        node.gate.bar(device, now)


def tell_peers(node: Node) -> None:
    """Tell of the devices that were barred here since this was called last."""
    devices = node.gate.take_untold()
    for begin in range(0, len(devices), DEVICES_PER_MESSAGE):
        part = tuple(devices[begin : begin + DEVICES_PER_MESSAGE])
        node.say(Publish(topics.node(node.name, "barred"), Barred(devices=part), retain=False))
