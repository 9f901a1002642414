"""A whole cluster on this machine: the very programs of a real deployment, as processes.

`workrs up`, the demo, the bench and the acceptance tests start it. Every member is
`workrs node …` or `workrs agent …` with nothing but options a person could type.

1. Members die with the process that started them, however it dies.
2. `stop` ends each by SIGTERM, and by SIGKILL what does not listen; nothing is left.
3. Logs go to one file a member, below the cluster's folder.
"""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from workrs.cli.ready import missing
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address

HOST = "127.0.0.1"
GRACE_S = 10.0
"""Of its agents. When all are stopped there is nowhere to move a job, and somebody waits."""
STOP_S = 15.0
"""Until a member is killed; above the grace and what an agent needs to kill and remove."""
CHECKPOINT_KEY = "checkpoint.key"
"""File in the cluster's folder with the keys that its agents seal checkpoints with."""
READY_S = 120.0
"""A member that ends is told at once; those that still start may be on a slow or busy machine."""
SAY_S = 5.0
"""How often it is said what a cluster that starts waits for."""
_PORTS = range(10_000, 32_768)
"""Above those of services, below those that Linux chooses."""
_FIRST = secrets.randbelow(len(_PORTS))
_UNUSED_PORTS = cycle((*_PORTS[_FIRST:], *_PORTS[:_FIRST]))
"""From anywhere on, as other processes look for ports, too; given out once a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPlan:
    """One agent to start."""

    name: str
    runtime: str = "process"
    engine: str = ""
    """URL of a Docker Engine, for the docker runtime."""
    slots: int = 2
    labels: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Further options of `workrs agent`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a member runs, if not simply here."""

    host: str = HOST
    """The address that others reach it at."""
    prefix: tuple[str, ...] = ()
    """Words before its command, for example `nsenter --net=… --`. It must exec, not fork."""


_HERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """What to start, where."""

    root: Path
    nodes: int = 3
    agents: tuple[AgentPlan, ...] = ()
    ports: tuple[int, ...] = ()
    """MQTT port of each node; empty: free ones."""
    blob_ports: tuple[int, ...] = ()
    functions: Path | None = None
    given_brokers: bool = False
    """Somebody else's brokers listen at `ports`."""
    node_options: tuple[str, ...] = ()
    """Further options of `workrs node`."""
    first_node_options: tuple[str, ...] = ()
    """Further options of the first node alone."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where members run that do not run here, by name: n1, n2, … and the agents' names."""

    def place(self, name: str) -> Place:
        """Return where a member runs."""
        return self.places.get(name, _HERE)


@dataclass(slots=True)
class Member:
    """One program of the cluster."""

    name: str
    argv: list[str]
    log: Path
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process id of the running program."""
        assert self.process is not None
        return self.process.pid

    def is_running(self) -> bool:
        """Return whether the program runs."""
        return self.process is not None and self.process.poll() is None


@dataclass(slots=True)
class LocalCluster:
    """Members by name. Made by `local_cluster`."""

    plan: ClusterPlan
    addresses: dict[str, Address] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def node_names(self) -> list[str]:
        """Return the nodes' names: n1, n2, …."""
        return list(self.addresses)

    @property
    def hosts(self) -> list[str]:
        """Return the nodes' addresses as `host:port`, for clients."""
        return [str(address) for address in self.addresses.values()]

    def start(self, name: str) -> None:
        """Start one member, or start it again."""
        member = self.members[name]
        member.log.parent.mkdir(parents=True, exist_ok=True)
        with member.log.open("ab") as log:
            member.process = subprocess.Popen(
                [*_dying_with_parent(), *member.prefix, *member.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_own_environment(),
                start_new_session=True,
            )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to one member; wait for its end if it is SIGKILL."""
        member = self.members[name]
        assert member.process is not None
        member.process.send_signal(number)
        if number == signal.SIGKILL:
            member.process.wait()

    def stop(self) -> None:
        """End all members, agents first so that they can hand their jobs over."""
        agents = [m for m in self.members.values() if m.name not in self.addresses]
        nodes = [m for m in self.members.values() if m.name in self.addresses]
        for group in (agents, nodes):
            for member in group:
                if member.is_running():
                    assert member.process is not None
                    member.process.send_signal(signal.SIGCONT)
                    member.process.terminate()
            for member in group:
                _end(member)

    def broker_pid(self, node: str) -> int:
        """Return the process id of a node's Mosquitto."""
        pid = self.members[node].pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            try:
                if Path(f"/proc/{child}/comm").read_text().strip() == "mosquitto":
                    return int(child)
            except OSError:
                continue  # it has just ended
        raise ConfigError(f"node {node} runs no broker of its own")


def _end(member: Member) -> None:
    if member.process is None:
        return
    try:
        member.process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        member.process.kill()
        member.process.wait()


def _dying_with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _own_environment() -> dict[str, str]:
    """Return the environment without what configures other members: the plan says it all."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WORKRS_")}
    return {**kept, "WORKRS_CONFIG": os.devnull}


def free_ports(count: int) -> tuple[int, ...]:
    """Return TCP ports of the loopback interface that nobody listens at, none twice.

    Below those that the kernel chooses, for connections and for who wants any port: what is started
    again finds its own free.
    """
    return tuple(islice(filter(_is_free, _UNUSED_PORTS), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def require_free(ports: Sequence[int]) -> None:
    """Raise ConfigError if somebody listens at one of *ports*."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise ConfigError(
                    f"port {port} of {HOST} is taken ({error.strerror}): "
                    "stop what listens there, or choose other ports"
                ) from None


