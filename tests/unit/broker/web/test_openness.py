"""Goal: a page that strangers could use does not start.

Method: the node's configuration, with the addresses and credentials that a person may give.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config import NodeConfig
from workrs.cli.web_options import place, script
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address

HERE = Address(host="127.0.0.1", port=1883)


def config(web: str, **more: object) -> NodeConfig:
    fields = {"name": "n1", "listen": HERE, "blobs": HERE, "state_dir": Path("x"), **more}
    return NodeConfig(web=Address(host=web, port=8080), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "n1.farm"])
@pytest.mark.parametrize("insecure", [False, True])
def test_without_a_credential_it_is_for_this_machine_alone(host: str, *, insecure: bool) -> None:
    with pytest.raises(ConfigError, match="would let everybody in"):
        config(host, insecure=insecure)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_the_loopback_interface_it_needs_none(host: str) -> None:
    assert config(host).web is not None


def test_with_a_credential_it_may_be_anywhere_but_behind_anothers_broker() -> None:
    assert config("0.0.0.0", credential=Path("n1")).web is not None
    with pytest.raises(ConfigError, match="given-broker"):
        config("127.0.0.1", credential=Path("n1"), given_broker=True)


def test_without_a_host_it_is_on_the_loopback_interface() -> None:
    assert place("8080") == Address(host="127.0.0.1", port=8080)
    assert place("10.0.0.1:8443") == Address(host="10.0.0.1", port=8443)
    assert place("[::1]:8080") == Address(host="::1", port=8080)
    for text in ("0", "65536", "10.0.0.1:x", ""):
        with pytest.raises(ConfigError):
            place(text)


def test_an_upload_has_some_room() -> None:
    with pytest.raises(ConfigError, match="web-upload-mb"):
        config("127.0.0.1", web_upload_max_bytes=0)


@pytest.mark.parametrize("text", ["python", "python=", "a/b=main.py", "=main.py"])
def test_a_script_is_for_a_file_of_a_function(text: str) -> None:
    assert script("python=main.py") == ("python", "main.py")
    with pytest.raises(ConfigError):
        script(text)
