"""Goal: a witness that broke is no witness that saw nothing.

Method: eyes whose engine is not there, and eyes whose look fails.
"""

import threading
from collections.abc import Iterator

import docker
import pytest
from docker.errors import DockerException

from workrs.faults import evidence
from workrs.faults.evidence import BlindError, ContainerEyes


def test_an_engine_that_cannot_be_asked_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*, base_url: str) -> None:
        raise DockerException(base_url)

    monkeypatch.setattr(docker, "DockerClient", refuse)
    eyes = ContainerEyes(["unix:///none.sock"], lambda: 0.0)
    assert eyes.runs() == []
    with eyes.running():
        pass
    with pytest.raises(BlindError, match="container-names"):
        eyes.runs()


def test_a_look_that_fails_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()

    def fail() -> Iterator[str]:
        looked.set()
        raise ValueError("junk in /proc")
        yield

    monkeypatch.setattr(evidence, "_unfrozen", fail)
    monkeypatch.setattr(ContainerEyes, "_ask", lambda _eyes, _engine: None)
    eyes = ContainerEyes(["unix:///none.sock"], lambda: 0.0)
    with eyes.running():
        assert looked.wait(60.0)
    with pytest.raises(BlindError, match="container-eyes: ValueError"):
        eyes.runs()
