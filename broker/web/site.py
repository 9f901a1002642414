"""Under which names the page is reached, and which requests are its own pages'. Pure.

1. A request under another host name is refused: a name that somebody else's DNS points to this
   machine would otherwise be an origin of its own that may read everything.
2. A request that another site's page caused is refused, but for opening the first page. The
   session's cookie is not sent with it either (SameSite=Strict).
3. A request that changes something names this very origin, as every browser does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from broker.web.page_error import NotOwnError

_SAFE: Final = frozenset({"GET", "HEAD"})
_OWN: Final = frozenset({"same-origin", "none"})
"""Of `Sec-Fetch-Site`: caused by a page of ours, or by the person at the browser."""
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # `no-referrer` would have browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    # Which versions answer is nobody's business.
    "Server": "workrs",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""In every answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the page is."""

    hosts: frozenset[str]
    """Names and addresses, IPv6 without brackets."""
    port: int
    is_secure: bool
    """By TLS."""

    @property
    def scheme(self) -> str:
        """Return what its addresses begin with."""
        return "https" if self.is_secure else "http"

    def authorities(self) -> frozenset[str]:
        """Return what a browser may have in the Host header."""
        default = 443 if self.is_secure else 80
        found = set()
        for host in self.hosts:
            name = f"[{host}]" if ":" in host else host.lower()
            found.add(f"{name}:{self.port}")
            if self.port == default:
                found.add(name)
        return frozenset(found)

    def check(self, method: str, path: str, hosts: list[str], headers: Mapping[str, str]) -> None:
        """Raise NotOwnError unless the request is one of this page's own.

        Args:
            method: of the request.
            path: of the request.
            hosts: all its Host headers.
            headers: all headers; names in any case.
        """
        if len(hosts) != 1 or hosts[0].lower() not in self.authorities():
            raise NotOwnError(421, "this page is not served under that name")
        caused_by = headers.get("Sec-Fetch-Site", "none")
        is_opened = method == "GET" and path == "/" and headers.get("Sec-Fetch-Dest") == "document"
        if caused_by not in _OWN and not is_opened:
            raise NotOwnError(403, "another site's page asked for this")
        if method in _SAFE:
            return
        if headers.get("Origin") != f"{self.scheme}://{hosts[0].lower()}":
            raise NotOwnError(403, "this was not sent by a form of this page")


def hosts_of(listen: str, certified: frozenset[str]) -> frozenset[str]:
    """Return the names under which a page that listens at an address may be asked for.

    Args:
        listen: the address that was configured.
        certified: names and addresses in the node's certificate.
    """
    try:
        at = ip_address(listen)
    except ValueError:
        return certified | {listen} | (frozenset(LOOPBACK) if listen == "localhost" else set())
    if at.is_loopback:
        return frozenset({str(at), *LOOPBACK})
    return certified | (frozenset(LOOPBACK) if at.is_unspecified else frozenset({str(at)}))
