"""Goal: stores that cannot work, or would be read by others, are refused with the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config import AgentConfig
from workrs.cli import agent, node
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address

HERE = (Address(host="127.0.0.1", port=1883),)


def config(*stores: str, key: Path | None = None) -> AgentConfig:
    return AgentConfig(
        name="a1", nodes=HERE, state_dir=Path("x"), stores=stores, checkpoint_key=key
    )


@pytest.mark.parametrize("url", ["ftp://x", "http://127.0.0.1:1", "s3://key:secret@bucket", ""])
def test_what_is_no_shared_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        config(url)


def test_a_bucket_needs_a_key_and_a_folder_beside_loopback_nodes_none() -> None:
    with pytest.raises(ConfigError, match="--checkpoint-key"):
        config("s3://bucket")
    assert config("s3://bucket", key=Path("key")).stores == ("s3://bucket",)
    assert config("file:///mnt/shared").stores == ("file:///mnt/shared",)


def test_a_checkpoint_names_at_most_five_stores() -> None:
    urls = [f"file:///mnt/{number}" for number in range(6)]
    with pytest.raises(ConfigError, match="at most 5"):
        config(*urls)
    assert len(config(*urls[:5]).stores) == 5


def test_one_key_of_a_file_tells_nodes_and_agents_of_the_stores(tmp_path: Path) -> None:
    file = tmp_path / "workrs.toml"
    file.write_text('stores = ["file:///mnt/shared/"]\n')
    words = ["--config", str(file), "--name", "x", "--state", str(tmp_path)]
    assert agent.config(agent.options().parse(words, environ={})).stores == ("file:///mnt/shared",)
    assert node.config(node.options().parse(words, environ={})).stores == ("file:///mnt/shared",)
