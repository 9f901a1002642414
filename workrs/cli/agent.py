"""`workrs agent`: one agent, in the foreground."""

import logging
from argparse import Namespace
from pathlib import Path

from edge_agent.config import GRACE_S, LEAVE_POLL_S, RUNTIMES, AgentConfig
from workrs.adapters import log
from workrs.cli.connection import add_nodes_option, credential_of, member_name, nodes_of
from workrs.cli.node import (
    add_metrics_option,
    add_state_option,
    add_stores_option,
    state_directory,
)
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.domain.ids import client_id
from workrs.trust.kind import Kind


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "agent",
        "run an agent: claim jobs and run them",
        examples=(
            "workrs agent --name a1 --runtime process",
            "workrs agent --credential /etc/workrs/a2.pem \\",
            "    --checkpoint-key /etc/workrs/checkpoint.key --slots 4 --label gpu",
        ),
    )
    it.value(
        "--name",
        convert=client_id,
        metavar="NAME",
        help="this agent's name; default the credential's",
    )
    add_nodes_option(it)
    it.value(
        "--runtime",
        choices=RUNTIMES,
        default="docker",
        help="docker: containers of an engine; process: plain processes, where there is none; "
        "instant: nothing runs, every job succeeds with its input, for benchmarks",
    )
    it.value("--engine", metavar="URL", help="container engine; default the machine's usual one")
    it.value("--slots", convert=int, metavar="N", help="jobs at once; default one a core")
    it.value("--memory-mb", convert=int, metavar="MIB", help="most for one job; default all")
    it.many("--label", metavar="LABEL", help="what jobs may ask for: gpu, lab-3 …")
    it.value("--copies", convert=int, default=2, metavar="N", help="stores to keep a checkpoint")
    add_stores_option(it)
    it.value(
        "--checkpoint-key",
        convert=Path,
        metavar="FILE",
        help="keys that checkpoints are sealed with, the same on all agents: see workrs key",
    )
    it.value(
        "--grace",
        convert=seconds,
        default=GRACE_S,
        metavar="SECONDS",
        help="how long a stop may take to move its jobs; a service manager must wait longer",
    )
    it.flag("--offline", help="never fetch images from registries")
    it.many(
        "--allow-image",
        metavar="PATTERN",
        help="image that it runs, * for any characters, whatever the nodes let in; default all",
    )
    _add_leave_options(it)
    add_state_option(it)
    add_metrics_option(it)
    it.flag("--verbose", help="log details")
    return it


def _add_leave_options(it: Options) -> None:
    it.value(
        "--leave-when",
        metavar="COMMAND",
        help="run by a shell from time to time: when it ends with 0 the agent moves its jobs and "
        "takes none, until it ends with 1. For a battery that runs low",
    )
    it.value(
        "--leave-poll",
        convert=seconds,
        default=LEAVE_POLL_S,
        metavar="SECONDS",
        help="how often that command is run",
    )


def config(asked: Namespace) -> AgentConfig:
    """Return the agent's configuration, or raise ConfigError."""
    credential = credential_of(asked, Kind.AGENT)
    # What was not given has its default there, which depends on the machine.
    given = {
        name: value
        for name in ("slots", "memory_mb")
        if (value := getattr(asked, name)) is not None
    }
    return AgentConfig(
        name=member_name(asked, credential),
        nodes=nodes_of(asked, credential),
        credential=credential,
        state_dir=state_directory(asked),
        runtime=asked.runtime,
        engine=asked.engine or "",
        labels=tuple(asked.label),
        copies=asked.copies,
        stores=tuple(asked.store),
        checkpoint_key=asked.checkpoint_key,
        grace_s=asked.grace,
        leave_when=asked.leave_when or "",
        leave_poll_s=asked.leave_poll,
        pull=not asked.offline,
        metrics=asked.metrics,
        allowed_images=tuple(asked.allow_image),
        **given,
    )


def run(asked: Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    log.configure(level=logging.DEBUG if asked.verbose else logging.INFO)
    from edge_agent.__main__ import run_agent  # noqa: PLC0415 (the help needs none of it)

    return run_agent(config(asked))
