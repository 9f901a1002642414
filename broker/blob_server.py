"""The node's blob store over HTTP: inputs, results and checkpoints too big for a message.

| request | answer |
|---|---|
| `PUT /blobs/{job}/{epoch}/{sha256}` | 201 stored, 200 was there, or a refusal below |
| `GET`, `HEAD /blobs/{job}/{sha256}` | the bytes, of whatever epoch; ranges work |
| `GET /blobs/{job}` | a line `EPOCH SHA256 BYTES` for each blob of the job |
| `DELETE /blobs/{job}/{epoch}/{sha256}` | 204, also when it was not there |
| `PUT /inputs/{device}/{sha256}`, `GET`, `HEAD` of the same | as above |
| `GET /health` | room left; 503 when there is none |
| `GET /ledger?generation=G` | for other nodes alone, see `broker.ledger_copy` |

A PUT is refused with 400 (the hash differs, or it was cut short), 408 (stalled), 409 (the job
is over), 413 (above the quota of one blob) or 507 (no room); then nothing of it is kept.
Anything else, bad ids included, is 404. Errors are JSON: `{"error": "sentence"}`.

1. Refusals that need no body (quota, already there) are sent before `100 Continue`.
2. Disk work is done in threads of the server's own, never in those of the ledger.
3. A body is held in memory 1 MiB at a time, however large it is; less where there are many.
4. Connections are bounded, those that nobody has shown himself on above all (`broker.blob_door`).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from aiohttp import web
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError

from broker import ledger_copy
from broker.blob_directory import BlobDirectory, BlobLimits
from broker.blob_door import FIRST_S, BlobDoor
from broker.blob_error import BlobBusyError, BlobError, BlobUnknownCallerError
from broker.blob_guard import Guard
from broker.blob_name import BlobName, checkpoint_name, input_name
from broker.blob_upload import Upload
from broker.ledger_copy import StaleGenerationError
from workrs.domain.errors import ConfigError, IdError, LedgerError

P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PIECE_BYTES: Final = 1 << 20
_PIECE_MIN_BYTES: Final = 64 << 10
_PIECES_MAX_BYTES: Final = 32 << 20
"""Of all uploads together, until there are so many that each has the least."""
_THREADS: Final = 4
_STOPPING_S: Final = 1.0
"""How long `stop` lets requests finish. An agent repeats what was cut."""


def _refusal(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def _named(request: web.Request) -> BlobName:
    found = request.match_info
    if "device" in found:
        return input_name(found["device"], found["digest"])
    return checkpoint_name(found["job"], found["epoch"], found["digest"])


class BlobServer:
    """Serves a `BlobDirectory`. `start` it, `stop` it, both once."""

    def __init__(
        self,
        root: Path,
        host: str,
        port: int,
        *,
        limits: BlobLimits | None = None,
        tls: ssl.SSLContext | None = None,
        stalled_s: float = 30.0,
        first_s: float = FIRST_S,
        ledger: Callable[[int], Iterator[bytes]] | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Open the directory; nothing listens yet.

        Args:
            root: where the blobs lie; made when missing.
            host: address to listen at, which others also use to reach it.
            port: TCP port; 0 for a free one, see `url`.
            limits: quotas.
            tls: serve HTTPS with this context.
            stalled_s: a sender silent for that long is given up.
            first_s: who has not shown who it is for that long is given up.
            ledger: what `GET /ledger` answers at a generation, line by line.
            guard: who may do what; None: anybody everything.

        Raises:
            BlobError: the directory cannot be used.
        """
        self.directory = BlobDirectory(root, limits)
        self._host = host
        self._port = port
        self._tls = tls
        self._stalled_s = stalled_s
        self._first_s = first_s
        self._ledger = ledger
        self._guard = guard or Guard()
        self._runner: web.AppRunner | None = None
        self._door: BlobDoor | None = None
        self._uploads = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blob")

    @property
    def url(self) -> str:
        """Where clients find the store, without a slash at the end."""
        scheme = "http" if self._tls is None else "https"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self._port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address is taken, or not one of this machine's.
        """
        app = web.Application(middlewares=[self._explain_errors])
        put = partial(app.router.add_put, handler=self._put, expect_handler=self._expect)
        put("/blobs/{job}/{epoch}/{digest}")
        put("/inputs/{device}/{digest}")
        app.router.add_get("/blobs/{job}/{digest}", self._get)
        app.router.add_get("/blobs/{job}", self._list)
        app.router.add_get("/inputs/{device}/{digest}", self._get_input)
        app.router.add_delete("/blobs/{job}/{epoch}/{digest}", self._delete)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ledger", self._get_ledger)
        # A compressed body would be stored as it came: its name is the hash of these bytes.
        runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, shutdown_timeout=_STOPPING_S
        )
        await runner.setup()
        assert runner.server is not None
        self._guard.door = self._door = BlobDoor(
            runner.server, tls=self._tls, first_s=self._first_s
        )
        try:
            self._port = await self._door.open(self._host, self._port)
        except OSError as error:
            await runner.cleanup()
            raise ConfigError(
                f"the blob store cannot listen at {self._host}:{self._port}: {error.strerror}"
            ) from error
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening, cut what is under way after a second. Idempotent."""
        if self._door is not None:
            await self._door.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await asyncio.to_thread(self._threads.shutdown)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = partial(work, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    @web.middleware
    async def _explain_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            await self._guard.admit(request)
            return await handler(request)
        except IdError as error:
            self._guard.note_refusal(request, error)
            return _refusal(404, str(error))
        except BlobError as error:
            self._guard.note_refusal(request, error)
            refusal = _refusal(error.status, str(error))
            if isinstance(error, BlobUnknownCallerError | BlobBusyError):
                refusal.force_close()  # nothing that it would send next is wanted
            return refusal
        except web.HTTPError as error:
            return _refusal(error.status, f"{error.reason}: {request.method} {request.path[:200]}")

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        """Answer `Expect: 100-continue`; this runs before the middleware."""
        try:
            await self._guard.admit(request)
            name = _named(request)
            self._guard.check_write(request, name)
            wanted = await self._in_thread(self.directory.is_wanted, name, request.content_length)
        except IdError as error:
            self._guard.note_refusal(request, error)
            refusal = _refusal(404, str(error))
        except BlobError as error:
            self._guard.note_refusal(request, error)
            refusal = _refusal(error.status, str(error))
        else:
            if wanted:
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
                return None
            refusal = web.Response(status=200)
        # Whether a refused body still follows is the sender's choice, so the connection ends.
        refusal.force_close()
        return refusal

    async def _put(self, request: web.Request) -> web.StreamResponse:
        name = _named(request)
        self._guard.check_write(request, name)
        upload = await self._in_thread(self.directory.begin, name, request.content_length)
        if upload is None:
            return web.Response(status=200)
        try:
            await self._receive(request, upload)
            created = await self._in_thread(upload.commit)
        except TimeoutError:
            return _refusal(408, f"nothing came for {self._stalled_s:g} s")
        except (ClientError, HttpProcessingError, ConnectionError) as error:
            return _refusal(400, f"the upload was cut short: {error}")
        finally:
            # Shielded: a draft that stays open would keep its reservation for good.
            await asyncio.shield(self._in_thread(upload.abandon))
        return web.Response(status=201 if created else 200)

    async def _receive(self, request: web.Request, upload: Upload) -> None:
        # Writing a piece while the next one arrives was tried: 360 MB/s against 370 so.
        piece = bytearray()
        self._uploads += 1
        try:
            while True:
                async with asyncio.timeout(self._stalled_s):
                    data = await request.content.readany()
                piece += data
                if piece and (not data or len(piece) >= self._piece_bytes()):
                    await self._in_thread(upload.write, piece)
                    piece = bytearray()
                if not data:
                    return
        finally:
            self._uploads -= 1

    def _piece_bytes(self) -> int:
        return max(_PIECE_MIN_BYTES, min(_PIECE_BYTES, _PIECES_MAX_BYTES // self._uploads))

    async def _get(self, request: web.Request) -> web.StreamResponse:
        found = request.match_info
        self._guard.check_read(request, found["job"])
        return self._file(
            await self._in_thread(self.directory.find_any_epoch, found["job"], found["digest"])
        )

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self._guard.check_peer(request)
        blobs = await self._in_thread(self.directory.blobs, request.match_info["job"])
        lines = (f"{epoch} {digest} {size}\n" for epoch, digest, size in blobs)
        return web.Response(text="".join(lines))

    async def _get_input(self, request: web.Request) -> web.StreamResponse:
        name = _named(request)
        self._guard.check_read_input(request, name)
        return self._file(await self._in_thread(self.directory.find, name))

    @staticmethod
    def _file(path: Path | None) -> web.StreamResponse:
        if path is None:
            return _refusal(404, "no such blob on this node")
        return web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        name = _named(request)
        self._guard.check_delete(request, name)
        await self._in_thread(self.directory.delete, name)
        return web.Response(status=204)

    async def _get_ledger(self, request: web.Request) -> web.StreamResponse:
        self._guard.check_peer(request)
        wanted = request.query.get("generation", "")
        if self._ledger is None or not (wanted.isascii() and wanted.isdigit()):
            return _refusal(404, "no ledger is served here, or no generation was named")
        found = ledger_copy.pieces(self._ledger(int(wanted[:20])))
        try:
            piece = await anext(found)
        except StaleGenerationError as error:
            return _refusal(409, str(error))
        except LedgerError as error:
            return _refusal(503, str(error))
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        await answer.write(piece)
        async for piece in found:
            await answer.write(piece)
        return answer

    async def _health(self, _: web.Request) -> web.StreamResponse:
        free_bytes = await self._in_thread(self.directory.free_bytes)
        answer = {
            "ok": free_bytes > 0,
            "used_bytes": self.directory.used_bytes,
            "quota_bytes": self.directory.limits.total_max_bytes,
            "free_bytes": free_bytes,
            "refused": self._guard.refused,
        }
        return web.json_response(answer, status=200 if free_bytes > 0 else 503)
