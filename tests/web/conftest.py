"""Real clusters with a page: an open one of a node and an agent, and one with credentials."""

from __future__ import annotations

import shutil
import ssl
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.mosquitto_fixture import HOST
from tests.secure_cluster import SecureCluster, block_of_ports
from workrs.cli.cluster import (
    AgentPlan,
    ClusterPlan,
    LocalCluster,
    Member,
    free_ports,
    local_cluster,
)
from workrs.cli.main import main
from workrs.ports.bus import Address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPLOAD_MAX_BYTES = 2 << 20
_FUNCTIONS = """\
[echo]
description = "gives its input back"
image = "none"
command = ["cat", "/job/in/input"]
memory_mb = 64

[python]
description = "runs a script over data"
image = "none"
command = ["python3", "/job/in/main.py"]
memory_mb = 128
attempts_max = 1

[python.files]
"main.py" = "raise SystemExit('no script was brought')"

[theirs]
description = "of somebody else"
image = "none"
command = ["true"]
callers = ["other-*"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A cluster's page."""

    base: str
    folder: Path
    """Of the node that serves it."""
    log: Path
    cluster: LocalCluster
    secure: SecureCluster | None = None
    tls: ssl.SSLContext | None = None


def _words(port: int, host: str = HOST) -> tuple[str, ...]:
    words = ("--web", f"{host}:{port}", "--web-script", "python=main.py")
    return (*words, "--web-upload-mb", str(UPLOAD_MAX_BYTES >> 20))


@pytest.fixture(scope="package")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Run an open cluster with a page."""
    root = tmp_path_factory.mktemp("open")
    functions = root / "functions.toml"
    functions.write_text(_FUNCTIONS)
    (port,) = free_ports(1)
    plan = ClusterPlan(
        root=root / "cluster",
        nodes=1,
        agents=(AgentPlan(name="a1", slots=4),),
        functions=functions,
        first_node_options=_words(port),
    )
    with local_cluster(plan) as cluster:
        found = Page(
            base=f"http://{HOST}:{port}",
            folder=plan.root / "n1",
            log=cluster.members["n1"].log,
            cluster=cluster,
        )
        yield found
        assert "page_failed" not in found.log.read_text()


@pytest.fixture(scope="package")
def secure_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Run a node with credentials, whose page is there for other machines, too, and an agent."""
    root = tmp_path_factory.mktemp("s")
    folder, first = root / "farm", block_of_ports()
    blobs, port = free_ports(2)
    functions = root / "functions.toml"
    functions.write_text(_FUNCTIONS)
    assert main(("init", str(folder), f"n1={HOST}:{first}", "--user", "ann")) == 0
    local = LocalCluster(ClusterPlan(root=root), {"n1": Address(host=HOST, port=first)})
    it = SecureCluster(
        folder=folder,
        local=local,
        blobs={"n1": Address(host=HOST, port=blobs)},
    )
    shutil.copytree(folder / "nodes" / "n1", it.node_folder("n1"))
    node = ["node", "--credential", str(it.node_folder("n1")), "--init"]
    node += ["--blobs", f"{HOST}:{blobs}", "--functions", str(functions)]
    it.enrol("agent", "a1")
    agent = ["agent", "--credential", str(it.file("a1")), "--runtime", "process"]
    agent += ["--checkpoint-key", str(folder / "checkpoint.key")]
    for name, words in (("n1", [*node, *_words(port, "0.0.0.0")]), ("a1", agent)):
        argv = [sys.executable, "-m", "workrs.cli.main", *words, "--state", str(root / name)]
        local.members[name] = Member(name, argv, root / "logs" / f"{name}.log")
        local.start(name)
    try:
        it.until(lambda: it.live() >= {"n1", "a1"}, within_s=60)
        yield Page(
            base=f"https://{HOST}:{port}",
            folder=root / "n1",
            log=local.members["n1"].log,
            cluster=local,
            secure=it,
            tls=ssl.create_default_context(cadata=it.credential("ann").authority),
        )
        assert "page_failed" not in local.members["n1"].log.read_text()
    finally:
        local.stop()
        for member in local.members.values():
            print(member.log.read_text(errors="replace")[-3_000:])  # noqa: T201 -- on failure
