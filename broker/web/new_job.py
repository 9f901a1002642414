"""The pages that make a job of an upload: choose a function, give it data, send it.

A form carries the id of the job it will make, so one that is sent twice is one job.
"""

import base64
import json
import secrets
from collections.abc import Mapping

from aiohttp import web

from broker.web.desk import Desk, see
from broker.web.job_board import own_job, stamped_id
from broker.web.job_view import ago
from broker.web.page_error import PageError
from broker.web.settings import SCRIPT_MAX_BYTES
from broker.web.store_client import StoreClient
from broker.web.upload_form import FormReader, UploadedFile, UploadForm
from broker.web.visitor import Visitor
from workrs.domain.function import Function
from workrs.domain.ids import LocalJobId
from workrs.domain.job import INLINE_MAX_BYTES, SPEC_MAX_BYTES

UPLOADS_MAX = 4
"""At one time, of all visitors."""
UPLOADS_OF_ONE_MAX = 2


class NewJob:
    """Routes of one desk."""

    def __init__(self, desk: Desk, reader: FormReader, stores: StoreClient) -> None:
        self._desk = desk
        self._reader = reader
        self._stores = stores
        self._uploading: dict[str, int] = {}

    def add(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/new", self._choose)
        app.router.add_get("/new/{function}", self._show)
        app.router.add_post("/new/{function}", self._send)

    def _callable(self, who: Visitor) -> dict[str, Function]:
        found = self._desk.facts.functions()
        return {
            name: found[name] for name in sorted(found) if found[name].may_be_called_by(who.name)
        }

    def _find(self, request: web.Request, who: Visitor) -> str:
        name = request.match_info["function"]
        if name not in self._callable(who):
            raise PageError(404, "there is no such function, or you may not call it")
        return name

    async def _choose(self, request: web.Request) -> web.Response:
        who = self._desk.visitor(request)
        return self._desk.page(
            request,
            "choose.html",
            functions=self._callable(who),
            scripts=self._desk.settings.scripts,
        )

    async def _show(self, request: web.Request) -> web.Response:
        who = self._desk.visitor(request)
        return self._form(request, self._find(request, who), who)

    def _form(
        self,
        request: web.Request,
        name: str,
        who: Visitor,
        *,
        error: PageError | None = None,
        typed: Mapping[str, str] | None = None,
    ) -> web.Response:
        mark = secrets.token_hex(2)
        return self._desk.page(
            request,
            "new.html",
            status=200 if error is None else error.status,
            function=name,
            definition=self._callable(who)[name],
            script=self._desk.settings.scripts.get(name, ""),
            longest=ago(self._callable(who)[name].timeout_s),
            job=stamped_id(name, self._desk.now_wall(), mark),
            upload_max_bytes=self._reader.limit_bytes,
            error="" if error is None else str(error),
            typed=typed or {},
        )

    async def _send(self, request: web.Request) -> web.Response:
        who = self._desk.visitor(request)
        name = self._find(request, who)
        if (
            sum(self._uploading.values()) >= UPLOADS_MAX
            or self._uploading.get(who.name, 0) >= UPLOADS_OF_ONE_MAX
        ):
            text = "too many uploads are under way at this node; try again in a moment"
            raise PageError(503, text, retry_after_s=5.0)
        self._uploading[who.name] = self._uploading.get(who.name, 0) + 1
        try:
            return await self._receive(request, who, name)
        finally:
            self._uploading[who.name] -= 1
            if not self._uploading[who.name]:
                del self._uploading[who.name]

    async def _receive(self, request: web.Request, who: Visitor, name: str) -> web.Response:
        def check(token: str) -> None:
            self._desk.check_token(request, token)

        with await self._reader.read(request, check) as form:
            try:
                job = own_job(form.texts.get("job", "")) or stamped_id(
                    name, self._desk.now_wall(), secrets.token_hex(2)
                )
                spec = {**self._script(form, name), **await self._input(form, who)}
                payload = _payload({"v": 1, "function": name, **spec})
            except PageError as error:
                return self._form(request, name, who, error=error, typed=form.texts)
            chosen = form.files.get("data") or form.files.get("script")
            await self._submit(who, job, payload, name, chosen)
        return see(f"/jobs/{job}")

    @staticmethod
    async def _submit(
        who: Visitor, job: LocalJobId, payload: bytes, name: str, chosen: UploadedFile | None
    ) -> None:
        file = chosen.name if chosen is not None else ""
        await who.submit(job, payload, function=name, file=file)

    def _script(self, form: UploadForm, name: str) -> dict[str, object]:
        place = self._desk.settings.scripts.get(name)
        if not place:
            return {}
        file = form.files.get("script")
        if file is not None and file.size_bytes > SCRIPT_MAX_BYTES:
            raise PageError(413, f"a script has at most {SCRIPT_MAX_BYTES >> 10} KiB")
        typed = _lines(form.texts.get("script_text", ""))
        if file is None and not typed.strip():
            raise PageError(400, "this function needs a script: choose a file, or write one")
        if len(typed) > SCRIPT_MAX_BYTES:
            raise PageError(413, f"a script has at most {SCRIPT_MAX_BYTES >> 10} KiB")
        content = typed.encode() if file is None else file.read(SCRIPT_MAX_BYTES)
        try:
            return {"files": {place: content.decode()}}
        except UnicodeDecodeError:
            return {"files": {place: {"b64": base64.b64encode(content).decode()}}}

    async def _input(self, form: UploadForm, who: Visitor) -> dict[str, object]:
        """Return what a spec says of the input, which is at the stores if it is large."""
        file = form.files.get("data")
        if file is None:
            typed = _lines(form.texts.get("text", ""))
            if len(typed.encode()) > INLINE_MAX_BYTES:
                raise PageError(413, "this is too long to be typed: upload it as a file")
            return {"input": typed}
        if file.size_bytes > INLINE_MAX_BYTES:
            return {"input_url": await self._stores.put(who, file)}
        content = file.read(INLINE_MAX_BYTES)
        try:
            return {"input": content.decode()}
        except UnicodeDecodeError:
            return {"input_b64": base64.b64encode(content).decode()}


def _payload(spec: Mapping[str, object]) -> bytes:
    found = json.dumps(spec, sort_keys=True).encode()
    if len(found) > SPEC_MAX_BYTES:
        raise PageError(413, "script and data are too large together")
    return found


def _lines(text: str) -> str:
    """Return a text as it was typed: browsers end the lines of forms as on teletypes."""
    return text.replace("\r\n", "\n")
