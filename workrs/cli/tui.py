"""`workrs tui`: the cluster in a terminal, live; or in a browser of this machine."""

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from device_client.blob import Access, get_result
from workrs.cli.cluster import require_free
from workrs.cli.connection import Caller, add_node_options, caller, connected
from workrs.cli.error import OK
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError
from workrs.domain.ids import JobId
from workrs.ports.bus import PORT_MAX, Address, Bus

if TYPE_CHECKING:
    from tui.app import Dashboard

_DRIVER: Final = "TEXTUAL_DRIVER"
"""Set where something else than a terminal shows it: a browser's page."""
_RESULT_MAX_BYTES: Final = 256 << 20
"""Of a result that is opened; `workrs result` writes larger ones."""
_FETCH_TIMEOUT_S: Final = 30.0


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "tui",
        "watch and steer the cluster in the terminal",
        examples=(
            "workrs tui",
            "workrs tui --node 10.0.0.1:1883 --node 10.0.0.2:1883",
            "workrs tui --web",
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
    it.flag("--web", help="serve it to a browser of this machine, at an address that it prints")
    it.value("--port", convert=int, default=8484, help="with --web: where to listen, on 127.0.0.1")
    add_node_options(it)
    return it


def _key(text: str) -> tuple[str, str]:
    action, equals, keys = text.partition("=")
    if not (action and equals and keys):
        raise ConfigError("write ACTION=KEYS, for example job.cancel=x")
    return action.strip(), keys.strip()


def run(asked: Namespace) -> int:
    """Show it until it is left."""
    who = caller(asked)
    if asked.web:
        _serve(asked, who)
    elif not (sys.stdin.isatty() and sys.stderr.isatty()) and _DRIVER not in os.environ:
        raise ConfigError("there is no terminal to draw on; workrs jobs prints what there is")
    else:
        app = dashboard(who, theme=asked.theme, keys=asked.key)
        asyncio.run(app.run_async())
        # A mistake of ours has shown its trace, and is no success.
        return app.return_code or OK
    return OK


def dashboard(
    who: Caller, *, theme: str | None = None, keys: Sequence[tuple[str, str]] = ()
) -> "Dashboard":
    """Return the dashboard of the caller's nodes.

    Raises:
        ConfigError: there is no such theme or action, a key would do two things, or what it needs
            is not installed.
    """
    try:
        from tui.app import Dashboard, places  # noqa: PLC0415 (a wrong option need not wait)
        from tui.feed import Feed  # noqa: PLC0415
        from tui.keymap import keymap  # noqa: PLC0415
        from tui.model.cluster import Model  # noqa: PLC0415
        from tui.theme import NIGHT, known_themes  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _missing(error, "tui") from error
    theme = theme or NIGHT.name
    if theme not in known_themes():
        raise ConfigError(f"there is no theme {theme!r}: {', '.join(known_themes())}")
    others = keymap(keys, places())
    feed = Feed(Model(), nodes=who.nodes, user=who.user, opener=partial(_open, who))
    return Dashboard(feed, fetch=partial(_fetch, who), theme=theme, keys=others)


def _missing(error: ModuleNotFoundError, extra: str) -> ConfigError:
    return ConfigError(
        f"the dashboard needs the package {error.name!r}, which is not installed: "
        f"pip install 'workrs[{extra}]', or ./run setup in a checkout"
    )


def _open(who: Caller, address: Address) -> AbstractAsyncContextManager[Bus]:
    return connected(replace(who, nodes=(address,)))


async def _fetch(who: Caller, url: str, job: JobId, bases: Sequence[str]) -> bytes:
    return await asyncio.to_thread(
        get_result,
        url,
        job,
        list(bases),
        limit_bytes=_RESULT_MAX_BYTES,
        access=Access(username=who.user, tls=who.tls),
        timeout_s=_FETCH_TIMEOUT_S,
    )


def _serve(asked: Namespace, who: Caller) -> None:
    try:
        from tui.web import WebServer  # noqa: PLC0415 (only here, and it may be missing)
    except ModuleNotFoundError as error:
        raise _missing(error, "web") from error
    if not 0 < asked.port <= PORT_MAX:
        raise ConfigError(f"--port is {asked.port}: write 1 to {PORT_MAX}")
    require_free([asked.port])
    # Refuses at once what the program of each page would refuse.
    dashboard(who, theme=asked.theme, keys=asked.key)
    words = ["--user", who.user, "--theme", asked.theme]
    words += [word for node in who.nodes for word in ("--node", str(node))]
    words += [word for action, keys in asked.key for word in ("--key", f"{action}={keys}")]
    words += ["--insecure"] if asked.insecure else []
    if who.credential is not None:
        words += ["--credential", str(who.credential.path)]
    WebServer(words, port=asked.port).serve()
