"""A form with files on its way in: streamed to the disk, with a bound on everything.

1. A file lies in one without a name (`O_TMPFILE`), so what its owner calls it touches no path, and
   nothing is left behind however the node ends.
2. Nothing of a file is read before the form's token was found right.
3. A sender that is silent for STALLED_S, or takes longer than LONGEST_S in all, is given up.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from aiohttp import BodyPartReader, web
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError

from broker.web.page_error import PageError

PARTS_MAX: Final = 10
TEXT_MAX_BYTES: Final = 1 << 20
"""Of a field that is not a file."""
STALLED_S: Final = 20.0
LONGEST_S: Final = 1800.0
FILE_NAME_MAX: Final = 100
_PIECE_BYTES: Final = 1 << 20
_ROOM_BYTES: Final = 64 * 1024
"""What the fields and the frame of a form may add to its files."""


@dataclass(slots=True, kw_only=True)
class UploadedFile:
    """One file of a form."""

    name: str
    """As its owner has it: to be shown, and nothing else."""
    handle: IO[bytes]
    size_bytes: int = 0
    digest: str = ""
    """SHA-256, hexadecimal."""

    def read(self, limit_bytes: int) -> bytes:
        """Return its first bytes."""
        self.handle.seek(0)
        return self.handle.read(limit_bytes)


@dataclass(slots=True)
class UploadForm:
    """What was sent. Leave its context to give the files' room back."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, UploadedFile] = field(default_factory=dict)
    """Those that were chosen; a field left empty is not here."""

    def __enter__(self) -> Self:
        """Return the form."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close the files, and with that remove them."""
        for file in self.files.values():
            file.handle.close()


class FormReader:
    """Reads forms of one server."""

    def __init__(self, folder: Path, threads: Executor, *, limit_bytes: int) -> None:
        """Use *folder* for files on their way; *limit_bytes* is for all files of a form."""
        self.limit_bytes = limit_bytes
        self._folder = folder
        self._threads = threads

    async def read(self, request: web.Request, check: Callable[[str], None]) -> UploadForm:
        """Return the form of a request.

        Args:
            request: its body is `multipart/form-data`, the field `token` first.
            check: raises unless the token is right.

        Raises:
            PageError: it is too large, came too slowly, or is no such form.
        """
        if request.content_type != "multipart/form-data":
            raise PageError(415, "this is not what the form of this page sends")
        if (request.content_length or 0) > self.limit_bytes + TEXT_MAX_BYTES + _ROOM_BYTES:
            raise self._too_large()
        form = UploadForm()
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._read(request, form, check)
        except TimeoutError as error:
            form.__exit__(None, None, None)
            raise PageError(408, "the upload came too slowly, or stopped: send it again") from error
        except (ClientError, HttpProcessingError, ConnectionError, ValueError) as error:
            form.__exit__(None, None, None)
            raise PageError(400, "the upload was cut short or damaged: send it again") from error
        except BaseException:
            form.__exit__(None, None, None)
            raise
        return form

    async def _read(
        self, request: web.Request, form: UploadForm, check: Callable[[str], None]
    ) -> None:
        parts = await request.multipart()
        is_checked = False
        count = 0
        while True:
            async with asyncio.timeout(STALLED_S):
                part = await parts.next()
            if part is None:
                break
            count += 1
            if not isinstance(part, BodyPartReader) or not part.name or count > PARTS_MAX:
                raise PageError(400, "this is not what the form of this page sends")
            if part.filename is None:
                form.texts[part.name] = await self._text(part)
            else:
                if not is_checked:
                    check(form.texts.get("token", ""))
                    is_checked = True
                await self._file(part, form)
        if not is_checked:
            check(form.texts.get("token", ""))

    async def _text(self, part: BodyPartReader) -> str:
        found = bytearray()
        while piece := await self._piece(part):
            found += piece
            if len(found) > TEXT_MAX_BYTES:
                raise PageError(413, "the text is too long: upload it as a file")
        return found.decode("utf-8", "replace")

    async def _file(self, part: BodyPartReader, form: UploadForm) -> None:
        if part.name in form.files:
            raise PageError(400, "this is not what the form of this page sends")
        loop = asyncio.get_running_loop()
        handle = await loop.run_in_executor(self._threads, self._new_file)
        name = _shown_name(part.filename or "")
        file = form.files[str(part.name)] = UploadedFile(name=name, handle=handle)
        found = hashlib.sha256()
        others_bytes = sum(each.size_bytes for each in form.files.values())
        waiting = bytearray()
        while True:
            piece = await self._piece(part)
            waiting += piece
            if waiting and (not piece or len(waiting) >= _PIECE_BYTES):
                file.size_bytes += len(waiting)
                if others_bytes + file.size_bytes > self.limit_bytes:
                    raise self._too_large()
                await loop.run_in_executor(self._threads, _write, handle, found, bytes(waiting))
                waiting.clear()
            if not piece:
                break
        file.digest = found.hexdigest()
        if not file.size_bytes and not part.filename:
            handle.close()
            del form.files[str(part.name)]

    def _new_file(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile(dir=self._folder)
        except OSError as error:
            raise PageError(507, "this node has no room for an upload now") from error

    @staticmethod
    async def _piece(part: BodyPartReader) -> bytes:
        async with asyncio.timeout(STALLED_S):
            return bytes(await part.read_chunk(64 * 1024))

    def _too_large(self) -> PageError:
        return PageError(
            413, f"this is more than {self.limit_bytes >> 20} MiB, the most that is taken"
        )


def _write(handle: IO[bytes], found: "hashlib._Hash", data: bytes) -> None:
    try:
        handle.write(data)
        handle.flush()
    except OSError as error:
        raise PageError(507, "this node has no room for an upload now") from error
    found.update(data)


def _shown_name(text: str) -> str:
    """Return the last part of what a browser says, without what cannot be printed."""
    last = text.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in last if char.isprintable())[:FILE_NAME_MAX]
