"""Opens the page of a node as its configuration says: what it may know, and how it speaks.

1. On loopback it is served in the open, without TLS: browsers know no certificate of that address.
   Anywhere else it is served by HTTPS with the node's certificate, or not at all.
2. Visitors reach the broker at the port for devices with a password, as from outside. The node's
   own certificate is shown by nothing that is done for them.
"""

import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from cryptography import x509

from broker import admission
from broker.config import NodeConfig
from broker.node import Node
from broker.web.settings import NodeFacts, WebSettings
from broker.web.site import Site, hosts_of
from broker.web.visitor import OpenBus
from workrs.adapters.mqtt import connect
from workrs.ports.bus import Address, Bus
from workrs.trust.kind import PASSWORD_PORT_OFFSET
from workrs.trust.node_folder import NodeTrust


@asynccontextmanager
async def page_served(
    config: NodeConfig,
    node: Node,
    *,
    trust: Callable[[], NodeTrust] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """Serve the page as long as the context is open; nothing if the configuration has none.

    Args:
        config: where, and how much.
        node: whose functions and state are shown.
        trust: what the node believes now; None: the cluster asks nobody for anything.
        tls: shows the node's certificate to browsers.

    Raises:
        ConfigError: nobody can listen there.
    """
    if config.web is None:
        yield
        return
    from broker.web.server import served  # noqa: PLC0415 (templates, 3 MB: few nodes have a page)

    at = config.web
    page_tls = None if at.is_loopback else tls
    first = None if trust is None else trust()
    names = frozenset[str]() if first is None else certified_names(first)
    site = Site(hosts=hosts_of(at.host, names), port=at.port, is_secure=page_tls is not None)
    async with served(
        WebSettings(
            listen=at,
            folder=config.state_dir / "page",
            scripts=config.web_scripts,
            upload_max_bytes=config.web_upload_max_bytes,
        ),
        _facts(config, node, trust),
        site,
        open_bus=_way_in(config, first),
        store_tls=None if first is None else _known_nodes(first),
        page_tls=page_tls,
    ):
        yield


def _facts(config: NodeConfig, node: Node, trust: Callable[[], NodeTrust] | None) -> NodeFacts:
    def stores() -> list[str]:
        others = [peer.blobs_url for peer in node.peers.values() if peer.live and peer.blobs_url]
        return [config.public_blobs_url, *others]

    def trouble() -> str:
        if not node.admission.votes:
            return f"This node does not vote now: {admission.health(node)}."
        if not node.minority.quorum:
            return (
                "This node hears no majority of the nodes: it keeps what you send, and nothing is "
                "accepted or finished here until it does."
            )
        return ""

    return NodeFacts(
        node=node.name,
        cluster="" if trust is None else trust().credential.cluster,
        has_passwords=trust is not None,
        filed=lambda name: "" if trust is None else trust().passwords.get(name),
        functions=lambda: node.functions.definitions,
        stores=stores,
        trouble=trouble,
    )


def _way_in(config: NodeConfig, trust: NodeTrust | None) -> OpenBus:
    """Return how a visitor reaches this node's broker."""
    if trust is None:

        def in_the_open(name: str, _: str | None) -> AbstractAsyncContextManager[Bus]:
            # An id of its own, so that no other program of this name is cut off.
            return connect(address=config.listen, client_id=f"{name}-{secrets.token_hex(4)}")

        return in_the_open
    at = Address(host=config.listen.host, port=config.listen.port + PASSWORD_PORT_OFFSET)
    tls = _known_nodes(trust)
    # It is this node's own broker, whatever address that was told to listen at.
    tls.check_hostname = False

    def by_password(name: str, password: str | None) -> AbstractAsyncContextManager[Bus]:
        return connect(address=at, client_id=name, username=name, password=password, tls=tls)

    return by_password


def _known_nodes(trust: NodeTrust) -> ssl.SSLContext:
    """Return TLS that believes nodes of this cluster, and shows no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=trust.credential.authority)
    return context


def certified_names(trust: NodeTrust) -> frozenset[str]:
    """Return the names and addresses in a node's certificate."""
    shown = x509.load_pem_x509_certificates(trust.credential.path.read_bytes())[0]
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    found = {*names.get_values_for_type(x509.DNSName)}
    return frozenset(found | {str(at) for at in names.get_values_for_type(x509.IPAddress)})
