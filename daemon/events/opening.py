"""Opening a history: compare database, journal and segments, and mend what one of them lost.

What the journal has and the database has not is committed again. A database that does not open, or that
disagrees with the journal, is set aside (never deleted) and made anew from segments and journal. What
neither holds is named: `HistoryDamaged` says which rows. Nothing is ever lost in silence.
"""

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import msgspec
from msgspec.structs import replace

from daemon.events import database, journal, segments
from daemon.events.codec import Row, bears, chain, unchained
from daemon.events.journal import Base, Read
from daemon.events.segments import Segment

_ALL = 2**62


class HomeInUse(Exception):
    """Another process has this history open for writing."""


class HistoryDamaged(Exception):
    """Rows that were acknowledged are in none of the files; the message says which, and where to look."""


class Opened(msgspec.Struct, frozen=True):
    """A history that is whole again."""

    connection: duckdb.DuckDBPyConnection
    base: Base
    """What the journal is to build on."""
    rows: list[Row]
    """All rows after the base, with their whole hashes."""
    findings: list[str]
    """What was found and done, for a person to read; empty on every ordinary day."""
    anew: bool
    """The database was made anew, and has no tables yet."""


def journal_of(path: Path) -> Path:
    """The journal beside a database."""
    return path.with_suffix(".journal")


def segments_of(path: Path) -> Path:
    """The folder of segments beside a database."""
    return path.with_suffix("")


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the history for this process alone, by a lock on a file beside it.

    DuckDB's own lock is a POSIX lock, which any open-and-close of the same file in the process drops.
    """
    with path.with_suffix(".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            where = f"another Safelight is running on {path.parent}"
            raise HomeInUse(f"{where}; stop it or choose another --home") from error
        yield


def opened(path: Path, fault: str | None = None) -> Opened:
    """Open the history at `path`, created if there is nothing of one. A database of which a `fault` is known
    is set aside and made anew.

    Raises `HistoryDamaged`, and `duckdb.Error` or OSError where the place cannot be used at all.
    """
    if "?" in str(path):
        # DuckDB takes what follows for a query and puts the write-ahead log's `.wal` before it.
        raise OSError(f"a history cannot lie in {path.parent}: DuckDB needs a path without a question mark")
    segments_of(path).mkdir(exist_ok=True)
    kept = journal.read(journal_of(path))
    sealed = segments.cover(segments.found(segments_of(path)))
    findings: list[str] = []
    if kept is not None and kept.damage is not None:
        findings.append(f"the journal is damaged: {kept.damage}")
    if path.exists():
        connection, anew = _connect_or_replace(path, kept, sealed, findings, fault)
    elif kept is None and not sealed:
        database.create(path, database.new_epoch())
        connection, anew = database.connect(path), True
    else:
        fresh = _made_anew(path, kept, sealed, findings)
        findings.append("the database was missing and was made anew")
        (connection, _), anew = _put_in_place(path, fresh), True
    with ExitStack() as unless_whole:
        # As long as it is open, DuckDB gives the same failed database to whoever asks.
        unless_whole.callback(connection.close)
        base = kept.base if kept is not None else _base(connection, sealed, findings)
        rows = database.read(connection, base.seq, _ALL)
        if kept is None and (wrong := unchained(rows, base.hash)) is not None:
            raise HistoryDamaged(
                f"event {wrong} is not what was recorded, and {journal_of(path)}, which had it, is gone or "
                f"broken; move {path} out of the way to go on with what was sealed, events 1 to {base.seq}"
            )
        rows = list(_whole(base.hash, rows))
        rows += _completed(connection, kept, rows[-1].seq if rows else base.seq, findings)
        unless_whole.pop_all()
    return Opened(connection, base, rows, findings, anew)


def _connect_or_replace(
    path: Path, kept: Read | None, sealed: Sequence[Segment], findings: list[str], fault: str | None
) -> tuple[duckdb.DuckDBPyConnection, bool]:
    """The database at `path` if it can be believed, else one made anew in its place; and whether it was."""
    connection = None
    try:
        if fault is None:
            connection = database.connect(path)
            fault = _shorter(connection, sealed) if kept is None else _disagreement(connection, kept)
    except database.UNREADABLE as error:
        if database.refused(error):
            if connection is not None:
                connection.close()
            raise
        fault = str(error).splitlines()[0]
        if "Could not set lock" in fault:
            raise HomeInUse(f"another program has {path} open: {fault}") from error
    if fault is None and connection is not None:
        return connection, False
    if connection is not None:
        connection.close()
    connection, aside = _put_in_place(path, _made_anew(path, kept, sealed, findings))
    findings.append(f"the database cannot be used: {fault}; it is kept as {aside.name} and was made anew")
    return connection, True


def _shorter(connection: duckdb.DuckDBPyConnection, sealed: Sequence[Segment]) -> str | None:
    """Where the database lacks what was sealed, in words: all that can be told without a journal."""
    newest, upto = database.last(connection), segments.sealed_to(sealed)
    return f"it ends at event {newest}, but events up to {upto} were sealed" if newest < upto else None


def _disagreement(connection: duckdb.DuckDBPyConnection, kept: Read) -> str | None:
    """Where the database contradicts the journal, in words; being shorter or longer is no contradiction."""
    base = kept.base
    rows = database.read(connection, max(0, base.seq - 1), _ALL)
    if base.seq:
        if not rows:
            return f"it ends at event {database.last(connection)}, but events up to {base.seq} were sealed"
        if not bears(rows.pop(0), base.hash):
            return f"its event {base.seq} is not the one that was sealed"
    if (wrong := unchained(rows, base.hash)) is not None:
        return f"its event {wrong} does not follow from the one before"
    for ours, journalled in zip(rows, kept.rows, strict=False):
        if not bears(ours, journalled.hash):
            return f"its event {ours.seq} is not the one in the journal"
    return None


def _completed(
    connection: duckdb.DuckDBPyConnection, kept: Read | None, newest: int, findings: list[str]
) -> list[Row]:
    """Commit what stands in the journal only: what follows `newest`."""
    missing = [] if kept is None else [row for row in kept.rows if row.seq > newest]
    if missing:
        with connection.appender("events") as appender:
            appender.append_rows(database.values(row) for row in missing)
        findings.append(f"events {missing[0].seq} to {missing[-1].seq} came from the journal")
    return missing


def _made_anew(path: Path, kept: Read | None, sealed: Sequence[Segment], findings: list[str]) -> Path:
    """A database with all that the segments hold, ready for the journal's rows, under a name of its own."""
    upto = max(sealed[-1].last if sealed else 0, kept.base.seq if kept is not None else 0)
    if missing := segments.missing(sealed, upto):
        raise HistoryDamaged(
            f"events {missing} are in none of the files: "
            f"the database is gone or broken, and {segments_of(path)} lacks their segment"
        )
    if kept is None:
        findings.append(f"what followed event {upto}, if anything did, is lost: the journal is gone too")
    fresh = path.with_suffix(".anew")
    fresh.unlink(missing_ok=True)
    _wal(fresh).unlink(missing_ok=True)
    database.create(fresh, kept.base.epoch if kept is not None else database.new_epoch())
    with database.connect(fresh) as connection:
        for segment in sealed:
            _take_in(connection, segment)
    return fresh


