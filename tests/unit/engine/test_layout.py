"""Goal: an engine's paths and configuration keep their promises. Method: plain values."""

import json
from pathlib import Path

from workrs.engine.layout import EngineLayout, containerd_config, dockerd_config
from workrs.oci import RUNTIME_NAME, RUNTIME_PATH

LAYOUT = EngineLayout.of(Path("/data/engine-1"))


def test_sockets_are_short_however_long_the_data_folder_is() -> None:
    layout = EngineLayout.of(Path("/very" * 60))
    assert len(str(layout.socket)) < 107
    assert len(str(layout.containerd_socket) + ".ttrpc") < 107


def test_a_folder_has_one_engine_and_two_folders_have_two() -> None:
    assert EngineLayout.of(Path("/data/engine-1")) == LAYOUT
    assert EngineLayout.of(Path("/data/engine-2")).run != LAYOUT.run
    assert EngineLayout.of(Path("/data/engine-2")).cgroup != LAYOUT.cgroup


def test_the_engine_lists_our_runtime_and_leaves_the_network_alone() -> None:
    config = json.loads(dockerd_config(LAYOUT))
    assert config["runtimes"] == {RUNTIME_NAME: {"path": str(RUNTIME_PATH)}}
    assert config["bridge"] == "none"
    assert not any(config[key] for key in ("iptables", "ip6tables", "ip-forward", "ip-masq"))
    assert "storage-driver" not in config


def test_nothing_of_the_engine_is_at_a_place_of_the_systems_engine() -> None:
    ours = (str(LAYOUT.data), str(LAYOUT.run))
    config = json.loads(dockerd_config(LAYOUT, storage_driver="vfs"))
    paths = [config[key] for key in ("containerd", "data-root", "exec-root", "pidfile")]
    assert all(path.startswith(ours) for path in paths)
    assert config["hosts"] == [LAYOUT.url]
    assert config["storage-driver"] == "vfs"
    for line in containerd_config(LAYOUT).splitlines():
        key, _, value = line.partition(" = ")
        assert key not in {"root", "state", "address"} or json.loads(value).startswith(ours)
