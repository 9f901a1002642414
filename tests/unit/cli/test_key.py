"""Goal: keys are made and changed without ever being shown, and never where others can read them.

Method: the command, on files of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_agent.checkpoint.keys import KEYS_MAX, read_keys
from edge_agent.config import AgentConfig
from workrs.cli.main import main
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_added_to_and_turned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.key"
    assert main(["key", "make", str(path)]) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    [first] = read_keys(path).keys
    assert main(["key", "add", str(path)]) == 0
    old, new = read_keys(path).keys
    assert old == first
    assert main(["key", "turn", str(path)]) == 0
    assert read_keys(path).keys == (new, old)
    assert main(["key", "show", str(path)]) == 0
    said = capsys.readouterr().out
    assert new.id.hex() in said
    assert new.secret.hex() not in said
    assert new.secret.hex() not in repr(read_keys(path))


def test_a_key_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.key"
    assert main(["key", "make", str(path)]) == 0
    before = path.read_bytes()
    assert main(["key", "make", str(path)]) == 2
    assert path.read_bytes() == before


def test_there_is_an_end_to_adding(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.key"
    codes = [main(["key", "make" if not n else "add", str(path)]) for n in range(KEYS_MAX + 1)]
    assert codes == [0] * KEYS_MAX + [2]
    assert len(read_keys(path).keys) == KEYS_MAX


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "checkpoint.key"
    assert main(["key", "make", str(path)]) == 0
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_keys(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key " + "0" * 64,
        "cluster " + "0" * 32,
        "cluster " + "0" * 32 + "\nkey " + "0" * 63,
        "cluster " + "0" * 32 + "\ncluster " + "1" * 32 + "\nkey " + "0" * 64,
        "cluster " + "0" * 32 + "\nkey " + "0" * 64 + "\nswordfish",
        "\xff\xfe",
    ],
)
def test_what_is_no_key_is_refused_without_saying_what_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "checkpoint.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is no checkpoint key") as caught:
        read_keys(path)
    assert "swordfish" not in str(caught.value)


def test_a_key_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(tmp_path / "none")


def test_without_a_key_an_agent_stays_on_its_machine(tmp_path: Path) -> None:
    here = [Address(host=host, port=1883) for host in ("127.0.0.1", "localhost", "::1")]
    AgentConfig(name="a1", nodes=tuple(here), state_dir=tmp_path, runtime="process")
    away = (*here, Address(host="10.0.0.1", port=1883))
    with pytest.raises(ConfigError, match="--checkpoint-key"):
        AgentConfig(name="a1", nodes=away, state_dir=tmp_path, runtime="process")
    AgentConfig(
        name="a1", nodes=away, state_dir=tmp_path, runtime="process", checkpoint_key=tmp_path
    )
