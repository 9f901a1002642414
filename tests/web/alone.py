"""The page in the test's own process, at a real broker without a node.

What stops an attack can be taken away here, so that the attack is seen to succeed.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from broker.web.server import served
from broker.web.settings import NodeFacts, WebSettings
from broker.web.site import Site, hosts_of
from tests.mosquitto_fixture import HOST
from workrs.adapters.mqtt import connect
from workrs.domain.function import Function
from workrs.domain.ids import ClientId
from workrs.ports.bus import Address, Bus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from broker.web.visitor import OpenBus


PAGE = "page.test"
"""A name for a page that is served by HTTPS."""


def at_broker(at: Address) -> OpenBus:
    """Return a way in that lets everybody in."""

    def open_bus(name: str, _: str | None) -> AbstractAsyncContextManager[Bus]:
        return connect(address=at, client_id=f"{name}-{secrets.token_hex(4)}")

    return open_bus


@contextmanager
def held_port() -> Iterator[int]:
    """Yield a port that nobody is given meanwhile.

    A socket that is bound and does not listen keeps it from all but those who ask for it by its
    number and with SO_REUSEADDR, as servers do.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, 0))
        yield held.getsockname()[1]


@asynccontextmanager
async def page(
    folder: Path,
    open_bus: OpenBus,
    *,
    stores: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
    name: str = HOST,
    trouble: Callable[[], str] = str,
    **settings: Any,
) -> AsyncIterator[str]:
    """Serve a page; return its address.

    Args:
        folder: of the test.
        open_bus: how visitors reach a broker.
        stores: base URLs of blob stores that the node would know.
        tls: to serve it by HTTPS, under a *name*.
        name: what browsers are to call it.
        trouble: what the node would say of itself.
        settings: further ones of the page.
    """
    echo = Function(image="none", command=("true",))
    facts = NodeFacts(
        node=ClientId("n1"),
        cluster="",
        has_passwords=tls is not None,
        filed=lambda _: "",
        functions=lambda: {"echo": echo},
        stores=lambda: stores,
        trouble=trouble,
    )
    hosts = hosts_of(HOST, frozenset()) | {name}
    with held_port() as port:
        site = Site(hosts=hosts, port=port, is_secure=tls is not None)
        at = Address(host=HOST, port=port)
        async with served(
            WebSettings(listen=at, folder=folder / "page", **settings),
            facts,
            site,
            open_bus=open_bus,
            store_tls=None,
            page_tls=tls,
        ):
            yield f"{site.scheme}://{name}:{port}"


def certificate(folder: Path) -> ssl.SSLContext:
    """Return TLS for the page, by a certificate of its own making in *folder*."""
    key, shown = folder / "key", folder / "certificate"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-days", "2", "-subj", f"/CN={PAGE}", "-keyout", str(key)]
    words += ["-out", str(shown), "-addext", f"subjectAltName=DNS:{PAGE},IP:{HOST}"]
    subprocess.run(words, check=True, capture_output=True)
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(shown, key)
    return found


def allow(*_: object, **__: object) -> None:
    """Stand in the place of a check that is taken away."""
