"""Goal: an engine that does not take an image is an error that says so, whoever noticed it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests
from docker.errors import DockerException

from workrs.domain.errors import ContainerError
from workrs.engine import image, image_files

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    "error", [DockerException("refused"), requests.exceptions.ReadTimeout("Read timed out")]
)
def test_an_engine_that_is_silent_is_told_like_one_that_refuses(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The SDK lets the errors of its connection through."""

    @contextmanager
    def client(_url: str) -> Iterator[None]:
        raise error
        yield

    monkeypatch.setattr(image_files, "collect", lambda _packages: {})
    monkeypatch.setattr(image, "_client", client)
    with pytest.raises(ContainerError, match="does not take the image"):
        image.build_image(["unix:///nowhere"])
