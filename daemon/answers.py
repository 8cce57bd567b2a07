"""What routes share: reading a request's body, and JSON answers."""

from contextlib import suppress
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

MAX_BODY = 2**18
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
