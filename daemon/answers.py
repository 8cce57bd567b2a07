"""What routes share: reading a request's numbers and body, who sent it, and JSON answers."""

from contextlib import suppress
from typing import TypeVar
from urllib.parse import unquote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from daemon.address import AGENT

MAX_BODY = 2**18
PAGE_MAX = 1000
"""Rows in an answer."""
Wish = TypeVar("Wish", bound=msgspec.Struct)


def json(value: object, status: int = 200) -> Response:
    """An answer that is never kept."""
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def error(status: int, message: str) -> Response:
    """What went wrong, as `{"error": …}`."""
    return json({"error": message}, status)


async def body(request: Request) -> bytes | None:
    """The request's body, or None if it is larger than `MAX_BODY` or its sender has gone."""
    content = b""
    with suppress(ClientDisconnect):
        async for chunk in request.stream():
            content += chunk
            if len(content) > MAX_BODY:
                return None
        return content
    return None


async def wished(request: Request, kind: type[Wish]) -> Wish | Response:
    """What the body asks for, or the answer that refuses it."""
    content = await body(request)
    if content is None:
        return error(413, f"at most {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(content or b"{}", type=kind)
    except msgspec.DecodeError as fault:
        return error(422, str(fault))


def whole(text: str, default: int) -> int:
    """The number that a query or an address holds; the default where it is missing or none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default


def number(request: Request, name: str, default: int) -> int:
    """A number from the query; the default where it is missing or none."""
    return whole(request.query_params.get(name, ""), default)


def limit(request: Request) -> int:
    """How many rows are wanted."""
    return min(number(request, "limit", 100), PAGE_MAX)


def sender(request: Request) -> str:
    """Who asks, for the log: our own page, our own commands, or just an address.

    Only a browser can set `sec-fetch-site`, and no page but ours passes the guard. Who a command is run by
    is its own word: the log names people so that they find out, not so that it could be held against them.
    """
    address = request.client.host if request.client else "unknown"
    if request.headers.get("sec-fetch-site") == "same-origin":
        return f"the page at {address}"
    agent, _, name = request.headers.get("user-agent", "").partition(" ")
    if agent == AGENT and 0 < len(name) <= 200:
        return f"{unquote(name)} at the command line"
    return address
