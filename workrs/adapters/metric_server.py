"""The listener of `--metrics`: `/metrics` for Prometheus, `/health` and `/ready` for others.

A listener of its own, not a page of the blob store: that one asks for credentials in a secure
cluster and is open to agents and devices, who have no business with an operator's numbers. This
one asks nobody, so whom to let reach it is the operator's choice, by the address.

1. `/health` is 200 while the program does its work in time: else restart it.
2. `/ready` is 200 while it may be given work: it says on one line why not.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from workrs.adapters import log, metric
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address

LOG = log.get("metrics")
OK = "ok"


@asynccontextmanager
async def metrics_served(
    at: Address | None,
    *,
    metrics: Callable[[], Iterable[metric.Metric]],
    health: Callable[[], str],
    ready: Callable[[], str],
) -> AsyncIterator[None]:
    """Answer at *at* as long as the context is open; nowhere when it is None.

    Args:
        at: host and port.
        metrics: what the program says of itself now.
        health: `OK`, or what is wrong in one line.
        ready: `OK`, or why it may be given no work now, in one line.

    Raises:
        ConfigError: nobody can listen there.
    """
    if at is None:
        yield
        return

    async def numbers(_: web.Request) -> web.Response:
        text = metric.render([*metrics(), *metric.of_process()])
        return web.Response(body=text.encode(), headers={"Content-Type": metric.CONTENT_TYPE})

    async def answer(request: web.Request) -> web.Response:
        said = (health if request.path == "/health" else ready)()
        return web.Response(text=f"{said}\n", status=200 if said == OK else 503)

    app = web.Application(client_max_size=0)
    app.router.add_get("/metrics", numbers)
    app.router.add_get("/health", answer)
    app.router.add_get("/ready", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, at.host, at.port).start()
        except OSError as error:
            raise ConfigError(f"cannot serve metrics at {at}: {error.strerror}") from error
        if not at.is_loopback:
            LOG.warning("metrics_open", at=at, why="everybody who reaches it may read it")
        yield
    finally:
        await runner.cleanup()
