"""`workrs drain AGENT`: an agent accepts nothing new, and finishes or hands over what it has."""

import asyncio
from argparse import Namespace

from workrs.cli import order
from workrs.cli.connection import add_node_options, user_name
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError, IdError
from workrs.domain.ids import client_id
from workrs.wire.message import Order, OrderKind


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "drain",
        "tell an agent to accept nothing new",
        examples=("workrs drain agent-2", "workrs drain agent-2 --json"),
    )
    it.argument("agent", help="the agent's name; workrs agents lists them")
    order.add_order_options(it)
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Order, report."""
    try:
        agent = client_id(asked.agent)
    except IdError as error:
        raise ConfigError(str(error)) from error
    wish = Order(order=OrderKind.DRAIN, agent=agent)
    reply = asyncio.run(order.send(wish, asked.node, user_name(asked), timeout_s=asked.timeout))
    return order.report(reply, asked)