def _program(*words: str) -> list[str]:
    return [sys.executable, "-m", "workrs.cli.main", *words]


def _plan_members(plan: ClusterPlan) -> LocalCluster:
    ports = plan.ports or free_ports(plan.nodes)
    blob_ports = plan.blob_ports or free_ports(plan.nodes)
    names = [f"n{i + 1}" for i in range(plan.nodes)]
    if not plan.places:
        require_free(blob_ports if plan.given_brokers else (*ports, *blob_ports))
    addresses = {
        name: Address(host=plan.place(name).host, port=port)
        for name, port in zip(names, ports, strict=True)
    }
    cluster = LocalCluster(plan, addresses)
    # Elsewhere than here: in network namespaces, which nobody else can reach.
    is_here = all(address.is_loopback for address in addresses.values())
    insecure = [] if is_here else ["--insecure"]
    for name, blob_port in zip(names, blob_ports, strict=True):
        peers = [w for p in names if p != name for w in ("--peer", f"{p}={addresses[p]}")]
        functions = ["--functions", str(plan.functions)] if plan.functions else []
        words = ["node", "--name", name, "--listen", str(addresses[name]), *peers, *functions]
        words += [
            "--blobs",
            f"{plan.place(name).host}:{blob_port}",
            "--state",
            str(plan.root / name),
            "--init",
        ]
        words += ["--given-broker"] if plan.given_brokers else []
        words += insecure
        first = plan.first_node_options if name == names[0] else ()
        _add(cluster, name, [*words, *plan.node_options, *first])
    for position, agent in enumerate(plan.agents):
        # Agents begin at different nodes, so that the death of one does not move them all.
        turn = position % len(names)
        order = [*names[turn:], *names[:turn]]
        words = ["agent", "--name", agent.name, "--runtime", agent.runtime]
        words += [w for n in order for w in ("--node", str(addresses[n]))]
        words += ["--engine", agent.engine] if agent.engine else []
        words += [w for label in agent.labels for w in ("--label", label)]
        words += ["--slots", str(agent.slots), "--state", str(plan.root / agent.name)]
        words += ["--checkpoint-key", str(plan.root / CHECKPOINT_KEY)]
        words += ["--grace", f"{GRACE_S:g}", *insecure]
        _add(cluster, agent.name, [*words, *agent.options])
    return cluster


def _add(cluster: LocalCluster, name: str, words: list[str]) -> None:
    log = cluster.plan.root / "logs" / f"{name}.log"
    prefix = cluster.plan.place(name).prefix
    cluster.members[name] = Member(name, _program(*words), log, prefix)


@contextmanager
def local_cluster(
    plan: ClusterPlan,
    *,
    say: Callable[[str], None] = lambda _text: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[LocalCluster]:
    """Run a cluster while the context lasts; it is ready when the context is entered.

    Args:
        plan: what to start, where.
        say: told from time to time what is still waited for.
        is_over: whether nobody wants it any more; then the context is entered at once.

    Raises:
        ConfigError: a port is taken, a member ended, its last lines are told, or the members were
            not ready in time.
    """
    plan.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_key(plan)
    cluster = _plan_members(plan)
    try:
        for name in cluster.members:
            cluster.start(name)
        asyncio.run(wait_ready(cluster, say=say, is_over=is_over))
        yield cluster
    finally:
        cluster.stop()


def _make_key(plan: ClusterPlan) -> None:
    """Make the keys of a new cluster; one that goes on from its disks has them."""
    path = plan.root / CHECKPOINT_KEY
    if plan.agents and not path.exists():
        from edge_agent.checkpoint.keys import new_ring, write_keys  # noqa: PLC0415

        write_keys(path, new_ring())


async def wait_ready(
    cluster: LocalCluster,
    timeout_s: float = READY_S,
    *,
    say: Callable[[str], None] = lambda _text: None,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until every node sees every node, and a majority of them every agent.

    Raises:
        ConfigError: a member ended, or the time is up; the text says what was missing.
    """
    wanted = {m.name for m in cluster.members.values() if m.is_running()}
    clock = asyncio.get_running_loop().time
    say_at = clock() + SAY_S
    lack = "no node was asked"
    try:
        async with asyncio.timeout(timeout_s):
            for name in [n for n in cluster.addresses if n in wanted]:
                while lack := await missing(cluster.addresses, name, wanted):
                    _require_alive(cluster, wanted)
                    if is_over():
                        return
                    if clock() >= say_at:
                        say(f"waiting: {lack}")
                        say_at = clock() + SAY_S
                    await asyncio.sleep(0.05)
    except TimeoutError:
        raise ConfigError(
            f"after {timeout_s:g} s the cluster was not ready: {lack}, though all of its members "
            f"run. Their logs, in {cluster.plan.root / 'logs'}, say what each does"
        ) from None


def _require_alive(cluster: LocalCluster, wanted: set[str]) -> None:
    for name in wanted:
        member = cluster.members[name]
        if not member.is_running():
            last = member.log.read_text(errors="replace").strip().splitlines()[-5:]
            raise ConfigError(f"{name} ended at its start: " + " | ".join(last))
