"""Two Docker Engines and an image for a test module, as two hosts would have them.

A test module imports the fixture by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from workrs.engine.image import build_image
from workrs.engine.own import OwnEngine, missing, own_engines

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """Two engines that have the same image."""

    a: OwnEngine
    b: OwnEngine
    image: str
    """This machine's Python, and a shell."""


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    why = missing()
    if why is not None:
        pytest.skip(why)
    with own_engines(2, tmp_path_factory.mktemp("engines")) as (a, b):
        image = build_image([a.url, b.url])
        yield Engines(a=a, b=b, image=image.image_id)
