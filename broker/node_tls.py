"""What a secure node shows of itself, wherever it connects and is connected to.

The contexts stay the same objects while the node runs, so that a renewed certificate is shown at
the next handshake by all who hold one: blob store, bridges' stand-ins, readers of peers' ledgers.
A client's looks at the file by itself (`workrs.trust.credential`).
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from workrs.adapters import log

if TYPE_CHECKING:
    from workrs.trust.node_folder import NodeTrust


class NodeTls:
    """The node's contexts as a client and as a server."""

    def __init__(self, trust: NodeTrust) -> None:
        """Show the certificate of *trust*, until `take`."""
        self.client = trust.client_context()
        self.server = trust.server_context()
        self.page = _page_context(trust)
        self._shown = trust.node_text
        self._log = log.get(f"node[{trust.credential.name}]")

    def take(self, trust: NodeTrust) -> None:
        """Show the certificate of *trust* from the next handshake on."""
        if trust.node_text == self._shown:
            return
        try:
            for context in (self.server, self.page):
                context.load_cert_chain(trust.credential.path)
        except (OSError, ssl.SSLError) as error:
            # It was whole a moment ago: whoever is changing it changes the folder again.
            self._log.warning("trust_not_taken", why=str(error))
            return
        self._shown = trust.node_text
        self._log.event("certificate_renewed", valid_until=trust.credential.valid_until_wall)


def _page_context(trust: NodeTrust) -> ssl.SSLContext:
    """Return what shows the node's certificate to browsers, and asks them for none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(trust.credential.path)
    return context
