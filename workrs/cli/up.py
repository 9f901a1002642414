"""`workrs up`: a whole cluster on this machine, in the foreground, to try things with."""

import signal
import threading
from argparse import Namespace
from pathlib import Path

from rich.console import Console

from workrs.cli.cluster import (
    HOST,
    AgentPlan,
    ClusterPlan,
    LocalCluster,
    local_cluster,
    require_free,
)
from workrs.cli.options import Options
from workrs.cli.stage import Stage, stage
from workrs.domain.errors import ConfigError
from workrs.domain.job import digest_of
from workrs.ports.bus import PORT_MAX

PORT = 1883
BLOB_PORT_OFFSET = 6000
"""Added to the MQTT ports, so that clusters on different ports do not meet there either."""


def options() -> Options:
    """Describe the options of `workrs up`."""
    found = Options(
        "up",
        "run a local cluster in the foreground; Ctrl-C ends it",
        examples=(
            "workrs up                          # three nodes, two agents",
            "workrs up --nodes 1 --agents 1 --runtime process",
            "workrs up --web 8080               # with the page for people who upload jobs",
            "mosquitto_sub -t 'workrs/1/down/pump-7/#' -v &",
            "mosquitto_pub -t workrs/1/up/pump-7/run/echo/hello -m 'hello' -q 1",
        ),
    )
    # WORKRS_NODES are the addresses that all other commands talk to.
    found.value("--nodes", key="node_count", convert=int, default=3, help="nodes: 1, 3 or 5")
    found.value("--agents", convert=int, default=2, help="agents")
    found.value("--slots", convert=int, default=2, help="jobs an agent runs at once")
    found.value(
        "--runtime",
        default="auto",
        choices=("auto", "docker", "process"),
        help="where jobs run; auto: containers if an engine of ours can run here",
    )
    found.value("--port", convert=int, default=PORT, help="MQTT port of the first node")
    found.value(
        "--state",
        convert=Path,
        metavar="DIR",
        help="where the cluster keeps its disks, and goes on from them; "
        "default ~/.local/state/workrs/up",
    )
    found.value("--functions", convert=Path, help="functions file (default: a few examples)")
    found.value(
        "--web",
        convert=int,
        metavar="PORT",
        help="serve the page for people who upload jobs, on 127.0.0.1",
    )
    found.many(
        "--web-script",
        metavar="FUNCTION=FILE",
        help="let its visitors bring a script for a function; see workrs node",
    )
    return found


def run(asked: Namespace) -> int:
    """Run the cluster until it is told to stop."""
    asked.state = asked.state or Path("~/.local/state/workrs/up").expanduser()
    if asked.nodes not in (1, 3, 5):
        raise ConfigError(f"--nodes is {asked.nodes}: write 1, 3 or 5")
    if asked.agents < 0:
        raise ConfigError(f"--agents is {asked.agents}: write 0 or more")
    if asked.web is not None and not 1 <= asked.web <= PORT_MAX:
        raise ConfigError(f"--web is {asked.web}: write 1 to {PORT_MAX}")
    # Before an engine is started for nothing.
    require_free([*_ports(asked), *([] if asked.web is None else [asked.web])])
    console = Console(highlight=False)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    def say(text: str) -> None:
        console.print(f"[dim]{text} …[/]")

    with stage(asked.state, purpose=_purpose(asked.state), runtime=asked.runtime, say=say) as found:
        plan = _plan(asked, found)
        say(f"starting {asked.nodes} nodes and {asked.agents} agents")
        with local_cluster(plan, say=say, is_over=stop.is_set) as cluster:
            if not stop.is_set():
                _greet(console, cluster, found)
                if asked.web is not None:
                    console.print(f"\nUpload jobs in a browser: http://{HOST}:{asked.web}")
            _watch(console, cluster, stop)
            say("stopping")
    return 0


def _purpose(state: Path) -> str:
    """Return the name of the engine: each cluster has its own, or a second one could not start."""
    return f"up-{digest_of(str(state.absolute()).encode())[:8]}"


def _plan(asked: Namespace, found: Stage) -> ClusterPlan:
    agents = tuple(
        AgentPlan(
            name=f"a{i + 1}", runtime=found.runtime, engine=found.engine(i), slots=asked.slots
        )
        for i in range(asked.agents)
    )
    return ClusterPlan(
        root=asked.state,
        nodes=asked.nodes,
        agents=agents,
        ports=_ports(asked)[: asked.nodes],
        blob_ports=_ports(asked)[asked.nodes :],
        functions=asked.functions or found.functions,
        first_node_options=_web_options(asked),
    )


def _web_options(asked: Namespace) -> tuple[str, ...]:
    """Return what makes the first node serve the page."""
    if asked.web is None:
        return ()
    scripts = (word for each in asked.web_script for word in ("--web-script", each))
    return ("--web", f"{HOST}:{asked.web}", *scripts)


def _ports(asked: Namespace) -> tuple[int, ...]:
    """Return the MQTT ports of the nodes, then those of their blob stores."""
    highest = PORT_MAX - BLOB_PORT_OFFSET - asked.nodes + 1
    if not 1 <= asked.port <= highest:
        raise ConfigError(f"--port is {asked.port}: write 1 to {highest}")
    first = (asked.port, asked.port + BLOB_PORT_OFFSET)
    return tuple(port + node for port in first for node in range(asked.nodes))


def _greet(console: Console, cluster: LocalCluster, found: Stage) -> None:
    port = next(iter(cluster.addresses.values())).port
    where = f"-h {HOST} -p {port} " if port != PORT else ""
    node = "" if port == PORT else f" --node {HOST}:{port}"
    rung = f"Checkpoints: {found.rung.value}."
    if found.runtime == "process":
        rung += f"\nJobs run as plain processes, so only programs you trust: {found.why}."
    console.print(
        f"""
[bold green]The cluster runs.[/] Nodes: {", ".join(cluster.hosts)}.
{rung}
No passwords and no encryption: it listens on {HOST} only.
Logs: {cluster.plan.root / "logs"}

Watch what a device is told, in a second terminal:
  mosquitto_sub {where}-t 'workrs/1/down/pump-7/#' -v
Send raw bytes to a function, then a job of your own:
  mosquitto_pub {where}-q 1 -t workrs/1/up/pump-7/run/echo/job-1 -m hello
  mosquitto_pub {where}-q 1 -t workrs/1/up/pump-7/submit/job-2 \\
    -m '{{"image": "{found.image}", "command": ["sh", "-c", "sleep 3; date"]}}'
See all of it:
  workrs jobs{node}

[dim]Ctrl-C ends it. What is on its disks is there again at the next start.[/]""",
        soft_wrap=True,
    )


def _watch(console: Console, cluster: LocalCluster, stop: threading.Event) -> None:
    """Wait for the end; say when a member ends before it was told to."""
    told: set[str] = set()
    while not stop.wait(0.5):
        for name, member in cluster.members.items():
            if not member.is_running() and name not in told:
                told.add(name)
                assert member.process is not None
                console.print(
                    f"[red]{name} ended[/] with status {member.process.returncode}; "
                    f"its log: {member.log}"
                )
