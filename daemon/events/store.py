"""The log's rows in DuckDB: commit, read, reconcile. All synchronous, all from one thread at a time.

One connection for the daemon's whole life. Rows are added through the Appender inside an explicit
transaction. A commit that raises may still be durable (a failed checkpoint after it, say), so nothing
here ever retries: `last` tells what the log really holds, and the caller decides.
"""

import fcntl
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from daemon.events.codec import EPOCH, GENESIS, Row

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events(
    seq BIGINT PRIMARY KEY, ts TIMESTAMPTZ NOT NULL, type VARCHAR NOT NULL, version SMALLINT NOT NULL,
    job BIGINT, frame BIGINT, cause BIGINT, data JSON NOT NULL, hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS _log(epoch VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS _guard(message VARCHAR);
"""

_TRIGGERS = """
CREATE TRIGGER IF NOT EXISTS events_never_deleted AFTER DELETE ON events FOR EACH STATEMENT
    INSERT INTO _guard SELECT error('append-only: events are never deleted');
CREATE TRIGGER IF NOT EXISTS events_never_changed AFTER UPDATE ON events FOR EACH STATEMENT
    INSERT INTO _guard SELECT error('append-only: events are never changed');
"""

_COLUMNS = "seq, epoch_us(ts), type, version, job, frame, cause, data, hash"
# A checkpoint stalls the writer and is the one moment in which a power cut can hurt the file, so it
# never happens by itself; DuckDB makes one when the last connection is closed.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "checkpoint_threshold": "1TB",
    "autoinstall_known_extensions": "false",
}


class HomeInUse(Exception):
    """Another process has this history open for writing."""


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the history for this process alone, by a lock on a file beside it.

    DuckDB's own lock is a POSIX lock, which any open-and-close of the same file in the process drops.
    """
    with path.with_suffix(".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HomeInUse(
                f"another Safelight is running on {path.parent}; stop it or choose another --home"
            ) from error
        yield


class Store:
    """The open database. `connection` is for the tables' own transactions, in the same thread."""

    def __init__(self, path: Path) -> None:
        """Open or create the database; a new one appears under its name only once it is whole."""
        if not path.exists():
            _create(path)
        self.connection = _connect(path)
        self.epoch = str(_only(self.connection, "SELECT epoch FROM _log"))
        self._appender = self.connection.appender("events")

    def close(self) -> None:
        """Checkpoint and close."""
        del self._appender
        self.connection.close()

    def commit(self, rows: Sequence[Row]) -> None:
        """Make the rows durable, all or none. On any error: ask `last` what became of them."""
        try:
            self.connection.begin()
            self._appender.append_rows(_values(row) for row in rows)
            self._appender.flush()
            self.connection.commit()
        except BaseException:
            self._appender.clear()
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # Where the commit itself failed, the transaction is over already.
        with suppress(duckdb.TransactionException):
            self.connection.rollback()

    def last(self) -> tuple[int, bytes]:
        """The newest row's seq and hash; 0 and `GENESIS` for an empty log."""
        row = self.connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchall()
        return (row[0][0], bytes(row[0][1])) if row else (0, GENESIS)

    def read(self, after: int, limit: int) -> list[Row]:
        """Up to `limit` rows that follow row `after`, in order."""
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        ).fetchall()
        return [_row(values) for values in rows]

    def transaction(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run `work` in one transaction of its own."""
        self.connection.begin()
        try:
            result = work(self.connection)
            self.connection.commit()
        except BaseException:
            self._roll_back()
            raise
        return result


def _create(path: Path) -> None:
    fresh = path.with_suffix(".new")
    for stale in (fresh, fresh.with_name(fresh.name + ".wal")):
        stale.unlink(missing_ok=True)
    connection = _connect(fresh)
    connection.execute(_SCHEMA)
    connection.execute(_TRIGGERS)
    connection.execute("INSERT INTO _log VALUES (?)", (uuid.uuid4().hex[:12],))
    connection.close()
    fresh.rename(path)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(path, config=_CONFIG)
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _only(connection: duckdb.DuckDBPyConnection, query: str) -> object:
    ((value,),) = connection.execute(query).fetchall()
    return value


def _values(row: Row) -> tuple[object, ...]:
    ts = EPOCH + timedelta(microseconds=row.ts)
    return (row.seq, ts, row.type, row.version, row.job, row.frame, row.cause, row.data.decode(), row.hash)


def _row(values: tuple[Any, ...]) -> Row:
    seq, ts, kind, version, job, frame, cause, data, digest = values
    return Row(
        seq=seq,
        ts=ts,
        type=kind,
        version=version,
        job=job,
        frame=frame,
        cause=cause,
        data=data.encode(),
        hash=bytes(digest),
    )
