"""Starting a site: stage, network, cluster, recorder and load, in this order."""

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from workrs.cli.cluster import AgentPlan, ClusterPlan, LocalCluster, local_cluster
from workrs.cli.leftover import unmount_below
from workrs.cli.stage import Stage, stage
from workrs.domain.errors import ConfigError
from workrs.faults import beads
from workrs.faults.diary import Diary, local_day_s
from workrs.faults.evidence import ContainerEyes
from workrs.faults.load import Load
from workrs.faults.net import Network, open_network
from workrs.faults.plan import SitePlan
from workrs.faults.site import Site
from workrs.faults.trace import Recorder

SMALL_DISK_MB = 64

_BEADS = """
[beads]
description = "beads on a string, for the fault matrix"
image = {image}
command = ["python3", "/job/in/main.py"]
memory_mb = 64
env = {{ EVIDENCE = {evidence} }}

[beads.files]
"main.py" = {program}
"""


@contextmanager
def open_site(
    plan: SitePlan,
    root: Path,
    *,
    seed: int,
    patience: float = 1.0,
    say: Callable[[str], None] = lambda _text: None,
) -> Iterator[Site]:
    """Run a site below *root* while the context lasts; it is healthy when entered.

    Raises:
        WorkrsError: something did not start; the text says what.
    """
    with ExitStack() as stack:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / "evidence").mkdir(exist_ok=True)
        (root / "outboxes").mkdir(exist_ok=True)
        kind = "docker" if plan.runtime == "docker" else "process"
        scene = stack.enter_context(
            stage(root / "stage", purpose="faults", runtime=kind, engines=plan.engines, say=say)
        )
        names = _names(plan)
        net = stack.enter_context(open_network(names)) if plan.net else None
        if plan.small_disks:
            for node in names[: plan.nodes]:
                stack.enter_context(_small_disk(root / "cluster" / node))
        cluster_plan = _cluster_plan(plan, root, scene, net)
        stack.callback(unmount_below, root / "cluster")
        say(f"starting {plan.nodes} nodes and {plan.agents} agents")
        cluster = stack.enter_context(local_cluster(cluster_plan))
        site = stack.enter_context(
            _site(cluster, plan, root=root, scene=scene, net=net, seed=seed, patience=patience)
        )
        yield site


@contextmanager
def _site(
    cluster: LocalCluster,
    plan: SitePlan,
    *,
    root: Path,
    scene: Stage,
    net: Network | None,
    seed: int,
    patience: float,
) -> Iterator[Site]:
    trace = Recorder(cluster.addresses, root / "trace.jsonl")
    diary = Diary(root / "cluster" / "logs", local_day_s() - trace.now_s)
    load = Load(plan=plan.load, clock=lambda: trace.now_s)
    site = Site(
        plan=plan,
        root=root,
        cluster=cluster,
        stage=scene,
        trace=trace,
        rng=random.Random(seed),  # noqa: S311 (chooses victims, keeps no secret)
        load=load,
        diary=diary,
        eyes=ContainerEyes(scene.engines, lambda: trace.now_s),
        net=net,
        patience=patience,
    )
    with trace.running(), site.eyes.running():
        for name in cluster.members:
            trace.process(name, "start", cluster.members[name].pid)
        try:
            for number in range(plan.load.devices):
                turn = number % plan.nodes
                order = [*site.nodes[turn:], *site.nodes[:turn]]
                name = f"load-{number + 1}"
                load.devices.append((name, site.device(name, order)))
            site.until_healthy()
            with load.running():
                yield site
        finally:
            site.close_devices()


def _names(plan: SitePlan) -> list[str]:
    nodes = [f"n{i + 1}" for i in range(plan.nodes)]
    return [*nodes, *(f"a{i + 1}" for i in range(plan.agents))]


def _cluster_plan(plan: SitePlan, root: Path, scene: Stage, net: Network | None) -> ClusterPlan:
    functions = root / "functions.toml"
    functions.write_text(
        scene.functions.read_text()
        + _BEADS.format(
            image=_toml(scene.image),
            evidence=_toml(str(root / "evidence")),
            program=_toml(Path(beads.__file__).read_text()),
        )
        + plan.functions.replace("IMAGE", scene.image)
    )
    timing = plan.timing
    lease = {
        "--lease-ttl": timing.ttl_s,
        "--heartbeat-period": timing.heartbeat_period_s,
        "--lease-margin": timing.margin_s,
        "--reconnect-grace": timing.reconnect_grace_s,
    }
    agents = tuple(
        AgentPlan(
            name=f"a{i + 1}",
            runtime=plan.runtime,
            engine=scene.engine(i),
            slots=plan.slots,
            options=("--offline", "--grace", "3", *plan.agent_options),
        )
        for i in range(plan.agents)
    )
    return ClusterPlan(
        root=root / "cluster",
        nodes=plan.nodes,
        agents=agents,
        functions=functions,
        node_options=(
            *(word for flag, value in lease.items() for word in (flag, f"{value:g}")),
            *plan.node_options,
        ),
        places={name: net.place(name) for name in _names(plan)} if net else {},
    )


def _toml(value: str) -> str:
    # A JSON string of ASCII is a TOML basic string too.
    return json.dumps(value)


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """Mount a small file system of its own at *folder*; it needs root."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    size = f"size={SMALL_DISK_MB}m,mode=700"
    mount = ["mount", "-t", "tmpfs", "-o", size, "workrs", str(folder)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise ConfigError(f"no small disk for {folder.name}: {done.stderr.strip()}")
    try:
        yield
    finally:
        # What agents left is unmounted below the whole cluster before, this with it.
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)
