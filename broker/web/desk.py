"""What all pages share: who asks, and how an answer is made of a template."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import jinja2
from aiohttp import web

from broker.web.page_error import NotSignedInError, PageError
from broker.web.session import LONGEST_S, FormTokens
from broker.web.settings import NodeFacts, WebSettings
from broker.web.site import Site
from broker.web.visitor import Visitor
from broker.web.visitors import Visitors

_TEMPLATES: Final = Path(__file__).parent / "templates"
TOKEN_FIELD: Final = "token"  # noqa: S105 (the name of a form's field)


class Desk:
    """Of one node's page."""

    def __init__(
        self, settings: WebSettings, facts: NodeFacts, site: Site, visitors: Visitors
    ) -> None:
        """Take all that a page is made of."""
        self.settings = settings
        self.facts = facts
        self.site = site
        self.visitors = visitors
        self._tokens = FormTokens(key=secrets.token_bytes(32))
        # Browsers send cookies to every port of a host: two nodes of a machine must not mix theirs.
        prefix = "__Host-" if site.is_secure else ""
        self._session_cookie = f"{prefix}workrs-{site.port}"
        self._visit_cookie = f"{prefix}workrs-visit-{site.port}"
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    @staticmethod
    def now_wall() -> datetime:
        """Return the time in UTC, to be shown to humans."""
        return datetime.now(tz=UTC)  # noqa: TID251 (nothing hangs on it)

    def visitor(self, request: web.Request) -> Visitor:
        """Return who asks, or raise NotSignedInError."""
        return self.visitors.find(self._session(request))[1]

    def _session(self, request: web.Request) -> str:
        return request.cookies.get(self._session_cookie, "")

    def _visit(self, request: web.Request) -> str:
        return request.cookies.get(self._visit_cookie, "")

    def check_token(self, request: web.Request, shown: str) -> None:
        """Raise PageError unless a form of the visitor's own session was sent."""
        self._tokens.check(self._session(request), shown)

    def check_visit_token(self, request: web.Request, shown: str) -> None:
        """Raise PageError unless the form to sign in was drawn for this browser."""
        self._tokens.check(self._visit(request), shown)

    def page(
        self, request: web.Request, template: str, *, status: int = 200, **values: object
    ) -> web.Response:
        """Return a page. For whom it is, and the token for its forms, are added."""
        try:
            name, token = str(self.visitor(request).name), self._tokens.make(self._session(request))
        except NotSignedInError:
            name, token = "", ""
        text = self._templates.get_template(template).render(
            name=name, token=token, facts=self.facts, trouble=self.facts.trouble(), **values
        )
        return web.Response(text=text, content_type="text/html", charset="utf-8", status=status)

    def error_page(self, request: web.Request, error: PageError, *, back: str) -> web.Response:
        """Return what is said in the place of what was asked for, and where to go *back* to."""
        return self.page(request, "error.html", error=error, back=back, status=error.status)

    def sign_in_page(
        self, request: web.Request, *, text: str = "", typed: str = "", status: int = 200
    ) -> web.Response:
        """Return the form to sign in, with a sentence above it."""
        visit = self._visit(request) or secrets.token_urlsafe()
        answer = self.page(
            request,
            "sign_in.html",
            status=status,
            text=text,
            typed=typed[:63],
            visit_token=self._tokens.make(visit),
        )
        self._set_cookie(answer, self._visit_cookie, visit)
        return answer

    def let_in(self, request: web.Request, token: str) -> web.Response:
        """Return the answer that gives a browser its session, in place of any it had."""
        self.visitors.leave(self._session(request))
        answer = see("/")
        self._set_cookie(answer, self._session_cookie, token)
        self._drop_cookie(answer, self._visit_cookie)
        return answer

    def let_out(self, request: web.Request) -> web.Response:
        """Return the answer that ends a session."""
        self.visitors.leave(self._session(request))
        answer = see("/")
        self._drop_cookie(answer, self._session_cookie)
        return answer

    def _set_cookie(self, answer: web.Response, name: str, value: str) -> None:
        answer.set_cookie(
            name,
            value,
            max_age=int(LONGEST_S),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=self.site.is_secure,
        )

    def _drop_cookie(self, answer: web.Response, name: str) -> None:
        answer.del_cookie(
            name, path="/", httponly=True, samesite="Strict", secure=self.site.is_secure
        )


def again_later(answer: web.Response, error: PageError) -> web.Response:
    """Return an answer that says when the same request may be served, if that is known."""
    if error.retry_after_s:
        answer.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return answer


def see(path: str) -> web.Response:
    """Return the answer that sends a browser to another page, after a form."""
    return web.Response(status=303, headers={"Location": path})
