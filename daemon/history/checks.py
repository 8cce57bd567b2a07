"""The single checks of an audit. Each looks at one kind of thing, and says every fault that it has."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import msgspec
from msgspec.structs import replace

from daemon.events import codec, database, segments, sums
from daemon.events.codec import GENESIS, Row, UnknownEvent, bears, chain, whole
from daemon.events.database import UNREADABLE
from daemon.events.journal import Read
from daemon.events.types import EventRedacted, FileMissing, FinalDeleted, FinalWritten, Recorded
from daemon.history import copies
from daemon.history.findings import Audit, first_line
from daemon.history.forgotten import Forgotten
from daemon.projections import rebuilding, tables
from daemon.projections.rebuilding import Drift
from daemon.settings import Home

_STRIDE = 256
"""Rows between two that are looked up by their number, so that each part of the index is read."""
_SHOWN = 20
"""Findings of one kind before the rest is only counted."""


class Pictures:
    """The finished pictures that the log says are there, and those that it says are gone."""

    def __init__(self) -> None:
        """None yet."""
        self.there: dict[str, FinalWritten] = {}
        self.gone: set[str] = set()
        self._written: dict[int, str] = {}

    def learn(self, recorded: Recorded) -> None:
        """Take one more event in."""
        match event := recorded.event:
            case FinalWritten(path=path):
                self.there[path] = event
                self._written[recorded.seq] = path
            case EventRedacted(picture_bytes=int(size), picture_sha256=str(digest)):
                path = self._written.get(event.event, "")
                if path in self.there:
                    self.there[path] = replace(self.there[path], bytes=size, sha256=digest)
            case FinalDeleted(path=path) | FileMissing(path=path):
                self.there.pop(path, None)
                self.gone.add(path)
            case _:
                pass


def check_segments(folder: Path, audit: Audit) -> None:
    """Is each sealed file the one that was sealed, and do they follow one another?"""
    found = segments.found(folder)
    # After them: a daemon that is running enters a checksum before its segment is there.
    listed = sums.listed(folder)
    for segment in audit.told(found, len(found), "segments"):
        try:
            digest = sums.of(segment.path)
        except FileNotFoundError:
            continue  # it has just been merged into a wider one
        audit.count("segments", 1)
        if segment.path.name not in listed:
            audit.find(f"history/{segment.path.name}", f"its checksum is not in {sums.NAME}")
        elif listed[segment.path.name] != digest:
            events = f"events {segment.first} to {segment.last}"
            audit.find(f"history/{segment.path.name}", f"{events}: not what was sealed, by {sums.NAME}")
    last = 0
    for segment in segments.cover(found):
        if segment.first > last + 1:
            audit.find("history", f"no segment has events {last + 1} to {segment.first - 1}")
        last = segment.last


def check_copies(folder: Path, audit: Audit) -> None:
    """Are the files for readers what was written? Each `safelight sql` makes them anew where it must."""
    position = copies.read(folder)
    if position is None:
        if (folder / copies.POSITION).exists():
            audit.find(f"history/{copies.POSITION}", "it makes no sense")
        return
    for name, digest in position.files.items():
        audit.count("copies", 1)
        if not (folder / name).exists():
            audit.find(f"history/{name}", "it is missing")
        elif sums.of(folder / name) != digest:
            audit.find(f"history/{name}", f"it is not what {copies.POSITION} says")


class Link:
    """The chain's value as it runs along the rows.

    Where one is not as it was recorded, the value is lost until a row has its whole hash again. Nothing can
    be said of those between, and that is found too.
    """

    def __init__(self) -> None:
        """Before row 1."""
        self._value: bytes | None = GENESIS
        self._unknown_from = 0

    def check(self, row: Row, audit: Audit) -> None:
        """Does the next row follow?"""
        if self._value is None:
            if whole(row):
                self.end(row.seq, audit)
                self._value = row.hash
            return
        self._value = chain(self._value, row)
        if not bears(row, self._value):
            audit.find(f"event {row.seq}", "its hash does not follow from it and the event before")
            self.lost(row)

    def lost(self, row: Row) -> None:
        """This row is not the one that was to come."""
        self._value = row.hash if whole(row) else None
        self._unknown_from = row.seq + 1

    def end(self, last: int, audit: Audit) -> None:
        """Say which rows up to the last cannot be held to the chain."""
        if self._value is None and last >= self._unknown_from:
            audit.find("events", f"{_span(self._unknown_from, last)} unchecked: the chain is broken before")


def check_rows(rows: Iterable[Row], kept: Read | None, audit: Audit) -> tuple[int, Pictures]:
    """Does each row follow from the one before it, and say something that we understand? And has the journal
    the same? Answers the last row's number, and the pictures that there should be.
    """
    pictures, forgotten, link, last = Pictures(), Forgotten(), Link(), 0
    journalled = (
        {} if kept is None else {row.seq: row.hash for row in kept.rows} | {kept.base.seq: kept.base.hash}
    )
    for row in rows:
        audit.count("events", 1)
        if row.seq != last + 1:
            link.end(last, audit)
            audit.find("events", f"{_span(last + 1, row.seq - 1)} missing")
            link.lost(row)
        else:
            link.check(row, audit)
        if not bears(row, journalled.get(row.seq, row.hash)):
            audit.find(f"event {row.seq}", "the journal has another one")
        last = row.seq
        try:
            recorded = codec.open_row(row)
            pictures.learn(recorded)
            forgotten.learn(row, recorded.event)
        except (UnknownEvent, msgspec.DecodeError) as error:
            audit.find(f"event {row.seq}", f"it cannot be read: {error}")
    link.end(last, audit)
    forgotten.check(audit)
    return last, pictures


def check_journal(kept: Read | None, last: int, epoch: str, audit: Audit) -> None:
    """Does the journal hold all that followed the last seal, and nothing else?"""
    place = "history.journal"
    if kept is None:
        audit.find(place, "it is missing, or its beginning cannot be read")
        return
    ends = kept.base.seq + len(kept.rows)
    audit.count("journalled events", len(kept.rows))
    if kept.damage is not None:
        audit.find(place, f"{kept.damage}; it can be read up to event {ends}")
    if kept.base.epoch != epoch:
        audit.find(place, f"it belongs to another history, {kept.base.epoch}; the database is {epoch}")
    if ends < last:
        audit.find(place, f"{_span(ends + 1, last)} missing in it")
    elif ends > last:
        audit.find(
            "history.duckdb", f"{_span(last + 1, ends)} only in the journal; the next start takes them in"
        )


def check_index(connection: duckdb.DuckDBPyConnection, audit: Audit) -> None:
    """Does the database find its rows by their keys, and can each value of each table be read?

    An index lies in pieces of the file that reading the rows never touches, and a start needs it.
    """
    keys = connection.execute(
        "SELECT table_name, constraint_column_names[1] FROM duckdb_constraints() "
        "WHERE constraint_type = 'PRIMARY KEY' ORDER BY ALL"
    ).fetchall()
    for table, key in keys:
        ordered = f'SELECT "{key}" AS key, row_number() OVER (ORDER BY "{key}") AS place FROM "{table}"'
        some = connection.execute(f"SELECT key FROM ({ordered}) WHERE place % {_STRIDE} = 1").fetchall()
        for (value,) in some:
            query = f'SELECT "{key}" FROM "{table}" WHERE "{key}" = ?'
            if connection.execute(query, (value,)).fetchall() != [(value,)]:
                audit.find(f"{table} {value}", "the database's index does not find it")
    database.read_everything(connection)


def check_sealed(connection: duckdb.DuckDBPyConnection, folder: Path, audit: Audit) -> None:
    """Are the rows in the segments those in the database?"""
    columns = "seq, epoch_us(ts), type, version, job, frame, cause, data, hash"
    for segment in segments.cover(segments.found(folder)):
        ours = f"SELECT {columns} FROM events WHERE seq BETWEEN {segment.first} AND {segment.last}"
        theirs = f"SELECT {columns} FROM {segments.source([segment])}"
        either = f"({ours} EXCEPT {theirs}) UNION ALL ({theirs} EXCEPT {ours})"
        try:
            differing = connection.execute(f"SELECT DISTINCT seq FROM ({either}) ORDER BY 1").fetchall()
        except UNREADABLE as error:
            audit.find(f"history/{segment.path.name}", f"it cannot be read: {first_line(error)}")
            continue
        for (seq,) in differing[:_SHOWN]:
            audit.find(f"event {seq}", f"history/{segment.path.name} and the database have different ones")
        if len(differing) > _SHOWN:
            audit.find(f"history/{segment.path.name}", f"and {len(differing) - _SHOWN} more events differ")


def check_tables(connection: duckdb.DuckDBPyConnection, audit: Audit) -> None:
    """Are the tables what the log up to their position leads to?"""
    found = {name for (name,) in connection.execute("SELECT name FROM projections").fetchall()}
    if found != set(tables.TABLES):
        audit.unchecked.append("tables: they are of another version, or missing; the next start makes them")
        return
    audit.count("tables", len(found))
    for drift in rebuilding.drifts(connection):
        audit.find(f"{drift.table} {drift.key}", _difference(drift))


def _difference(drift: Drift) -> str:
    if drift.found is None:
        return "the row is missing"
    if drift.expected is None:
        return "the log knows of no such row"
    expected = drift.expected
    return ", ".join(
        f"{name} is {value}, the log says {expected[name]}" for name, value in drift.found.items()
    )


def check_pictures(home: Home, pictures: Pictures, since: float, audit: Audit) -> None:
    """Is each finished picture there, byte for byte, and none besides? Files younger than `since` (seconds
    since 1970) may be the doing of a daemon at work.
    """
    for path, event in audit.told(pictures.there.items(), len(pictures.there), "pictures"):
        audit.count("pictures", 1)
        fault = _picture_fault(home.root / path, event)
        if fault is not None:
            audit.find(path, f"frame {event.frame}: {fault}")
    named = {Path(path).name for path in pictures.there}
    gone = {Path(path).name for path in pictures.gone}
    for file in _finals(home):
        if file.name not in named and file.stat().st_mtime < since:
            going = "the log says that it is gone; the next start deletes it"
            audit.find(f"frames/{file.name}", going if file.name in gone else "no event names it")


def _finals(home: Home) -> Iterator[Path]:
    return (file for file in sorted(home.frames.glob("task_*.png")) if not file.stem.endswith("_preview"))


def _picture_fault(path: Path, event: FinalWritten) -> str | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return "it is missing"
    if len(content) != event.bytes:
        return f"it has {len(content)} bytes, the log says {event.bytes}"
    return (
        None if hashlib.sha256(content).hexdigest() == event.sha256 else "its content is not what was written"
    )


def _span(first: int, last: int) -> str:
    return f"event {first} is" if first == last else f"events {first} to {last} are"
