"""`workrs cancel JOB`: an operator wants a job to end without a result."""

import asyncio
from argparse import Namespace

from workrs.cli import job_name, order
from workrs.cli.connection import add_node_options, caller, read_view
from workrs.cli.options import Options
from workrs.wire.message import Order, OrderKind, OrderReply


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "cancel",
        "cancel a job",
        examples=(
            "workrs cancel pump-7/sum",
            "workrs cancel sum --node 10.0.0.1:1883 --node 10.0.0.2:1883",
        ),
    )
    it.argument("job", help=job_name.HELP, complete=job_name.COMPLETE)
    order.add_order_options(it)
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Find the job, order, report."""
    return order.report(asyncio.run(_cancel(asked)), asked)


async def _cancel(asked: Namespace) -> OrderReply:
    who = caller(asked)
    job = job_name.find_job(await read_view(who), asked.job)
    wish = Order(order=OrderKind.CANCEL, job=f"{job.device}/{job.id}")
    return await order.send(wish, who, timeout_s=asked.timeout)
