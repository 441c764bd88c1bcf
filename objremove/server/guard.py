"""At the door: who may call, under which name, from which page; what every answer says to browsers; one log line each.

A server on one's own machine is open to every page that one's browser shows, unless it looks: at `Host` (DNS rebinding), `Origin` and
`Sec-Fetch-Site` (posts and reads from other sites), and the content type.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
import socket
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from objremove.server.metrics import Metrics
from objremove.server.problems import Problem, response_of
from objremove.server.settings import Settings, is_loopback

logger = logging.getLogger("objremove.server")

COOKIE = "objremove_session"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_METHODS = (*SAFE_METHODS, "POST", "DELETE")
_OPEN = ("/", "/healthz", "/readyz")
_OPEN_FOLDER = "/signin/"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_FORMS = ("", "multipart/form-data", "application/x-www-form-urlencoded")
_HEADER_BYTES = 16_384
_BODIES_IN_FLIGHT = 4  # as large as one may be; smaller ones are more
_CLOSE = {"Connection": "close"}


class Access:
    """Who may come in: anyone where no token is set, else who sends the token or the cookie that it was exchanged for."""

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()
        self.session = secrets.token_urlsafe(32)

    @property
    def asked(self) -> bool:
        """Whether a token is asked for."""
        return self._token is not None

    def by_token(self, headers: Headers) -> bool:
        """Whether a request carries the token; takes the same time however much of a wrong one is right."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token or b"")
        return self._token is None or (kind.lower() == "bearer" and right)

    def by_cookie(self, headers: Headers) -> bool:
        """Whether a request carries the session's cookie."""
        # As browsers send them: other sites' cookies, which come along, are often not what the standard wants.
        given = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.session.encode())

    def allows(self, headers: Headers) -> bool:
        """Whether a request may come in."""
        return self.by_token(headers) or self.by_cookie(headers)


class Guard:
    """Refuses requests before any of their body is read."""

    def __init__(self, app: ASGIApp, *, settings: Settings, access: Access) -> None:
        self._app, self._settings, self._access = app, settings, access
        own = {settings.host.lower(), *(name.lower() for name in settings.allow_hosts)}
        self._names = own | ({"localhost"} if is_loopback(settings.host) else {socket.gethostname().lower()})
        self._any_address = not is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope, Headers(scope=scope))
        except Problem as problem:
            await response_of(problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _HEADER_BYTES:
            raise Problem(431, "headers_too_large", f"the request's headers have more than {_HEADER_BYTES} bytes")
        path, method = scope["path"], scope["method"]
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_own_name(host):
            raise Problem(
                421, "wrong_host", "this server is not called so: use its address, or start it with --allow-host"
            )
        self._check_origin(headers, host, method, path)
        if not (path in _OPEN or path.startswith(_OPEN_FOLDER) or self._access.allows(headers)):
            problem = Problem(401, "unauthorized", "send the server's token as Authorization: Bearer TOKEN")
            problem.headers["WWW-Authenticate"] = "Bearer"
            raise problem
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method == "POST" and kind not in _FORMS:
            raise Problem(415, "unsupported", "send a form: multipart/form-data")

    def _is_own_name(self, host: str) -> bool:
        name = _without_port(host).lower().rstrip(".")
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # A rebound name is a name: whoever calls by a bare address has not been led here by DNS.
        return self._any_address or address.is_loopback

    def _check_origin(self, headers: Headers, host: str, method: str, path: str) -> None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self._settings.allow_origins:
            return
        opened = method in ("GET", "HEAD") and path == "/" and headers.get("sec-fetch-mode") == "navigate"
        foreign = site in ("cross-site", "same-site") and not opened
        if origin is not None:
            scheme, _, netloc = origin.partition("://")
            foreign = foreign or scheme not in ("http", "https") or netloc.lower() != host.lower()
        elif site is None and method not in SAFE_METHODS and not self._access.by_token(headers):
            foreign = True  # only browsers send cookies, and these say where a request comes from
        if foreign:
            raise Problem(403, "forbidden", "pages of other sites may not use this server: --allow-origin lets one in")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


class Patience:
    """Gives up on clients that send too much, that send or take nothing for too long, or that take too long for their whole request."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app, self._most_bytes = app, settings.max_bytes
        self._pause, self._whole = settings.patience, settings.timeout
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass messages on, each within its time."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        until, received, complete = loop.time() + self._whole, 0, False

        async def hurried_receive() -> Message:
            nonlocal received, complete
            if complete:  # what comes now is that the client goes
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), min(self._pause, max(0.0, until - loop.time())))
            except TimeoutError:
                raise HTTPException(408, "the request came too slowly", _CLOSE) from None
            complete = not message.get("more_body", False)
            size = len(message.get("body", b""))
            received += size
            self._in_flight += size
            if received > self._most_bytes:
                raise self._too_large()
            if self._in_flight > _BODIES_IN_FLIGHT * self._most_bytes:
                raise HTTPException(503, "too much arrives at once: try again", {**_CLOSE, "Retry-After": "5"})
            return message

        async def hurried_send(message: Message) -> None:
            await asyncio.wait_for(send(message), self._pause)

        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self._most_bytes:
            await response_of(Problem(413, "too_large", self._too_large().detail))(scope, receive, hurried_send)
            return
        try:
            await self._app(scope, hurried_receive, hurried_send)
        finally:
            self._in_flight -= received

    def _too_large(self) -> HTTPException:
        return HTTPException(
            413, f"the request has more than the {self._most_bytes / 1e6:g} MB that this server takes", _CLOSE
        )


class Watch:
    """Gives every request an id, every answer its security headers, and the log one line: route, status and time, no names."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, started, status = secrets.token_hex(8), time.perf_counter(), 0

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, marked)
        except (TimeoutError, ConnectionError, ClientDisconnect):
            logger.info("%s: the client was given up or has gone", request_id)
        except Exception as error:
            logger.error("%s: unexpected %s", request_id, type(error).__name__, exc_info=error)
            if not status:
                problem = Problem(500, "internal", "something went wrong in the server; its log has the request id")
                await response_of(problem)(scope, receive, marked)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", None) or "other"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.count(route, method, status, seconds)
            logger.info("%s %s %s %d %.0f ms", request_id, method, route, status, 1000 * seconds)
