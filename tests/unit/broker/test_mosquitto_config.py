"""Goal: the rendered configuration keeps the bridge rules, and nothing can be smuggled in.

Method: parse the text into lines of words; a real Mosquitto accepts it in integration/.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from broker.mosquitto import write_private
from broker.mosquitto_config import RELAYED, Peer, render
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address

LISTENER = Address(host="127.0.0.1", port=18831)
PEERS = [
    Peer(name="n2", address=Address(host="127.0.0.1", port=18832)),
    Peer(name="n3", address=Address(host="node3.example", port=18833)),
]
TEMPLATES = sorted((Path(__file__).parents[3] / "mosquitto").glob("*.conf"))


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_a_cluster_of_one_has_no_bridge() -> None:
    lines = settings(render(node="n1", listener=LISTENER))
    assert "listener 18831 127.0.0.1" in lines
    assert not any(line.startswith(("connection ", "topic ")) for line in lines)


def test_each_bridge_goes_one_way_under_the_name_of_its_origin() -> None:
    text = render(node="n1", listener=LISTENER, peers=PEERS)
    lines = settings(text)
    assert [line for line in lines if line.startswith("topic ")] == 2 * [
        *(f"topic {up} out 1 workrs/1/up/ workrs/1/relay/n1/" for up in RELAYED),
        "topic workrs/1/node/n1/# out 1",
    ]
    assert [line for line in lines if line.startswith("address ")] == [
        "address 127.0.0.1:18832",
        "address node3.example:18833",
    ]
    assert not re.search(r"\b(both|in) [012]\b", text)


def test_names_of_connections_differ_within_a_broker_and_at_a_peer() -> None:
    lines = settings(render(node="n1", listener=LISTENER, peers=PEERS))
    local = [line for line in lines if line.startswith(("connection ", "local_clientid "))]
    assert len(set(local)) == len(local) == 4
    other = settings(render(node="n2", listener=LISTENER, peers=[PEERS[1]]))
    remote = {line for line in (*lines, *other) if line.startswith("remote_clientid ")}
    assert remote == {"remote_clientid bridge-n1", "remote_clientid bridge-n2"}


@pytest.mark.parametrize("word", ["", "n 1", "n1\nuser root", "#", "a/b", "+", "n1\0"])
def test_a_name_that_is_no_single_word_is_refused(word: str) -> None:
    with pytest.raises(ConfigError):
        render(node=word, listener=LISTENER)
    with pytest.raises(ConfigError):
        render(node="n1", listener=Address(host=word, port=1))
    with pytest.raises(ConfigError):
        render(node="n1", listener=LISTENER, peers=[Peer(name=word, address=LISTENER)])


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_setting_stands_below_its_reason(template: Path) -> None:
    is_explained = False
    for line in template.read_text().splitlines():
        if not line:
            is_explained = False
        elif line.startswith("#"):
            is_explained = True
        else:
            assert is_explained, line


def test_the_file_is_for_its_owner_alone_even_if_it_was_open_before(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    (folder / "a.conf").write_text("old")
    (folder / "a.conf").chmod(0o644)
    path = write_private(folder, "a.conf", "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = write_private(tmp_path / "made", "a.conf", "x")
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
