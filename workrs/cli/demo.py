"""`workrs demo`: the main job, end to end, with an agent and a broker killed on the way.

Everything is what a real deployment runs: the same programs, topics and disks. Only the
faults are staged.
"""

import json
import shutil
import signal
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from device_client import Result
from workrs.cli.cluster import AgentPlan, ClusterPlan, local_cluster
from workrs.cli.demo_audit import Audit, audit
from workrs.cli.demo_jobs import FIELD, SPARE, DemoJob, demo_jobs
from workrs.cli.demo_play import DEVICE, Play, Summary
from workrs.cli.demo_screen import DemoScreen
from workrs.cli.demo_tui import under_dashboard
from workrs.cli.leftover import unmount_below, wait_clean
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.stage import Stage, stage
from workrs.domain.errors import ConfigError


def options() -> Options:
    """Describe the options of `workrs demo`."""
    found = Options(
        "demo",
        "play the main job: agent and broker are killed, no job is lost",
        examples=(
            "workrs demo",
            "workrs demo --json summary.json   # the summary for machines",
            "workrs demo --tui                 # under the dashboard",
            "workrs demo --runtime process     # without a container engine",
        ),
    )
    found.value("--json", convert=Path, metavar="FILE", help="write the summary as JSON")
    found.value(
        "--runtime",
        default="auto",
        choices=("auto", "docker", "process"),
        help="where jobs run; auto: containers if an engine of ours can run here",
    )
    found.value("--long", convert=seconds, default=12.0, help="seconds of work of the long job")
    found.flag("--tui", help="show the dashboard while it is played; q leaves it")
    found.flag("--keep", help="keep the cluster's disks and logs afterwards, and say where")
    return found


def run(asked: Namespace) -> int:
    """Play the demo; 0 if every promise was kept."""
    if not 6 <= asked.long <= 600:
        raise ConfigError(f"--long is {asked.long:g}: write 6 to 600")
    if asked.json and not asked.json.parent.is_dir():
        raise ConfigError(f"cannot write {asked.json}: there is no folder {asked.json.parent}")
    # A terminal that is closed must not leave engines and brokers behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    if asked.tui and not sys.stdout.isatty():
        raise ConfigError("--tui needs a terminal")
    screen = DemoScreen(bars=not asked.tui)
    with ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="workrs-demo-"))
        if not asked.keep:
            stack.callback(shutil.rmtree, root, ignore_errors=True)
        stack.callback(unmount_below, root)
        summary, folders = _play(screen, root, asked)
        leftovers = wait_clean(root, *folders)
        for what in leftovers:
            screen.bad(f"left behind: {what}")
        kept = f"; its disks and logs are in {root}" if asked.keep else ""
        good = summary.kept_promises and not leftovers
        tell = screen.good if good else screen.bad
        tell(summary.line() + kept)
        if asked.json:
            document = {**asdict(summary), "leftovers": leftovers}
            asked.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if good else 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _play(screen: DemoScreen, root: Path, asked: Namespace) -> tuple[Summary, tuple[str, ...]]:
    screen.act("1  A cluster on this machine")
    with stage(root, purpose="demo", runtime=asked.runtime, engines=2, say=screen.say) as found:
        screen.say(f"checkpoints: {found.rung.value} ({found.why})")
        plan = _plan(root, found)
        jobs = demo_jobs(found.rung, long_s=asked.long)
        with local_cluster(plan) as cluster:
            ready_s = screen.elapsed_s
            screen.good(f"three brokers with their nodes, three agents: ready in {ready_s:.1f} s")
            with screen, Play(screen, cluster, found, root / "device.outbox") as play:
                acts = partial(_acts, play, jobs)
                results = under_dashboard(screen, cluster, acts) if asked.tui else acts()
        screen.act("6  The books")
        names = [f"{DEVICE}_{job.name}" for job in jobs]
        books = audit([root / name / "ledger.db" for name in cluster.node_names], names)
        _tell_audit(screen, books, len(names))
    return play.summary(results, books, setup_s=ready_s), found.folders


def _acts(play: Play, jobs: Sequence[DemoJob]) -> dict[str, Result]:
    play.send(jobs)
    play.kill_agent()
    play.kill_broker()
    results = play.collect(jobs)
    play.revive_agent()
    return results


def _plan(root: Path, found: Stage) -> ClusterPlan:
    def agent(name: str, engine: int, label: str) -> AgentPlan:
        return AgentPlan(
            name=name,
            runtime=found.runtime,
            engine=found.engine(engine),
            slots=4,
            labels=(label,),
        )

    # The two agents that may get the long job are on different engines: a takeover moves it.
    agents = (agent("edge-1", 0, FIELD), agent("edge-2", 1, FIELD), agent("edge-3", 0, SPARE))
    return ClusterPlan(root=root, nodes=3, agents=agents, functions=found.functions)


def _tell_audit(screen: DemoScreen, books: Audit, jobs: int) -> None:
    tell = screen.good if not books.lost and not books.doubled else screen.bad
    tell(
        f"three ledgers compared: {jobs} jobs, {books.lost} lost, "
        f"{books.doubled} with more than one outcome"
    )
