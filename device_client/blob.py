"""Inputs and results too big for a message: put to and got from the nodes' blob stores.

1. What is returned has the hash it was asked by, or an error is raised.
2. Nothing is read past `limit_bytes`, whatever a server says of its length.
3. The device's password goes to the nodes' stores only, never to another host.

All functions block; every one takes the longest time a single socket operation may last.
"""

import hashlib
import hmac
import http
import http.client
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from device_client.error import ResultTooLargeError, ResultUnavailableError
from workrs.domain.errors import StoreError
from workrs.domain.ids import is_digest

if TYPE_CHECKING:
    import ssl

BLOB_URL_PREFIX = "workrs:sha256/"
"""As in workrs.domain.job, which costs 7 ms to import."""
_CHUNK_BYTES = 64 * 1024


class InputRefusedError(StoreError):
    """Every store finds the input too big: no repetition will change that."""


class _AnsweredError(StoreError):
    """The server answered, and the answer is no."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Access(NamedTuple):
    """Who asks, and how the stores' certificates are checked."""

    username: str
    password: str | None = None
    tls: "ssl.SSLContext | None" = None

    def headers(self) -> dict[str, str]:
        """Return the headers that prove who asks; none without a password."""
        if self.password is None:
            return {}
        pair = f"{self.username}:{self.password}".encode()
        return {"Authorization": f"Basic {b64encode(pair).decode()}"}


def put_input(
    bases: Sequence[str], device: str, data: bytes, *, copies: int, access: Access, timeout_s: float
) -> None:
    """Store *data* at *copies* of *bases*, trying each once in order.

    Raises:
        InputRefusedError: All of them find it too big: trying again is in vain.
        StoreError: Fewer took it; those that did keep it, so trying again is cheap.
    """
    digest = hashlib.sha256(data).hexdigest()
    stored, too_big, failures = 0, 0, []
    for base in bases:
        if stored >= copies:
            break
        url = f"{base.rstrip('/')}/inputs/{device}/{digest}"
        try:
            if not _is_there(url, access, timeout_s):
                _put(url, data, access, timeout_s)
            stored += 1
        except InputRefusedError as error:
            too_big += 1
            failures.append(str(error))
        except StoreError as error:
            failures.append(str(error))
    if too_big and too_big == len(bases):
        raise InputRefusedError("; ".join(failures))
    if stored < copies:
        told = "; ".join(failures) or "no other store is known"
        raise StoreError(f"input stored at {stored} of {copies} nodes: {told}")


def _is_there(url: str, access: Access, timeout_s: float) -> bool:
    """Ask first: a repeated upload of megabytes would be sent in vain."""
    request = _request(url, access.headers(), method="HEAD")
    try:
        with _open(request, access.tls, timeout_s):
            return True
    except _AnsweredError:
        return False


def _put(url: str, data: bytes, access: Access, timeout_s: float) -> None:
    headers = {"Content-Type": "application/octet-stream", **access.headers()}
    request = _request(url, headers, method="PUT", data=data)
    try:
        with _open(request, access.tls, timeout_s):
            pass
    except _AnsweredError as error:
        if error.status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise InputRefusedError(str(error)) from None
        raise


def get_result(
    url: str,
    job: str,
    bases: Sequence[str],
    *,
    limit_bytes: int,
    access: Access,
    timeout_s: float,
) -> bytes:
    """Return a job's result from where *url* says it lies.

    Args:
        url: `workrs:sha256/<hex>`, got from any of *bases* and checked; or http(s), taken
            as it is, because such a URL names no hash.
        job: The job's id on the bus.
        bases: The nodes' blob stores, the first to answer rightly is enough.
        limit_bytes: A larger result is refused.
        access: Credentials for *bases*.
        timeout_s: For each socket operation.

    Raises:
        ResultTooLargeError: It is larger than that.
        ResultUnavailableError: No place gave it.
    """
    if not url.startswith(BLOB_URL_PREFIX):
        # A foreign host: no credentials, and the machine's own certificate authorities.
        return _get(url, {}, None, limit_bytes, timeout_s)
    digest = url.removeprefix(BLOB_URL_PREFIX)
    if not is_digest(digest):
        raise ResultUnavailableError(f"job {job}: the node names no valid result: {url[:100]!r}")
    failures = []
    for base in bases:
        place = f"{base.rstrip('/')}/blobs/{job}/{digest}"
        try:
            data = _get(place, access.headers(), access.tls, limit_bytes, timeout_s)
        except ResultTooLargeError:
            raise  # So it is everywhere.
        except ResultUnavailableError as error:
            failures.append(str(error))
            continue
        if hmac.compare_digest(hashlib.sha256(data).hexdigest(), digest):
            return data
        failures.append(f"{place}: the content does not have the hash it is named by")
    told = "; ".join(failures) or "no blob store is known"
    raise ResultUnavailableError(f"job {job}: result {digest} was not got: {told}")


def _request(
    url: str, headers: Mapping[str, str], *, method: str = "GET", data: bytes | None = None
) -> urllib.request.Request:
    """Return the request; StoreError for what is no address, as of a node that says nonsense."""
    try:
        return urllib.request.Request(url, data, dict(headers), method=method)  # noqa: S310 (the opener speaks http and https alone)
    except ValueError as error:
        raise StoreError(f"{url[:100]!r} is no address: {error}") from error


def _get(
    url: str,
    headers: Mapping[str, str],
    tls: "ssl.SSLContext | None",
    limit_bytes: int,
    timeout_s: float,
) -> bytes:
    parts, size = [], 0
    try:
        request = _request(url, headers)
        with _open(request, tls, timeout_s) as response:
            while chunk := response.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > limit_bytes:
                    raise ResultTooLargeError(f"{url}: more than {limit_bytes} bytes")
                parts.append(chunk)
            expected = response.headers.get("Content-Length")
    except StoreError as error:
        if isinstance(error, ResultUnavailableError):
            raise
        raise ResultUnavailableError(str(error)) from error
    if expected is not None and expected.isdigit() and int(expected) != size:
        raise ResultUnavailableError(f"{url}: cut off after {size} bytes")
    return b"".join(parts)


@contextmanager
def _open(
    request: urllib.request.Request, tls: "ssl.SSLContext | None", timeout_s: float
) -> Iterator[http.client.HTTPResponse]:
    """Open *request* by HTTP or HTTPS; StoreError for any failure.

    No file:, no proxy, and no redirect, which would carry the password to where it points.
    """
    if request.type not in ("http", "https"):
        raise StoreError(f"{request.full_url[:100]}: only http and https are fetched")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=tls),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=timeout_s) as response:
            yield response
    except urllib.error.HTTPError as error:
        with error:
            raise _AnsweredError(
                f"{request.full_url}: {error.code} {error.reason}", error.code
            ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StoreError(f"{request.full_url}: {error}") from error
