"""`workrs tui`: the cluster in a terminal, live."""

import asyncio
from argparse import Namespace
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial

from workrs.cli.connection import Caller, add_node_options, caller, connected
from workrs.cli.error import OK
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address, Bus


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "tui",
        "watch and steer the cluster in the terminal",
        examples=(
            "workrs tui",
            "workrs tui --node 10.0.0.1:1883 --node 10.0.0.2:1883",
            "workrs tui --theme workrs-day --key job.cancel=x --key app.quit=q,ctrl+c",
        ),
    )
    it.value(
        "--theme", default="workrs-night", metavar="NAME", help="how it looks; ^p lists themes"
    )
    it.many(
        "--key",
        convert=_key,
        default=[],
        metavar="ACTION=KEYS",
        help="another key for an action, several with commas; the help screen names the actions",
    )
    add_node_options(it)
    return it


def _key(text: str) -> tuple[str, str]:
    action, equals, keys = text.partition("=")
    if not (action and equals and keys):
        raise ConfigError("write ACTION=KEYS, for example job.cancel=x")
    return action.strip(), keys.strip()


def run(asked: Namespace) -> int:
    """Show it until it is left."""
    asyncio.run(_show(asked, caller(asked)))
    return OK


async def _show(asked: Namespace, who: Caller) -> None:
    from tui.app import Dashboard  # noqa: PLC0415 (a wrong option should not wait for it)
    from tui.feed import Feed  # noqa: PLC0415
    from tui.model.cluster import Model  # noqa: PLC0415

    feed = Feed(Model(), nodes=who.nodes, user=who.user, opener=partial(_open, who))
    app = Dashboard(feed, theme=asked.theme, keys=dict(asked.key))
    await app.run_async()


def _open(who: Caller, address: Address) -> AbstractAsyncContextManager[Bus]:
    return connected(replace(who, nodes=(address,)))
