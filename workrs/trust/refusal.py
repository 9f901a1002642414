"""What a failed TLS handshake means, in words that say what to do.

OpenSSL names alerts, and a person wants to know whose certificate is wrong and how. Which alert
arrives is not certain: with TLS 1.3 a server may close before its client has read it, and then
only `SILENT` can be said.
"""

import ssl
from collections.abc import Mapping
from typing import Final

SILENT: Final = (
    "it ended the connection before it let this member in: that is what a certificate meets that "
    "is revoked, expired, not valid yet or of another cluster, and a connection without TLS to a "
    "port with TLS"
)
_THEIRS: Final[Mapping[int, str]] = {
    9: "its certificate is not valid yet: is this machine's clock right?",
    10: "its certificate has expired: renew the node's, or set this machine's clock right",
    18: "its certificate is of another cluster, or of none",
    19: "its certificate is of another cluster, or of none",
    20: "its certificate is of another cluster, or of none",
    62: "its certificate is for another host name: enrol the node anew with --host",
    64: "its certificate is for another address: enrol the node anew with --host",
}
"""By OpenSSL's code of what was found wrong with the node's certificate."""
_OURS: Final[Mapping[str, str]] = {
    "CERTIFICATE_REQUIRED": "it asks for a certificate: give --credential FILE",
    "UNKNOWN_CA": "it does not know who signed this certificate: another cluster, or the port is "
    "for another kind of member",
    "CERTIFICATE_EXPIRED": "it finds this certificate expired: `workrs enrol … --renew`",
    "CERTIFICATE_REVOKED": "it finds this certificate revoked: enrol the member anew",
    "BAD_CERTIFICATE": "it refuses this certificate, as damaged or not valid yet: are the clocks "
    "right?",
    "WRONG_VERSION_NUMBER": "nobody speaks TLS at this port",
}
"""By the end of the name of the alert that the node sent."""


def explain(error: BaseException) -> str:
    """Return why a connection was not made, or ended."""
    if isinstance(error, ssl.SSLCertVerificationError):
        told = error.verify_message
        return _THEIRS.get(error.verify_code, f"its certificate is refused here: {told}")
    if isinstance(error, ssl.SSLError):
        for word, meaning in _OURS.items():
            if word in (error.reason or str(error)):
                return meaning
    return getattr(error, "strerror", None) or str(error)
