"""`workrs demo --tui`: the acts are played under the dashboard, which tells them in a line.

1. The acts run beside it in a thread; what they say is kept, and printed once it is left.
2. Leaving it before their end ends them too, at the next thing they say.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from workrs.cli.cluster import LocalCluster
from workrs.cli.connection import Caller
from workrs.cli.demo_screen import DemoScreen
from workrs.cli.tui import dashboard
from workrs.domain.ids import ClientId

T = TypeVar("T")
OPERATOR: Final = ClientId("operator")
_OVER: Final = "the acts are over: q leaves, and the books are compared"


def under_dashboard(screen: DemoScreen, cluster: LocalCluster, acts: Callable[[], T]) -> T:
    """Play *acts* while the dashboard is shown; return what they return.

    Raises:
        KeyboardInterrupt: it was left before their end.
        ConfigError: what the dashboard needs is not installed.
    """
    who = Caller(nodes=tuple(cluster.addresses.values()), user=OPERATOR)
    app = dashboard(who)
    played: Future[T]
    with ThreadPoolExecutor(1, "demo.acts") as pool, screen.kept() as kept:
        played = pool.submit(acts)

        def caption() -> str:
            return _OVER if played.done() else kept.last

        app.caption = caption
        try:
            asyncio.run(app.run_async())
        finally:
            kept.stop()
    return played.result()
