"""Clients of object stores, and what their errors mean for a caller. Wraps obstore.

Credentials and endpoints are the environment's, under the names that the vendors' own tools
use; docs/stores.md lists them.
"""

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from obstore import exceptions
from obstore.store import from_url

from workrs.adapters.stores.address import StoreAddress
from workrs.domain.errors import StoreError
from workrs.ports.store import StoreRefusedError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

REQUEST_S: Final = 60.0
"""Most that one request may take. A part of 8 MiB passes in that time at 1.2 Mbit/s."""
_CONNECT_S: Final = 3.0
_RETRIES: Final = 2
_RETRY_S: Final = 15.0
"""No retry begins later than this after the first try."""
_BACKOFF_MAX_S: Final = 1.0
_TEXT_MAX: Final = 300
_VARIABLES: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")


def open_client(address: StoreAddress) -> "ObjectStore":
    """Return a client of the store at *address*; no connection is made.

    Raises:
        StoreError: the environment has what the library refuses.
    """
    client: ClientConfig = {
        # Plain HTTP is used only where the environment names such an endpoint.
        "allow_http": True,
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "timeout": timedelta(seconds=REQUEST_S),
    }
    retry: RetryConfig = {
        "max_retries": _RETRIES,
        "retry_timeout": timedelta(seconds=_RETRY_S),
        "backoff": {"max_backoff": timedelta(seconds=_BACKOFF_MAX_S)},
    }
    try:
        if address.scheme == "s3":
            return from_url(
                address.location,
                client_options=client,
                retry_config=retry,
                # S3 has no conditional copy; a multipart upload can end on a condition.
                config={"copy_if_not_exists": "multipart"},
            )
        return from_url(address.location, client_options=client, retry_config=retry)
    except (exceptions.BaseError, ValueError, OSError) as error:
        raise StoreError(f"{address.location} cannot be used: {_short(error)}") from error


def explained(location: str, error: Exception) -> StoreError:
    """Return what *error* means: a refusal that somebody must act on, or silence."""
    text = _short(error)
    scheme = location.partition(":")[0]
    if isinstance(error, FileNotFoundError):
        return StoreRefusedError(f"{location} has no such bucket or container: make it ({text})")
    if _is_denied(error):
        return StoreRefusedError(
            f"{location} refuses these credentials: see to {_VARIABLES[scheme]}, and that they may "
            f"read, write, list and delete ({text})"
        )
    if isinstance(error, NotImplementedError | exceptions.NotSupportedError):
        return StoreRefusedError(f"{location} cannot do what is needed of it: {text}")
    return StoreError(f"{location} does not answer: {text}")


def is_bucket_missing(error: FileNotFoundError) -> bool:
    """Return whether not the blob but the whole bucket is not there."""
    return any(sign in str(error) for sign in _NO_BUCKET)


def _is_denied(error: Exception) -> bool:
    kinds = exceptions.PermissionDeniedError | exceptions.UnauthenticatedError
    # Of lists and of deletions in bulk the library tells the status in words only.
    return isinstance(error, kinds) or re.search(r"status code: 40[13]\b", str(error)) is not None


def _short(error: Exception) -> str:
    """Return an error's own words without its backtrace, and without signatures in URLs."""
    first = str(error).partition("\n\nDebug source")[0]
    plain = re.sub(r"(https?://[^\s?\"']*)\?[^\s\"']*", r"\1", " ".join(first.split()))
    if "<Code>" in plain:
        # The server's XML says the same once more, at length.
        head, _, body = plain.partition("<?xml")
        code = re.search(r"<Code>([^<]*)</Code>", body or plain)
        message = re.search(r"<Message>([^<]*)", body)
        plain = f"{head.strip()} {code[1] if code else ''}: {message[1].strip() if message else ''}"
    return plain[:_TEXT_MAX]
