"""URLs of stores. Pure.

1. A location is shown to every client that may read records, so a URL that carries a
   password, a key or a signature is refused; credentials come from the environment.
2. One store has one location: without a slash at its end.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from workrs.domain.errors import ConfigError, StoreError

OBJECT_SCHEMES: Final = ("s3", "gs", "az")
NODE_SCHEMES: Final = ("http", "https")
FORMS: Final = "file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
_SHARED_SCHEMES: Final = ("file", *OBJECT_SCHEMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """A store's URL, taken apart."""

    scheme: str
    location: str
    """The URL as it is written into records."""
    path: Path
    """Of a folder; of no use for the others."""

    @property
    def is_shared(self) -> bool:
        """Return whether it belongs to no node."""
        return self.scheme in _SHARED_SCHEMES


def store_address(url: str) -> StoreAddress:
    """Take *url* apart.

    Raises:
        StoreError: it names no store, or carries what must not be shown.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        if host is not None and parts.scheme in NODE_SCHEMES:
            # An empty label, or one too long, would be an error of the resolver's, which nobody
            # expects: other agents name the stores that checkpoints lie in.
            host.encode("idna")
    except ValueError as error:
        raise StoreError(f"{url[:200]!r} is no blob store: {error}") from error
    if parts.username is not None or parts.query or parts.fragment:
        raise StoreError(
            f"{parts.scheme}://{host} is written with a user, a password or a query: everybody who "
            "sees the job would see them. Leave them to the environment (docs/stores.md)"
        )
    path = PurePosixPath(unquote(parts.path))
    match parts.scheme:
        case "file":
            is_good = not parts.netloc and path.is_absolute() and ".." not in path.parts
        case "http" | "https" | "s3" | "gs" | "az":
            is_good = host is not None and ".." not in path.parts
        case _:
            is_good = False
    if not is_good:
        raise StoreError(f"{url[:200]!r} is no blob store: http://…, https://…, {FORMS}")
    # A folder has one location, however its odd characters are written.
    location = Path(path).as_uri() if parts.scheme == "file" else url.rstrip("/")
    return StoreAddress(scheme=parts.scheme, location=location, path=Path(path))


def shared_location(url: str) -> str:
    """Return the location of a store that belongs to no node, or raise ConfigError."""
    try:
        address = store_address(url)
    except StoreError as error:
        raise ConfigError(str(error)) from error
    if not address.is_shared:
        raise ConfigError(f"{url[:200]!r} is no store of its own: {FORMS}")
    return address.location
