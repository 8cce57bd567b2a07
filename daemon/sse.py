"""The log as server-sent events: one integer cursor per client over the log's ring, no queue per client.

An event is sent only when it is durable. A fresh client gets a snapshot as of position S, then all after
S; one that comes back with `Last-Event-ID` gets what it missed, or a snapshot if that is too much. So
there is no gap and no duplicate by construction, and a slow client costs nothing: when it wakes, it
gets what it missed in one write, without previews that a later one in the same write makes old news.

Who has heard everything is told what is new by one loop over all of them, which takes half the time of
waking a thousand tasks. Whoever cannot be told so, at once, is told by a task of its own, until it has
heard everything again. Written straight on ASGI, because a stream here is a cursor and a loop.
"""

import asyncio
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from daemon.events.log import Log
from daemon.pieces import Piece, Pieces, body
from daemon.projections.state import State

KEEP_ALIVE = 15.0
"""Seconds of silence after which `alive` is said, so that proxies and pages know that we live: a page that
hears nothing for much longer takes its connection for broken. A comment it would not hear."""
MOST = 4000
"""Streams at once. Who comes beyond is asked to come again: a browser that is refused gives up for good."""
RETRY_MS = 1000
CROWDED_MS = 30_000

AT_ONCE = "safelight.at_once"
"""An ASGI extension of our own server's. Its `write` takes a chunk of an answer's body, if it has one, framed
by HTTP/1.1, and says whether it is on its way: False where a client does not keep up or the connection ends.
It does not wait, and passes by whatever has wrapped `send`. Where there is none, `send` serves as well."""

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_BYE = b"retry: %d\nevent: bye\ndata: {}\n\n"
_ALIVE = Piece(b"event: alive\ndata: {}\n\n")


class _Client:
    """Where one client is, and how it is reached."""

    __slots__ = ("cursor", "heard", "roused", "whole", "write")

    roused: asyncio.Future[None]
    """What its task waits for, once it does. An event would keep a kilobyte for each that has no work."""

    def __init__(self, cursor: int, whole: bool, write: Callable[[bytes], bool]) -> None:
        self.cursor = cursor
        self.whole = whole
        """Whether it wants every step."""
        self.write = write
        self.heard: Piece | None = None
        """What it was told last of what is no event."""


class Streams:
    """All open streams; an ASGI application that makes one of each request. `run` tells them."""

    def __init__(self, log: Log[State], snapshot: Callable[[], bytes]) -> None:
        """`snapshot` answers the whole state as JSON, as of `log.position`."""
        self._log = log
        self._pieces = Pieces(log, snapshot)
        self._caught_up: dict[_Client, None] = {}
        """Those who had heard everything when they were last told something."""
        self._aside: Piece | None = None
        self._silent = False
        self._open = 0
        self._closing = False

    def __repr__(self) -> str:
        return f"<Streams: {self._open} open, {len(self._caught_up)} caught up>"

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Tell all whenever the log has gone on, or has been silent for long, until cancelled."""
        position = self._log.position
        task_status.started()
        while True:
            with anyio.move_on_after(KEEP_ALIVE) as scope:
                position = await self._log.changed(position)
            self._tell_all(silent=scope.cancelled_caught)

    def tell(self, kind: bytes, data: bytes) -> None:
        """Say something that is no event, without an id. Who is slow or comes later hears only the newest."""
        self._aside = Piece(b"event: %s\ndata: %s\n\n" % (kind, data))
        self._tell_all(silent=False)

    def close(self) -> None:
        """Have every stream say goodbye and end; new ones end at once."""
        self._closing = True
        self._tell_all(silent=False)

    def _tell_all(self, *, silent: bool) -> None:
        self._silent = silent
        self._pieces.forget()
        for client in [one for one in self._caught_up if not self._told(one)]:
            del self._caught_up[client]
            if not client.roused.done():  # as it is when the client goes in this moment
                client.roused.set_result(None)

    def _told(self, client: _Client) -> bool:
        """Tell a client the next thing at once, if that can be and is all there is to tell it."""
        aside, position = self._aside, self._log.position
        if self._closing:
            return False
        if aside is not None and client.heard is not aside:
            if told := client.write(aside.chunk):
                client.heard = aside
        elif client.cursor < position:
            piece = self._pieces.after(client.cursor, client.whole)
            told = piece is not None and client.write(piece.chunk)
            if piece is not None and told:
                client.cursor = piece.end
                told = piece.end == position
        else:
            told = not self._silent or client.write(_ALIVE.chunk)
        return told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until it goes or we do."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["method"] == "HEAD":
            await send(body(b"", more=False))
            return
        if self._open >= MOST:
            await send(body(_BYE % CROWDED_MS, more=False))
            return
        async with anyio.create_task_group() as tasks:
            self._open += 1
            try:
                tasks.start_soon(_cancel_on_disconnect, receive, tasks.cancel_scope)
                await self._follow(await self._begun(scope, send), send)
            finally:
                self._open -= 1
            tasks.cancel_scope.cancel()

    async def _begun(self, scope: Scope, send: Send) -> _Client:
        """A client at the place where it left off, or with a snapshot on its way."""
        query = QueryParams(scope["query_string"])
        cursor = self._pieces.cursor(Headers(scope=scope).get("last-event-id", query.get("after", "")))
        if cursor is None:
            cursor, message = self._pieces.fresh()
            await send(message)
        extension = (scope.get("extensions") or {}).get(AT_ONCE, {})
        return _Client(cursor, query.get("steps") == "all", extension.get("write", _never))

    async def _follow(self, client: _Client, send: Send) -> None:
        log = self._log
        while not self._closing:
            # A page of the log may reach beyond its position: rows are durable a moment before.
            if client.cursor >= log.position and client.heard is self._aside:
                await self._until_roused(client)
            if (aside := self._aside) is not None and client.heard is not aside:
                client.heard = aside
                await send(aside.message)
            elif client.cursor < log.position:
                await self._catch_up(client, send)
            elif self._silent and not self._closing:
                await send(_ALIVE.message)
        await send(body(_BYE % RETRY_MS, more=False))

    async def _until_roused(self, client: _Client) -> None:
        """Wait until there is something new that a client could not be told at once."""
        client.roused = asyncio.get_running_loop().create_future()
        self._caught_up[client] = None
        try:
            await client.roused
        finally:
            self._caught_up.pop(client, None)

    async def _catch_up(self, client: _Client, send: Send) -> None:
        piece = self._pieces.after(client.cursor, client.whole)
        if piece is None:
            piece = await self._pieces.page(client.cursor, client.whole)
        client.cursor = piece.end
        await send(piece.message)


def _never(_: bytes) -> bool:
    """Nothing can be written at once."""
    return False


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
