"""The pages of a visitor's jobs: all of them, one of them, its end, its result."""

import asyncio
from contextlib import suppress
from typing import Final

from aiohttp import web

from broker.web.desk import TOKEN_FIELD, Desk, see
from broker.web.job_board import BoardJob, content_of
from broker.web.job_view import job_page, job_view
from broker.web.page_error import PageError
from broker.web.site import HEADERS
from broker.web.small_form import read_small_form
from broker.web.store_client import DamagedResultError, StoreClient
from broker.web.visitor import Visitor
from workrs.domain.errors import WireError
from workrs.domain.job_state import State
from workrs.wire import codec
from workrs.wire.message import JobState

DOWNLOADS_MAX: Final = 8
STALLED_S: Final = 30.0


class OwnJobs:
    """Routes of one desk."""

    def __init__(self, desk: Desk, stores: StoreClient) -> None:
        self._desk = desk
        self._stores = stores
        self._downloads = 0

    def add(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/", self._list)
        app.router.add_get("/jobs/{job}", self._show)
        app.router.add_get("/jobs/{job}/cancel", self._ask)
        app.router.add_post("/jobs/{job}/cancel", self._cancel)
        app.router.add_get("/jobs/{job}/result", self._result)

    def _find(self, request: web.Request) -> tuple[Visitor, BoardJob]:
        who = self._desk.visitor(request)
        found = who.board.find(request.match_info["job"])
        if found is None:
            raise PageError(
                404, "you have no such job, or it ended so long ago that it is forgotten"
            )
        return who, found

    async def _list(self, request: web.Request) -> web.Response:
        who = self._desk.visitor(request)
        shown = [job_view(job, self._desk.now_wall()) for job in who.board.jobs()]
        return self._desk.page(
            request,
            "jobs.html",
            open_jobs=[job for job in shown if not job.is_over],
            over_jobs=[job for job in shown if job.is_over],
            forgotten=who.board.forgotten,
            who=who,
        )

    async def _show(self, request: web.Request) -> web.Response:
        who, job = self._find(request)
        shown = job_page(job, self._desk.visitors.now(), self._desk.now_wall())
        return self._desk.page(request, "job.html", page=shown, who=who)

    async def _ask(self, request: web.Request) -> web.Response:
        _, job = self._find(request)
        if job.is_over:
            return see(f"/jobs/{job.id}")
        return self._desk.page(request, "cancel.html", job=job_view(job, self._desk.now_wall()))

    async def _cancel(self, request: web.Request) -> web.Response:
        form = await read_small_form(request)
        self._desk.check_token(request, form.get(TOKEN_FIELD, ""))
        who, job = self._find(request)
        if not job.is_over:
            await who.cancel(job)
        return see(f"/jobs/{job.id}")

    async def _result(self, request: web.Request) -> web.StreamResponse:
        who, job = self._find(request)
        if job.state is not State.SUCCEEDED or job.result is None:
            raise PageError(404, "this job has no result")
        if self._downloads >= DOWNLOADS_MAX:
            text = "too many downloads are under way at this node; try again in a moment"
            raise PageError(503, text, retry_after_s=5.0)
        self._downloads += 1
        try:
            if job.result.url:
                return await self._stream(request, who, job, job.result.url)
            return web.Response(body=await _content(who, job), headers=_attachment(job))
        finally:
            self._downloads -= 1

    async def _stream(
        self, request: web.Request, who: Visitor, job: BoardJob, url: str
    ) -> web.StreamResponse:
        async with self._stores.result(who, job.id, url) as (size_bytes, pieces):
            answer = web.StreamResponse(headers=_attachment(job))
            answer.content_length = size_bytes
            answer.headers.update(HEADERS)
            await answer.prepare(request)
            with suppress(DamagedResultError, TimeoutError, ConnectionError):
                async for piece in pieces:
                    async with asyncio.timeout(STALLED_S):
                        await answer.write(piece)
                await answer.write_eof()
                return answer
            # Cut off, so that the browser shows a download that failed, and no file.
            if request.transport is not None:
                request.transport.abort()
            return answer


async def _content(who: Visitor, job: BoardJob) -> bytes:
    """Return a result that travels in a message: the bus has it, the board its beginning."""
    if job.shown is None:
        return await who.read(job.id, "out")
    try:
        content = content_of(codec.decode(JobState, await who.read(job.id)))
    except WireError:
        content = None
    if content is None:
        raise PageError(404, "this job's result is no longer kept")
    return content


def _attachment(job: BoardJob) -> dict[str, str]:
    """Return the headers with which a browser saves an answer and never shows it."""
    return {
        "Content-Type": "application/octet-stream",
        # An id has nothing that would have to be quoted.
        "Content-Disposition": f'attachment; filename="{job.id}.result"',
    }
