"""The members that a node tries its own broker with, made for one self-test and then forgotten.

1. No standing credential: a node's folder proves a node and nothing else, so that whoever takes
   it is no agent, no device and no operator, here or at any other node.
2. Their authorities are known to this node's broker alone, whose files name them until the test
   is over; their keys are never written but for the moment in which a TLS context reads them.
"""

import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from workrs.domain.ids import ClientId, client_id
from workrs.trust.authority import Issued, new_authority
from workrs.trust.kind import PROBE, Kind
from workrs.trust.password import new_password

PASSWORD_PROBE: Final = ClientId(f"{PROBE}.password")
"""The device that the self-test is at the port for passwords."""
_DAYS: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """One member of each kind, and what a broker needs to let them in."""

    authorities: Mapping[Kind, str]
    """Certificates, PEM."""
    lists: Mapping[Kind, str]
    """Empty lists of the revoked, PEM: without one the broker refuses all of an authority's."""
    members: Mapping[Kind, Issued] = field(repr=False)
    password: str = field(repr=False)

    @staticmethod
    def name(kind: Kind) -> ClientId:
        """Return whom the probe of a kind speaks as."""
        return client_id(f"{PROBE}.{kind.value}")

    def context(self, kind: Kind, authority: str) -> ssl.SSLContext:
        """Return TLS as the probe of a kind, towards this node's own broker.

        Args:
            kind: whose certificate is shown.
            authority: the nodes', PEM. The address is not checked: it is what the node listens at.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=authority)
        context.check_hostname = False
        issued = self.members[kind]
        # The ssl module takes a key from a file alone; this one is its user's, and gone at once.
        with tempfile.NamedTemporaryFile("w", prefix="workrs-probe-") as file:
            file.write(issued.key + issued.certificate)
            file.flush()
            context.load_cert_chain(file.name)
        return context


def make_probes(node: str, *, now: datetime) -> Probes:
    """Return new members for the self-test of *node*."""
    # Named otherwise than the cluster's, or a TLS library could take one for the other.
    cluster = f"self-test of {node}"
    made = {kind: new_authority(kind, cluster=cluster, now=now) for kind in Kind}
    return Probes(
        authorities={kind: authority.certificate for kind, authority in made.items()},
        lists={
            k: authority.revocation_list([], number=1, now=now) for k, authority in made.items()
        },
        members={
            kind: authority.issue(Probes.name(kind), cluster=cluster, now=now, days=_DAYS)
            for kind, authority in made.items()
        },
        password=new_password(),
    )
