"""Who may talk to the daemon: the page it serves itself, and programs on the same machine.

A browser on this machine runs pages of strangers, and any of them may try. So: an exact list of hosts
(a stranger's name that resolves to us is refused), nothing sent by another origin, POST as JSON only.
Bound to another address than loopback, everything needs the token that is printed at the start.
"""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
COOKIE = "safelight_token"

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
LINES = frozenset({"application/jsonl", "application/x-ndjson"})
"""What a job on each line is sent as."""
_BODIES = LINES | {"application/json"}
"""No page may send these to another origin unasked, as it may send forms and plain text."""
_SAFE_SITES = frozenset({"same-origin", "none"})


class Guard:
    """ASGI middleware; answers 400, 401, 403 or 415 itself and lets everything else through."""

    def __init__(self, app: ASGIApp, *, port: int, token: str | None) -> None:
        """`token` is None on a loopback address."""
        self._app = app
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = {f"{name}:{port}" for name in names}
        if port == 80:  # which browsers leave out
            self._hosts.update(names)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, _with_policy(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or (self._token is None and hosts[0] not in self._hosts):
            return PlainTextResponse("This is not a name of this daemon.\n", 400)
        if headers.get("sec-fetch-site", "none") not in _SAFE_SITES:
            return PlainTextResponse("Requests from other pages are refused.\n", 403)
        if headers.get("origin", f"http://{hosts[0]}") != f"http://{hosts[0]}":
            return PlainTextResponse("Requests from other origins are refused.\n", 403)
        if scope["method"] == "POST" and media_type(headers) not in _BODIES:
            return PlainTextResponse("Send JSON as application/json.\n", 415)
        return None if self._token is None else self._challenge(scope, headers, self._token)

    def _challenge(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        """Ask for the token: in the address once, in a cookie or a header from then on."""
        query = parse_qs(scope["query_string"].decode("ascii", "replace"))
        if scope["path"] == "/" and _same(query.get("token", [""])[0], token):
            response = RedirectResponse("/", 303)
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return response
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if _same(bearer, token) or _same(_cookie(headers), token):
            return None
        return PlainTextResponse("Open the address with the token that was printed at the start.\n", 401)


def media_type(headers: Headers) -> str:
    """What a request's body says it is, without parameters."""
    return headers.get("content-type", "").split(";")[0].strip().lower()


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _with_policy(send: Send) -> Send:
    """The same `send`, with the headers that every answer carries."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            headers["content-security-policy"] = _POLICY
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
            headers["cross-origin-resource-policy"] = "same-origin"
            message = {**message, "headers": headers.raw}
        await send(message)

    return guarded
