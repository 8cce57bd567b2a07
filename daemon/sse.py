"""The log as server-sent events: one integer cursor per client over the log's ring, no queue per client.

An event is sent only when it is durable. A fresh client gets a snapshot as of position S, then all after
S; one that comes back with `Last-Event-ID` gets what it missed, or a snapshot if that is too much. So
there is no gap and no duplicate by construction, and a slow client costs nothing: when it wakes, it
gets what it missed in one write, without previews that a later one in the same write makes old news.

What clients at the same place get is made once for all of them: the snapshot, and the piece from a
cursor to the log's end. Written straight on ASGI, because a stream here is a cursor and a loop.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile

import anyio
from anyio.abc import TaskStatus
from starlette.datastructures import Headers, QueryParams
from starlette.types import Message, Receive, Scope, Send

from daemon.events.log import Log, Told
from daemon.projections.state import State

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that proxies and people know that we live."""
REPLAY = 2000
"""Events that a returning client is replayed from the log; one that missed more, and more than memory holds,
gets a snapshot."""
MOST = 4000
"""Streams at once. Who comes beyond is asked to come again: a browser that is refused gives up for good."""
SHARED_FOR = 1.0
"""Seconds for which a snapshot serves all who come, with the events since then behind it."""
RETRY_MS = 1000
CROWDED_MS = 30_000

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_BYE = b"retry: %d\nevent: bye\ndata: {}\n\n"


class Streams:
    """All open streams; an ASGI application that makes one of each request. `run` wakes them."""

    def __init__(self, log: Log[State], snapshot: Callable[[], bytes]) -> None:
        """`snapshot` answers the whole state as JSON, as of `log.position`."""
        self._log = log
        self._snapshot = snapshot
        self._shared: tuple[int, float, Message] | None = None
        self._pieces: dict[tuple[int, int, bool], Message] = {}
        self._aside: Message | None = None
        self._bell = anyio.Event()
        self._silent = False
        self._open = 0
        self._closing = False

    def __repr__(self) -> str:
        return f"<Streams: {self._open} open>"

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Wake all streams whenever the log has gone on, or has been silent for long, until cancelled."""
        position = self._log.position
        task_status.started()
        while True:
            with anyio.move_on_after(KEEP_ALIVE) as scope:
                position = await self._log.changed(position)
            self._wake(silent=scope.cancelled_caught)

    def tell(self, kind: bytes, data: bytes) -> None:
        """Say something that is no event, without an id. Who is slow or comes later hears only the newest."""
        self._aside = _body(b"event: %s\ndata: %s\n\n" % (kind, data))
        self._wake(silent=False)

    def close(self) -> None:
        """Have every stream say goodbye and end; new ones end at once."""
        self._closing = True
        self._wake(silent=False)

    def _wake(self, *, silent: bool) -> None:
        self._silent = silent
        self._pieces.clear()
        self._bell.set()
        self._bell = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until it goes or we do."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if self._open >= MOST:
            await send(_bye(CROWDED_MS))
            return
        query = QueryParams(scope["query_string"])
        async with anyio.create_task_group() as tasks:
            self._open += 1
            try:
                tasks.start_soon(_cancel_on_disconnect, receive, tasks.cancel_scope)
                await self._follow(self._cursor(scope, query), query.get("steps") == "all", send)
            finally:
                self._open -= 1
            tasks.cancel_scope.cancel()

    async def _follow(self, cursor: int | None, whole: bool, send: Send) -> None:
        log = self._log
        heard: Message | None = None
        if cursor is None:
            cursor, message = self._fresh()
            await send(message)
        while not self._closing:
            if cursor == log.position and heard is self._aside:
                await self._bell.wait()
            if heard is not (aside := self._aside) and aside is not None:
                heard = aside
                await send(aside)
            elif cursor < log.position:
                if self._remembers(cursor):
                    cursor, message = log.position, self._piece(cursor, whole)
                else:
                    cursor, message = await self._page(cursor, whole)
                await send(message)
            elif self._silent and not self._closing:
                await send(_ALIVE)
        await send(_bye(RETRY_MS))

    def _fresh(self) -> tuple[int, Message]:
        """A snapshot, and the event as of which it is: one that was made for others, while the ring has all
        that came after it."""
        now = anyio.current_time()
        if self._shared is not None:
            position, until, message = self._shared
            if now < until and self._remembers(position):
                return position, message
        position = self._log.position
        message = _body(self._framed(b"event: snapshot\n", position, self._snapshot()))
        self._shared = (position, now + SHARED_FOR, message)
        return position, message

    def _piece(self, cursor: int, whole: bool) -> Message:
        """Everything after `cursor`, from memory; one object for all who are at the same place."""
        place = cursor, self._log.position, whole
        if (piece := self._pieces.get(place)) is None:
            newest_first = takewhile(lambda one: one.seq > cursor, reversed(self._log.ring))
            piece = self._pieces[place] = self._joined([*newest_first][::-1], whole)
        return piece

    async def _page(self, cursor: int, whole: bool) -> tuple[int, Message]:
        """What follows `cursor` in the log, and where that ends."""
        page = [Told(recorded) for recorded in await self._log.read(cursor, REPLAY)]
        return page[-1].seq, self._joined(page, whole)

    def _remembers(self, cursor: int) -> bool:
        """Whether memory holds every event after this one."""
        ring = self._log.ring
        return cursor == self._log.position or (bool(ring) and ring[0].seq <= cursor + 1)

    def _joined(self, events: list[Told], whole: bool) -> Message:
        chosen = events if whole else coalesced(events)
        return _body(b"".join(self._framed(b"", one.seq, one.message) for one in chosen))

    def _framed(self, kind: bytes, seq: int, data: bytes) -> bytes:
        return b"id: %s.%d\n%sdata: %s\n\n" % (self._log.epoch.encode(), seq, kind, data)

    def _cursor(self, scope: Scope, query: QueryParams) -> int | None:
        """Where the client left off, if it did in this log and not too long ago."""
        said = Headers(scope=scope).get("last-event-id", query.get("after", ""))
        epoch, _, seq = said.rpartition(".") if "." in said else (self._log.epoch, "", said)
        if epoch != self._log.epoch or not (seq.isascii() and seq.isdigit() and len(seq) < 19):
            return None
        cursor = int(seq)
        if cursor > self._log.position:
            return None
        return cursor if self._remembers(cursor) or self._log.position - cursor <= REPLAY else None


def coalesced(events: Iterable[Told]) -> Iterator[Told]:
    """The events without those previews that a later one of the same frame follows."""
    events = list(events)
    last = {one.superseding: one.seq for one in events}
    return (one for one in events if one.superseding is None or last[one.superseding] == one.seq)


def _body(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


def _bye(retry: int) -> Message:
    return {"type": "http.response.body", "body": _BYE % retry, "more_body": False}


_ALIVE = _body(b": still here\n\n")


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
