"""What followers of the log get, as bytes: the whole state, and the piece from a cursor to the log's end.

What clients at the same place get is made once for all of them.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile

import anyio
from starlette.types import Message

from daemon.events.log import Log, Told
from daemon.projections.state import State

REPLAY = 2000
"""Events that a returning client is replayed from the log; one that missed more, and more than memory holds,
gets a snapshot."""
SHARED_FOR = 1.0
"""Seconds for which a snapshot serves all who come, with the events since then behind it."""
PLACES = 16
"""From which pieces are kept for others. Those who keep up are at one or two; each who comes back may be at
one of its own."""


ENOUGH = 128 * 1024
"""Bytes after which a piece ends, and the next one begins once the client has room again: what waits for one
that has stopped reading is kept for each of those."""


class Piece:
    """A part of an answer's body, as ASGI has it and as HTTP/1.1 frames it."""

    __slots__ = ("chunk", "end", "message")

    def __init__(self, data: bytes, end: int = 0) -> None:
        self.end = end
        """The event up to which it tells; 0 for what is no event."""
        self.message = body(data)
        self.chunk = b"%x\r\n%b\r\n" % (len(data), data)


class Pieces:
    """What is at hand for followers of one log."""

    def __init__(self, log: Log[State], snapshot: Callable[[], bytes]) -> None:
        """`snapshot` answers the whole state as JSON, as of `log.position`."""
        self._log = log
        self._snapshot = snapshot
        self._shared: tuple[int, float, Message] | None = None
        self._made: dict[tuple[int, int, bool], Piece] = {}

    def __repr__(self) -> str:
        return f"<Pieces: {len(self._made)} at hand>"

    def fresh(self) -> tuple[int, Message]:
        """A snapshot, and the event as of which it is: one that was made for others, while the ring has all
        that came after it."""
        now = anyio.current_time()
        if self._shared is not None:
            position, until, message = self._shared
            if now < until and self.remembers(position):
                return position, message
        position = self._log.position
        message = body(self._framed(b"event: snapshot\n", position, self._snapshot()))
        self._shared = (position, now + SHARED_FOR, message)
        return position, message

    def after(self, cursor: int, whole: bool) -> Piece | None:
        """What follows `cursor`, up to the log's end or `ENOUGH`; None if memory does not reach back so far.

        Without the previews that a later one makes old news, unless `whole`.
        """
        place = cursor, self._log.position, whole
        piece = self._made.get(place)
        if piece is None and self.remembers(cursor):
            if len(self._made) == PLACES:
                self.forget()
            newest_first = takewhile(lambda one: one.seq > cursor, reversed(self._log.ring))
            piece = self._made[place] = self._joined([*newest_first][::-1], whole)
        return piece

    def forget(self) -> None:
        """Let go of what was made for places where hardly anyone is by now."""
        self._made.clear()

    async def page(self, cursor: int, whole: bool) -> Piece:
        """The same from the log's rows, some of them."""
        return self._joined([Told(recorded) for recorded in await self._log.read(cursor, REPLAY)], whole)

    def remembers(self, cursor: int) -> bool:
        """Whether memory holds every event after this one."""
        ring = self._log.ring
        return cursor == self._log.position or (bool(ring) and ring[0].seq <= cursor + 1)

    def cursor(self, said: str) -> int | None:
        """Where a client left off that says so, if it did in this log and not too long ago."""
        epoch, _, seq = said.rpartition(".") if "." in said else (self._log.epoch, "", said)
        if epoch != self._log.epoch or not (seq.isascii() and seq.isdigit() and len(seq) < 19):
            return None
        cursor = int(seq)
        if cursor > self._log.position:
            return None
        return cursor if self.remembers(cursor) or self._log.position - cursor <= REPLAY else None

    def _joined(self, events: list[Told], whole: bool) -> Piece:
        parts: list[bytes] = []
        size = end = 0
        for one in events if whole else coalesced(events):
            parts.append(self._framed(b"", one.seq, one.message))
            size, end = size + len(parts[-1]), one.seq
            if size >= ENOUGH:
                break
        return Piece(b"".join(parts), end)

    def _framed(self, kind: bytes, seq: int, data: bytes) -> bytes:
        return b"id: %s.%d\n%sdata: %s\n\n" % (self._log.epoch.encode(), seq, kind, data)


def coalesced(events: Iterable[Told]) -> Iterator[Told]:
    """The events without those previews that a later one of the same frame follows."""
    events = list(events)
    last = {one.superseding: one.seq for one in events}
    return (one for one in events if one.superseding is None or last[one.superseding] == one.seq)


def body(data: bytes, *, more: bool = True) -> Message:
    """The ASGI message."""
    return {"type": "http.response.body", "body": data, "more_body": more}
