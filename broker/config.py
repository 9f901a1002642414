"""What a node needs to know to start. Every field has the option of `workrs node` it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker.ledger_retention import HistoryLimits
from broker.mosquitto_config import own_socket
from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId, client_id
from workrs.domain.lease import LeaseTiming
from workrs.domain.quota import Quotas
from workrs.ports.bus import Address

SIZES = (1, 3, 5)
"""Nodes that a cluster may begin with."""
NODES_MAX = 5
"""Nodes that a cluster may have. Two or four only on the way from one odd number to the next: an
even number adds a machine that can fail and no majority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node's configuration."""

    name: str
    listen: Address
    """Where its Mosquitto listens; with a credential, the first of its ports."""
    peers: Mapping[str, Address] = field(default_factory=dict)
    """The brokers of the other nodes, by name, as `listen`. Empty: a cluster of one."""
    state_dir: Path
    """Ledger, blobs and the broker's files."""
    blobs: Address
    """Where its blob store listens."""
    blobs_url: str = ""
    """How others reach the blob store; empty: http://{blobs}, or https with a credential."""
    stores: tuple[str, ...] = ()
    """Locations of the stores in which agents keep checkpoints, if not on nodes' disks."""
    given_broker: bool = False
    """A Mosquitto already runs at `listen`: do not start one."""
    credential: Path | None = None
    """The folder that `workrs init` wrote for this node. None: no TLS, no names."""
    insecure: bool = False
    """Let everybody in without a credential, on other addresses than this machine's own, too."""
    metrics: Address | None = None
    """Where Prometheus and health checks are answered, by nobody's leave. None: nowhere."""
    web: Address | None = None
    """Where the page for people who upload jobs is served. None: nowhere."""
    web_scripts: Mapping[str, str] = field(default_factory=dict)
    """Functions that take a script there, and the file that it takes the place of."""
    web_upload_max_bytes: int = 256 << 20
    """What one upload there may have."""
    functions: Path | None = None
    """What is new or changed in it since the last start is added at this one."""
    allowed_images: tuple[str, ...] = ()
    """Patterns of images that jobs may name, the same on all nodes; empty: all."""
    init: bool = False
    """Make the database if there is none."""
    rejoin: bool = False
    """Make one for a node that lost its disk, and have it re-admitted."""
    no_start: bool = False
    """End when the database is made."""
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    quotas: Quotas = field(default_factory=Quotas)
    """What devices and tenants may ask of this node."""
    history: HistoryLimits = field(default_factory=HistoryLimits)
    """How much of what happened its ledger keeps, for people."""

    def __post_init__(self) -> None:
        """Refuse names and cluster sizes that cannot work."""
        for name in (self.name, *self.peers):
            client_id(name)
        if self.name in self.peers:
            raise ConfigError(f"node {self.name} is named as its own peer: leave it out of --peer")
        if self.init and self.rejoin:
            raise ConfigError(
                "--init is for a new node, --rejoin for one that lost its disk: leave one out"
            )
        if self.no_start and not (self.init or self.rejoin):
            raise ConfigError("--no-start goes with --init or --rejoin: it ends when that is done")
        if self.rejoin and not self.peers:
            raise ConfigError(
                "a cluster of one has no other node to re-admit it: leave --rejoin out"
            )
        if len(self.peers) + 1 > NODES_MAX:
            raise ConfigError(
                f"a cluster has at most {NODES_MAX} nodes, this one would have "
                f"{len(self.peers) + 1}"
            )
        if self.credential is None and not self.insecure:
            self._require_loopback()
        self._check_web()

    def _check_web(self) -> None:
        """Refuse a page that strangers could use, or that could let nobody in."""
        if self.web is None:
            return
        if self.credential is None and not self.web.is_loopback:
            raise ConfigError(
                f"the page at {self.web} would let everybody in who can reach it: without a "
                "credential it is served on this machine alone, for example --web 127.0.0.1:8080"
            )
        if self.credential is not None and self.given_broker:
            raise ConfigError(
                "--web lets people in by the broker's port for passwords, which --given-broker "
                "may not have: leave one out"
            )
        if not 1 <= self.web_upload_max_bytes <= 1 << 40:
            raise ConfigError("--web-upload-mb is 1 or more")

    def _require_loopback(self) -> None:
        """Refuse to be open to other machines by mistake."""
        for what, at in (("broker", self.listen), ("blob store", self.blobs)):
            if not at.is_loopback:
                # What listens everywhere is reached at an address that only its owner knows.
                host = "ADDRESS" if at.is_wildcard else at.host
                raise ConfigError(
                    f"the {what} of {self.name} would be open to everybody who can reach {at}. "
                    f"Make the cluster's certificates, `workrs init DIRECTORY "
                    f"{self.name}={host} …`, and start with --credential "
                    f"DIRECTORY/nodes/{self.name}; or say --insecure if that is wanted"
                )

    @property
    def broker_folder(self) -> Path:
        """Return where its Mosquitto's files are."""
        return self.state_dir / "mosquitto"

    @property
    def kept_lists_folder(self) -> Path:
        """Return where lists of the revoked are that came over the bus."""
        return self.state_dir / "trust"

    @property
    def own_broker(self) -> Address:
        """Return where the daemon reaches its broker: a socket file, if others need names."""
        if self.credential is None or self.given_broker:
            return self.listen
        return own_socket(self.broker_folder)

    @property
    def nodes(self) -> tuple[ClientId, ...]:
        """Return the names of all nodes, in the same order everywhere."""
        return tuple(sorted(ClientId(name) for name in (self.name, *self.peers)))

    @property
    def ledger_path(self) -> Path:
        """Return where the database is."""
        return self.state_dir / "ledger.db"

    @property
    def public_blobs_url(self) -> str:
        """Return the URL under which others fetch this node's blobs."""
        scheme = "http" if self.credential is None else "https"
        return self.blobs_url or f"{scheme}://{self.blobs}"
