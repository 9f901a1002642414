"""`workrs undrain AGENT`: an agent takes jobs again."""

import asyncio
from argparse import Namespace

from workrs.cli import order
from workrs.cli.connection import add_node_options, caller
from workrs.cli.drain import agent_name
from workrs.cli.options import Options
from workrs.wire.message import Order, OrderKind


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "undrain",
        "give an agent jobs again after a drain",
        examples=("workrs undrain agent-2",),
    )
    it.argument("agent", help="the agent's name; workrs agents lists them", complete="agent")
    order.add_order_options(it)
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Order, report."""
    wish = Order(order=OrderKind.UNDRAIN, agent=agent_name(asked))
    reply = asyncio.run(order.send(wish, caller(asked), timeout_s=asked.timeout))
    return order.report(reply, asked)
