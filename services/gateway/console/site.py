"""The operator's console at `/`: signing in, the views, and the forms that change keys and budgets.

It decides nothing: every figure comes from the same RPCs that the API serves, called with the reader's own principal.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import pathlib
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc.aio
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dac.gateway.v1.identity_pb2 import CreateApiKeyRequest, RevokeApiKeyRequest
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.errors import MeshError, Reason, invalid
from mesh.keyring import Keyring
from services.gateway.console import frame as view
from services.gateway.console.downloads import Downloads
from services.gateway.console.forms import nano_usd, read_form
from services.gateway.console.frame import Reader
from services.gateway.console.reading import Reading
from services.gateway.console.session import COOKIE, LIFETIME_S, Session, Sessions, same_origin
from services.gateway.edge.failures import http_status
from services.gateway.edge.pages import VERSION, Pages
from services.gateway.identity import key_tokens
from services.gateway.identity.callers import Caller, Callers

TIMEOUT_S = 10.0
CSRF_HEADER = "x-csrf-token"
"""Not x-dac-…: proxies take headers away that begin so (mesh/envoy/edge.py)."""
STATIC = pathlib.Path(__file__).with_name("static")
STATIC_TYPES = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
DONE = {
    "signed-out": "You are signed out.",
    "revoked": "The key is revoked: it is refused everywhere within a second.",
    "set": "The budget is set.",
    "deleted": "The budget is deleted.",
}
"""What a page says after a form did its work."""


@dataclasses.dataclass(frozen=True, slots=True)
class Visitor:
    """A proven caller behind a browser."""

    caller: Caller
    session: Session | None
    """None for readers without a key (auth: off)."""


class Console:
    """Handlers for Starlette, and the caller of a chat that comes from the page."""

    def __init__(
        self,
        channel_to: Callable[[str], grpc.aio.Channel],
        callers: Callers,
        keyring: Keyring,
        pages: Pages,
        *,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._callers, self._pages, self._clock = callers, pages, clock
        self._sessions = Sessions(keyring, clock=lambda: clock().timestamp())
        self._reading = Reading(channel_to, clock, self._health)
        self._downloads = Downloads(channel_to, self._enter, self._refused, _html)
        self._static = {name: (STATIC / name).read_bytes() for name in STATIC_TYPES}

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/", self.home, methods=["GET"]),
            Route("/console", self.front, methods=["GET"]),
            Route("/console/sign-in", self.sign_in, methods=["GET", "POST"]),
            Route("/console/sign-out", self.sign_out, methods=["POST"]),
            Route("/console/static/{name}", self.static, methods=["GET"]),
            Route("/console/requests/{request_id}", self.story, methods=["GET"]),
            Route("/console/keys", self.create_key, methods=["POST"]),
            Route("/console/keys/revoke", self.revoke_key, methods=["POST"]),
            Route("/console/budgets", self.set_budget, methods=["POST"]),
            Route("/console/budgets/delete", self.delete_budget, methods=["POST"]),
            *self._downloads.routes(),
            Route("/console/{view}", self.view, methods=["GET"]),
        ]

    # Who looks.

    async def _visitor(self, cookie: str, authorization: str) -> Visitor:
        """The caller behind a request. Raises MISSING_CREDENTIAL, INVALID_CREDENTIAL or UNAVAILABLE."""
        session = self._sessions.open(cookie)
        if session is not None:
            return Visitor(await self._callers.authenticate(session.key), session)
        if authorization:
            # With auth off the edge does not ask where such a request comes from: it must not pass as nobody's.
            raise MeshError(Reason.MISSING_CREDENTIAL, "The console takes no Authorization header. Sign in with a key.")
        try:
            return Visitor(await self._callers.authenticate_header(""), None)
        except MeshError as error:
            if cookie and error.reason is Reason.MISSING_CREDENTIAL:
                raise MeshError(Reason.INVALID_CREDENTIAL, "Your session has ended. Sign in again.") from None
            raise

    async def chat_caller(self, header: Callable[[str], str]) -> Caller:
        """Who sends a chat from the playground. Raises what `_visitor` does, and PERMISSION_DENIED for a stranger."""
        visitor = await self._visitor(_cookie(header("cookie")), header("authorization"))
        self._check_form(header, visitor, header(CSRF_HEADER))
        return visitor.caller

    def _check_form(self, header: Callable[[str], str], visitor: Visitor, token: str) -> None:
        if not same_origin(header) or not self._sessions.csrf_holds(visitor.session, token):
            raise MeshError(
                Reason.PERMISSION_DENIED, "This did not come from DAC's own page. Reload the page, then try again."
            )

    def _reader(self, request: Request, visitor: Visitor) -> Reader:
        principal = visitor.caller.principal
        name = ""
        if principal.kind == Principal.KIND_OPERATOR:
            name = "operator"
        elif visitor.session is not None:
            name = key_tokens.shown(visitor.session.key)
        return Reader(
            name,
            tuple(principal.scopes),
            self._sessions.csrf(visitor.session),
            f"{'https' if _is_secure(request) else 'http'}://{request.headers.get('host', 'localhost')}",
            VERSION,
            principal.org_id,
            principal.key_id,
        )

    async def _enter(self, request: Request, route: str, *, form: Mapping[str, str] | None = None) -> Reader:
        """Identifies the request; a form's token is checked."""
        exchange = request.scope["state"]["exchange"]
        exchange.route = route
        visitor = await self._visitor(request.cookies.get(COOKIE, ""), request.headers.get("authorization", ""))
        if form is not None:
            self._check_form(_header_of(request), visitor, form.get("csrf", ""))
        exchange.identify(visitor.caller, TIMEOUT_S)
        return self._reader(request, visitor)

    def _refused(self, error: MeshError, wanted: str = "") -> Response:
        """What somebody sees who is not let in."""
        if error.reason is Reason.MISSING_CREDENTIAL:
            return _html(view.sign_in_page(wanted=wanted))
        if error.reason is Reason.INVALID_CREDENTIAL:
            response = _html(view.sign_in_page(error.message, wanted=wanted), 401)
            response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
            return response
        if error.reason is Reason.PERMISSION_DENIED:
            return _html(view.plain_page("Not done", error.message, "Nothing was changed."), 403)
        mend = "This page works again as soon as PostgreSQL answers. GET /health says which parts are up."
        return _html(view.plain_page("DAC is not ready", error.message, mend), http_status(error))

    # Coming and going.

    async def home(self, request: Request) -> Response:
        """The overview for people; what this is for programs."""
        if "text/html" not in request.headers.get("accept", ""):
            return await self._pages.info(request)
        return await self._shown(request, "overview")

    async def front(self, request: Request) -> Response:
        """The page is at `/`."""
        return RedirectResponse("/", 303)

    async def static(self, request: Request) -> Response:
        """The style, the script and the mark."""
        name = request.path_params["name"]
        if name not in self._static:
            raise MeshError(Reason.NOT_FOUND, "There is no such file.")
        return Response(self._static[name], media_type=STATIC_TYPES[name])

    async def sign_in(self, request: Request) -> Response:
        """Seals a good key into the session cookie."""
        if request.method != "POST":
            return _html(view.sign_in_page())
        request.scope["state"]["exchange"].route = "/console/sign-in"
        if not same_origin(_header_of(request)):
            return self._refused(MeshError(Reason.PERMISSION_DENIED, "This form did not come from DAC's own page."))
        form = await read_form(request)
        key, wanted = form.get("key", "").strip(), form.get("view", "")
        try:
            await self._callers.authenticate(key)
        except MeshError as error:
            return self._refused(error, wanted)
        response = RedirectResponse(view.path_of(wanted) if wanted in view.VIEWS else "/", 303)
        response.set_cookie(
            COOKIE,
            self._sessions.seal(key),
            max_age=LIFETIME_S,
            path="/",
            httponly=True,
            samesite="strict",
            secure=_is_secure(request),
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        """Forgets the session."""
        if not same_origin(_header_of(request)):
            return self._refused(MeshError(Reason.PERMISSION_DENIED, "This form did not come from DAC's own page."))
        response = _html(view.sign_in_page(DONE["signed-out"], calm=True))
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response

    # Views.

    async def view(self, request: Request) -> Response:
        """One of the sections."""
        name = request.path_params["view"]
        if name == "overview":
            return RedirectResponse("/", 303)
        if name not in view.VIEWS:
            return _html(
                view.plain_page("Not found", "There is no such section.", "The sections are listed at /."), 404
            )
        wanted = request.query_params.get("id", "").strip()
        if name == "requests" and wanted:
            return RedirectResponse(f"/console/requests/{urllib.parse.quote(wanted, safe='')}", 303)
        return await self._shown(request, name)

    async def _shown(self, request: Request, name: str) -> Response:
        try:
            reader = await self._enter(request, view.path_of(name))
        except MeshError as error:
            return self._refused(error, name)
        done = DONE.get(request.query_params.get("done", ""), "")
        return await self._drawn(request, reader, name, view.notice(done) if done else None)

    async def _drawn(
        self,
        request: Request,
        reader: Reader,
        name: str,
        notice: Any = None,
        *,
        values: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        drawn = await getattr(self._reading, name)(request, reader, values or {})
        return _html(view.page(reader, name, drawn, lead=self._reading.lead(name), notice=notice), status)

    async def story(self, request: Request) -> Response:
        """All that is known of one request."""
        try:
            reader = await self._enter(request, "/console/requests/{request_id}")
        except MeshError as error:
            return self._refused(error, "requests")
        drawn, status = await self._reading.story(reader, request.path_params["request_id"], request.url.path)
        return _html(view.page(reader, "requests", drawn, title="Request"), status)

    async def _health(self, request: Request) -> dict[str, Any]:
        """What GET /health says."""
        answer = await self._pages.health(request)
        said: dict[str, Any] = msgspec.json.decode(bytes(answer.body))
        return said

    # Changes.

    async def _changed(
        self, request: Request, name: str, change: Callable[[Reader, dict[str, str]], Awaitable[Response]]
    ) -> Response:
        """Does what a form asks for; a refusal shows the view again with the sentence and what was typed."""
        form: dict[str, str] = {}
        try:
            form = await read_form(request)
            reader = await self._enter(request, request.url.path, form=form)
        except MeshError as error:
            return self._refused(error, name)
        try:
            return await change(reader, form)
        except MeshError as error:
            said = view.notice(error.message, "bad")
            return await self._drawn(request, reader, name, said, values=form, status=http_status(error))

    async def create_key(self, request: Request) -> Response:
        """Makes a key and shows it, once, on the page that answers this very request."""

        async def change(reader: Reader, form: dict[str, str]) -> Response:
            wanted = CreateApiKeyRequest(name=form.get("name", "").strip(), scopes=form.get("scope", "").split())
            wanted.models.extend(part.strip() for part in form.get("models", "").split(",") if part.strip())
            days = form.get("days", "")
            if days:
                if not (days.isdecimal() and len(days) <= 4 and 1 <= int(days) <= 3650):
                    raise invalid("days", f'"{days[:20]}" is no number of days.')
                wanted.expires_at.FromDatetime(self._clock() + dt.timedelta(days=int(days)))
            if not wanted.scopes:
                raise invalid("scopes", "Tick at least one scope: a key without one opens nothing.")
            made = await self._reading.identity.CreateApiKey(wanted, timeout=TIMEOUT_S)
            drawn = await self._reading.keys(request, reader, {}, fresh=made)
            return _html(view.page(reader, "keys", drawn, lead=self._reading.lead("keys")))

        return await self._changed(request, "keys", change)

    async def revoke_key(self, request: Request) -> Response:
        """Revokes a key."""

        async def change(reader: Reader, form: dict[str, str]) -> Response:
            wanted = RevokeApiKeyRequest(key_id=form.get("key_id", ""))
            await self._reading.identity.RevokeApiKey(wanted, timeout=TIMEOUT_S)
            return RedirectResponse("/console/keys?done=revoked", 303)

        return await self._changed(request, "keys", change)

    async def set_budget(self, request: Request) -> Response:
        """Sets a limit."""

        async def change(reader: Reader, form: dict[str, str]) -> Response:
            budget_id, on = form.get("budget_id", ""), form.get("level", "")
            if budget_id:
                await self._reading.change_budget(budget_id, nano_usd(form.get("limit", "")))
                return RedirectResponse("/console/budgets?done=set", 303)
            level = Level(kind=Level.KIND_ORG) if on == "org" else Level(kind=Level.KIND_KEY, id=on)
            await self._reading.set_budget(level, form.get("window", ""), nano_usd(form.get("limit", "")))
            return RedirectResponse("/console/budgets?done=set", 303)

        return await self._changed(request, "budgets", change)

    async def delete_budget(self, request: Request) -> Response:
        """Deletes a limit."""

        async def change(reader: Reader, form: dict[str, str]) -> Response:
            await self._reading.delete_budget(form.get("budget_id", ""))
            return RedirectResponse("/console/budgets?done=deleted", 303)

        return await self._changed(request, "budgets", change)


def _html(markup: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(markup, status, {"content-security-policy": CSP})


def _header_of(request: Request) -> Callable[[str], str]:
    return lambda name: request.headers.get(name, "")


def _cookie(header: str) -> str:
    """The console's cookie in a Cookie header."""
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _is_secure(request: Request) -> bool:
    """Whether the browser came by https, here or at a proxy before this."""
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "") == "https"
