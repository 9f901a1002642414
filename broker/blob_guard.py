"""The door of a node's blob store: says who asks, asks the rules, and notes who was refused.

1. With credentials no request is served whose sender is not known, `/health` included.
2. Every refusal is counted, and logged with who and why; a flood of them is counted alone.
3. Nothing of a body, and of a path only what names may hold, gets into the log.
"""

import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from broker.blob_access import Access, Caller
from broker.blob_door import PER_CALLER_MAX, BlobDoor
from broker.blob_error import BlobBusyError, BlobError, BlobUnknownCallerError
from broker.blob_name import BlobName
from broker.line_limit import LineLimit
from workrs.adapters import log
from workrs.domain.errors import IdError

if TYPE_CHECKING:
    from workrs.domain.ids import ClientId, Epoch, JobId

LOG = log.get("node.blobs")
WRITERS_MAX: Final = 100_000
"""Who wrote at which epoch of which job. Beyond, the first is forgotten: what it wrote then goes
with its job."""
_PATH_MAX: Final = 200

Identify = Callable[[ssl.SSLObject | None, str], Awaitable[Caller | None]]
"""Names who asks, by the TLS connection and the Authorization header; None: nobody known."""
_CALLER: Final = web.RequestKey("caller", Caller)


class Guard:
    """Admits or refuses the requests of one blob store. For the event loop's thread alone."""

    def __init__(
        self,
        *,
        access: Access | None = None,
        identify: Identify | None = None,
        lines: LineLimit | None = None,
    ) -> None:
        """Know the rules.

        Args:
            access: who may do what; None: anybody everything, for a store without a node.
            identify: None: the cluster has no credentials, nobody is told apart.
            lines: bounds what refusals write into the log.
        """
        self._access = access
        self._identify = identify
        self._lines = lines or LineLimit()
        self._writers: dict[tuple[JobId, Epoch], ClientId] = {}
        self.door: BlobDoor | None = None
        """Which connections come by; set by the server that has one."""
        self.refused = 0
        """Requests refused since the start."""

    async def admit(self, request: web.Request) -> None:
        """Find out who asks; to be called before anything else of the request is looked at.

        Raises:
            BlobUnknownCallerError: the cluster has credentials, and these are nobody's.
            BlobBusyError: the caller has too many connections.
        """
        if _CALLER in request:
            return
        found = None
        if self._identify is not None:
            header = request.headers.get("Authorization", "")
            found = await self._identify(request.get_extra_info("ssl_object"), header)
            if found is None:
                raise BlobUnknownCallerError(
                    "show a certificate of this cluster, or name and password"
                )
        name = "" if found is None else found.name
        if self.door is not None and not self.door.admit(request.protocol, name):
            raise BlobBusyError(f"{found} has {PER_CALLER_MAX} connections: use or close these")
        if found is not None:
            request[_CALLER] = found

    def check_write(self, request: web.Request, name: BlobName) -> None:
        """Raise BlobError unless the sender may store *name*; note that it does."""
        caller = _caller(request)
        if self._access is not None:
            self._access.check_write(caller, name)
        if caller is not None and name.job is not None and name.epoch is not None:
            self._writers[name.job, name.epoch] = caller.name
            if len(self._writers) > WRITERS_MAX:
                del self._writers[next(iter(self._writers))]

    def check_delete(self, request: web.Request, name: BlobName) -> None:
        """Raise BlobError unless the sender may delete *name*."""
        caller = _caller(request)
        if self._access is None or caller is None or name.job is None or name.epoch is None:
            return
        is_writer = self._writers.get((name.job, name.epoch)) == caller.name
        self._access.check_delete(caller, name, is_writer=is_writer)

    def check_read(self, request: web.Request, job: str) -> None:
        """Raise BlobError unless the sender may read the blobs of *job*."""
        caller = _caller(request)
        if self._access is not None:
            self._access.check_read(caller, job)

    def check_read_input(self, request: web.Request, name: BlobName) -> None:
        """Raise BlobError unless the sender may read the input *name*."""
        caller = _caller(request)
        if self._access is not None:
            self._access.check_read_input(caller, name)

    def check_peer(self, request: web.Request) -> None:
        """Raise BlobError unless the sender is a node."""
        caller = _caller(request)
        if self._access is not None:
            self._access.check_peer(caller)

    def note_refusal(self, request: web.Request, error: BlobError | IdError) -> None:
        """Count a refusal, and log it while there is room in this second's lines."""
        self.refused += 1
        if not self._lines.take("blob_refused"):
            return
        LOG.warning(
            "blob_refused",
            who=_caller(request) or request.remote,
            what=f"{request.method} {request.path[:_PATH_MAX]}",
            status=error.status if isinstance(error, BlobError) else 404,
            why=str(error)[:_PATH_MAX],
        )


def _caller(request: web.Request) -> Caller | None:
    """Return who was admitted; None where the cluster has no credentials."""
    return request.get(_CALLER)
