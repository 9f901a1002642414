"""Goal: a URL of a store is understood or refused, and never shows a secret to the bus."""

from __future__ import annotations

import pytest

from workrs.adapters.stores.address import shared_location, store_address
from workrs.adapters.stores.folder import FolderStore
from workrs.domain.errors import ConfigError, StoreError

GOOD = {
    "file:///mnt/shared/workrs": "file:///mnt/shared/workrs",
    "file:///mnt/a%20b/": "file:///mnt/a%20b",
    "s3://bucket": "s3://bucket",
    "s3://bucket/a/b/": "s3://bucket/a/b",
    "gs://bucket/a": "gs://bucket/a",
    "az://container/a": "az://container/a",
}
BAD = [
    "",
    "x",
    "ftp://host/x",
    "file://host/x",
    "file:x",
    "file:///a/../b",
    "s3://",
    "s3:///a",
    "s3://bucket/../other",
    "http://",
    "http://[::1",
    "http://a..b:7001",
    f"https://{'a' * 64}.example",
]
SECRET = [
    "s3://key:secret@bucket/a",
    "az://container/a?sig=secret",
    "http://user@host",
    "gs://bucket#secret",
]


@pytest.mark.parametrize(("url", "location"), GOOD.items())
def test_one_store_has_one_location(url: str, location: str) -> None:
    assert shared_location(url) == location
    assert shared_location(location) == location


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="no blob store"):
        store_address(url)


@pytest.mark.parametrize("url", SECRET)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(StoreError, match="environment") as caught:
        store_address(url)
    assert "secret" not in str(caught.value)


def test_a_node_is_no_store_of_its_own() -> None:
    assert not store_address("http://127.0.0.1:7001").is_shared
    for url in ("http://127.0.0.1:7001", "ftp://x"):
        with pytest.raises(ConfigError, match="s3://BUCKET"):
            shared_location(url)


def test_a_folder_s_path_is_decoded() -> None:
    assert str(store_address("file:///mnt/a%20b").path) == "/mnt/a b"


def test_a_folder_has_one_location_however_it_is_written() -> None:
    """Agents compare the location in a record with those of their configuration."""
    assert shared_location("file:///mnt/a b/") == shared_location("file:///mnt/a%20b")
    with_space = shared_location("file:///mnt/a b")
    assert FolderStore(store_address(with_space).path).location == with_space