def _put_in_place(path: Path, fresh: Path) -> tuple[duckdb.DuckDBPyConnection, Path]:
    """The new database under its name, open; what was there is kept under the other."""
    aside = _set_aside(path)
    fresh.rename(path)
    return database.connect(path), aside


def _take_in(connection: duckdb.DuckDBPyConnection, segment: Segment) -> None:
    previous = database.head(connection, database.last(connection))
    try:
        connection.execute(f"INSERT INTO events FROM {segments.source([segment])} ORDER BY seq")
    except database.UNREADABLE as error:
        if database.refused(error):
            raise
        reason = str(error).splitlines()[0]
    else:
        wrong = unchained(database.read(connection, segment.first - 1, _ALL), previous)
        if wrong is None and database.last(connection) == segment.last:
            return
        reason = f"event {wrong or segment.last} is not the one that was sealed"
    raise HistoryDamaged(f"events {segment.first} to {segment.last}: {segment.path} is damaged: {reason}")


def _whole(previous: bytes, rows: Iterable[Row]) -> Iterator[Row]:
    """The same rows with their whole hashes: they follow from one that has `previous`."""
    for row in rows:
        previous = chain(previous, row)
        yield replace(row, hash=previous)


def _base(connection: duckdb.DuckDBPyConnection, sealed: Sequence[Segment], findings: list[str]) -> Base:
    """Where a journal has to start that was lost, or never was."""
    newest = database.last(connection)
    if newest:
        findings.append(f"the journal was missing and was made anew; the database ends at event {newest}")
    upto = min(newest, segments.sealed_to(sealed))
    return Base(database.epoch(connection), upto, database.head(connection, upto))


def _set_aside(path: Path) -> Path:
    """Rename a broken database, and its write-ahead log, out of the way."""
    aside = path.with_name(f"{path.stem}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}")
    if path.exists():
        path.rename(aside)
    if _wal(path).exists():
        _wal(path).rename(_wal(aside))
    return aside


def _wal(path: Path) -> Path:
    """The write-ahead log of a database."""
    return path.with_name(f"{path.name}.wal")
