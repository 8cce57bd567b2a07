"""Event ⇄ bytes, and the hash chain.  PURE

What is hashed is what is stored: the `data` column holds the very bytes that `encode` made, so that
checking a row never depends on how today's code would write it.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from daemon.events import redaction, versions
from daemon.events.types import BY_NAME, Event, PreviewWritten, Recorded

GENESIS = bytes(32)
"""The hash that stands before row 1."""
ANCHOR = 16
"""Every row whose number this divides keeps its whole hash."""
KEPT = 12
"""Bytes that the others keep, enough to tell that a row was changed: a hash does not compress. What goes on
in the chain is the whole value all the same (decision 35)."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_encoder = msgspec.json.Encoder()
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(kind) for name, kind in BY_NAME.items()
}
_versions = {name: versions.current(name) for name in BY_NAME}
_today: dict[int, dict[str, Callable[[bytes | str], Event]]] = {
    version: {name: _decoders[name].decode for name in BY_NAME if _versions[name] == version}
    for version in {*_versions.values()}
}
"""What decodes an event as today's, by version and name."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row of the `events` table, as stored."""

    seq: int
    ts: int
    """Microseconds since 1970, UTC."""
    type: str
    version: int
    job: int | None
    frame: int | None
    cause: int | None
    data: bytes
    """JSON."""
    hash: bytes
    """The chain's value after this row, or its beginning, as `kept` has it."""


class UnknownEvent(Exception):
    """The log holds an event that this version of Safelight does not know."""


def seal(event: Event, *, seq: int, ts: datetime, cause: int | None, previous: bytes) -> Row:
    """The row that stores `event`, chained to the row before it."""
    kind = type(event).__name__
    job: int | None = getattr(event, "job", None)
    frame: int | None = getattr(event, "frame", None)
    data = _encoder.encode(event)
    columns = (seq, (ts - EPOCH) // _MICROSECOND, kind, _versions[kind], job, frame, cause)
    return Row(*columns, data, _link(previous, columns, hashlib.sha256(data).digest()))


def chain(previous: bytes, row: Row) -> bytes:
    """SHA-256 over the previous row's hash, the row's columns, and the SHA-256 of its data.

    The data enters as a digest, so that the chain can still be checked where words were taken out: they
    leave the digest of what they stood in behind (see `redaction`).
    """
    columns = (row.seq, row.ts, row.type, row.version, row.job, row.frame, row.cause)
    return _link(previous, columns, redaction.digest(row.data))


def kept(row: Row) -> bytes:
    """What database and segments keep of a row's whole hash."""
    return row.hash if row.seq % ANCHOR == 0 else row.hash[:KEPT]


def bears(row: Row, value: bytes) -> bool:
    """Whether a row has this hash, as much of it as it must have kept."""
    return len(row.hash) >= (KEPT if row.seq % ANCHOR else len(value)) and value.startswith(row.hash)


def unchained(rows: Iterable[Row], value: bytes = GENESIS) -> int | None:
    """The first row that does not follow from the one before it; before all of them stands `value`."""
    for row in rows:
        value = chain(value, row)
        if not bears(row, value):
            return row.seq
    return None


def whole(row: Row) -> bool:
    """Whether it has all of its hash."""
    return len(row.hash) == len(GENESIS)


def head(rows: Sequence[Row]) -> bytes:
    """The chain's value after the last of neighbouring rows, from the newest that has its whole hash on.

    The first of them is row 1 if none has.
    """
    value, after = GENESIS, 0
    for place, row in enumerate(rows, start=1):
        if whole(row):
            value, after = row.hash, place
    for row in rows[after:]:
        value = chain(value, row)
    return value


def _link(previous: bytes, columns: tuple[object, ...], digest: bytes) -> bytes:
    return hashlib.sha256(previous + _encoder.encode(columns) + digest).digest()


def open_row(row: Row) -> Recorded:
    """The event that a row stores. Raises `UnknownEvent` for a type or version from a later Safelight."""
    return _recorded(row, decode(row.seq, row.type, row.version, row.data))


def open_rows(rows: Sequence[Row]) -> list[Recorded]:
    """As `open_row`, in less time each."""
    events = decode_each([(row.seq, row.type, row.version, row.data) for row in rows])
    return [_recorded(row, event) for row, event in zip(rows, events, strict=True)]


def _recorded(row: Row, event: Event) -> Recorded:
    ts = EPOCH + row.ts * _MICROSECOND
    return Recorded(seq=row.seq, ts=ts, event=event, cause=row.cause, hash=row.hash[:KEPT])


def decode_each(rows: Sequence[tuple[int, str, int, bytes | str]]) -> list[Event]:
    """As `decode`, for rows of its arguments: nearly all are of today's versions."""
    try:
        return [_today[version][kind](data) for _, kind, version, data in rows]
    except KeyError:
        return [decode(*row) for row in rows]


def decode(seq: int, kind: str, version: int, data: bytes | str) -> Event:
    """The event in a row's `data`, whatever version wrote it. Raises as `open_row` does."""
    today = _versions.get(kind, 0)
    if version == today:
        event: Event = _decoders[kind].decode(data)
        return event
    if version > today:
        raise UnknownEvent(
            f"event {seq} is a {kind} of version {version}, which this version of Safelight "
            "does not know; open the history with the version that wrote it, or a later one"
        )
    old = versions.upcast(kind, version, msgspec.json.decode(data, type=dict[str, Any]))
    led_up: Event = msgspec.convert(old, BY_NAME[kind])
    return led_up


def message(recorded: Recorded) -> bytes:
    """The event as the page and `/api/log` get it: one line of JSON."""
    return _encoder.encode(
        {
            "seq": recorded.seq,
            "ts": recorded.ts,
            "type": type(recorded.event).__name__,
            "cause": recorded.cause,
            "data": recorded.event,
            "hash": recorded.hash.hex(),
        }
    )


def superseding(event: Event) -> int | None:
    """The frame whose earlier previews this event makes old news; None if it makes none so."""
    return event.frame if isinstance(event, PreviewWritten) else None
