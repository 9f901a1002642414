"""Real object stores for a test session: an S3 server and an Azure server, on loopback.

A test module imports the fixtures by name. Its tests share the servers, so each takes a prefix
of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from workrs.testing import object_server
from workrs.testing.object_server import NoServerError, ObjectServer

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ObjectServer", "azurite", "seaweedfs"]


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    try:
        with object_server.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
            yield server
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    try:
        with object_server.azurite(tmp_path_factory.mktemp("azurite")) as server:
            yield server
    except NoServerError as error:
        pytest.skip(str(error))
