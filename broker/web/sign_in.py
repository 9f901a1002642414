"""The pages to sign in and out."""

from aiohttp import web

from broker.web.desk import TOKEN_FIELD, Desk, again_later
from broker.web.page_error import NotSignedInError, PageError
from broker.web.small_form import read_small_form
from workrs.domain.errors import IdError
from workrs.domain.ids import client_id

_PASSWORD_MAX = 200


class SignIn:
    """Routes of one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def add(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/sign-in", self._show)
        app.router.add_post("/sign-in", self._enter)
        app.router.add_post("/sign-out", self._leave)

    async def _show(self, request: web.Request) -> web.Response:
        return self._desk.sign_in_page(request)

    async def _enter(self, request: web.Request) -> web.Response:
        form = await read_small_form(request)
        self._desk.check_visit_token(request, form.get(TOKEN_FIELD, ""))
        typed = form.get("name", "").strip()
        password = form.get("password", "")[:_PASSWORD_MAX]
        try:
            name = client_id(typed)
            token = await self._desk.visitors.enter(
                name,
                password if self._desk.facts.has_passwords else None,
                address=request.remote or "",
            )
        except IdError as error:
            return self._desk.sign_in_page(request, text=str(error), typed=typed, status=400)
        except PageError as error:
            answer = self._desk.sign_in_page(
                request, text=str(error), typed=typed, status=error.status
            )
            return again_later(answer, error)
        return self._desk.let_in(request, token)

    async def _leave(self, request: web.Request) -> web.Response:
        form = await read_small_form(request)
        self._desk.check_token(request, form.get(TOKEN_FIELD, ""))
        return self._desk.let_out(request)


async def sign_in_first(desk: Desk, request: web.Request, error: NotSignedInError) -> web.Response:
    """Return the form to sign in, for whoever asked for something else."""
    if request.method == "GET" and request.path == "/":
        return desk.sign_in_page(request)
    return desk.sign_in_page(request, text=str(error), status=401)
