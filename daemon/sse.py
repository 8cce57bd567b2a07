"""The log as server-sent events: one integer cursor per client over the log's ring, no queue per client.

An event is sent only when it is durable. A fresh client gets a snapshot as of position S, then all after
S; one that comes back with `Last-Event-ID` gets what it missed, or a snapshot if that is too much. So
there is no gap and no duplicate by construction, and a slow client costs nothing: when it wakes, it
gets what it missed in one write. Written straight on ASGI, because a stream here is a cursor and a loop.
"""

from collections.abc import Callable
from itertools import islice

import anyio
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from daemon.events import codec
from daemon.events.log import Log
from daemon.projections.state import State

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that proxies and people know that we live."""
REPLAY = 2000
"""Events that a returning client is replayed; one that missed more gets a snapshot."""
RETRY_MS = 1000

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_BYE = b"retry: %d\nevent: bye\ndata: {}\n\n" % RETRY_MS


class Streams:
    """All open streams; an ASGI application that makes one of each request."""

    def __init__(self, log: Log[State], snapshot: Callable[[], bytes]) -> None:
        """`snapshot` answers the whole state as JSON, as of `log.position`."""
        self._log = log
        self._snapshot = snapshot
        self._waits: set[anyio.CancelScope] = set()
        self._closing = False

    def __repr__(self) -> str:
        return f"<Streams: {len(self._waits)} waiting>"

    def close(self) -> None:
        """Have every stream say goodbye and end; new ones end at once."""
        self._closing = True
        for scope in self._waits:
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until it goes or we do."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_disconnect, receive, tasks.cancel_scope)
            await self._follow(self._cursor(scope), send)
            tasks.cancel_scope.cancel()

    async def _follow(self, cursor: int | None, send: Send) -> None:
        if cursor is None:
            cursor = self._log.position
            await _write(send, self._framed(b"event: snapshot\n", cursor, self._snapshot()))
        while not self._closing:
            if cursor == self._log.position:
                await self._wait(cursor)
            if cursor < self._log.position:
                cursor, events = await self._since(cursor)
                await _write(send, b"".join(events))
            elif not self._closing:
                await _write(send, b": still here\n\n")
        await send({"type": "http.response.body", "body": _BYE, "more_body": False})

    async def _wait(self, cursor: int) -> None:
        with anyio.move_on_after(KEEP_ALIVE) as scope:
            self._waits.add(scope)
            try:
                await self._log.changed(cursor)
            finally:
                self._waits.discard(scope)

    async def _since(self, cursor: int) -> tuple[int, list[bytes]]:
        """Everything after `cursor`, from memory or, page by page, from the log."""
        ring = self._log.ring
        missing = cursor + 1 - ring[0][0] if ring else -1
        if missing < 0:
            page = [
                (recorded.seq, codec.message(recorded)) for recorded in await self._log.read(cursor, REPLAY)
            ]
        else:
            page = list(islice(ring, missing, None))
        return page[-1][0], [self._framed(b"", seq, message) for seq, message in page]

    def _framed(self, kind: bytes, seq: int, data: bytes) -> bytes:
        return b"id: %s.%d\n%sdata: %s\n\n" % (self._log.epoch.encode(), seq, kind, data)

    def _cursor(self, scope: Scope) -> int | None:
        """Where the client left off, if it did in this log and not too long ago."""
        after = QueryParams(scope["query_string"]).get("after", "")
        said = Headers(scope=scope).get("last-event-id", after)
        epoch, _, seq = said.rpartition(".") if "." in said else (self._log.epoch, "", said)
        if epoch != self._log.epoch or not (seq.isascii() and seq.isdigit() and len(seq) < 19):
            return None
        cursor = int(seq)
        return cursor if 0 <= self._log.position - cursor <= REPLAY else None


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
