"""The DuckDB file: its schema, its settings, and rows in and out."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb

from daemon.events import codec
from daemon.events.codec import EPOCH, Row

SCHEMA = """
CREATE TABLE events(
    seq BIGINT PRIMARY KEY, ts TIMESTAMPTZ NOT NULL, type VARCHAR NOT NULL, version SMALLINT NOT NULL,
    job BIGINT, frame BIGINT, cause BIGINT, data JSON USING COMPRESSION zstd NOT NULL, hash BLOB NOT NULL);
CREATE TABLE _log(epoch VARCHAR NOT NULL);
CREATE TABLE _guard(message VARCHAR);
CREATE TRIGGER events_never_deleted AFTER DELETE ON events FOR EACH STATEMENT
    INSERT INTO _guard SELECT error('append-only: events are never deleted');
CREATE TRIGGER events_never_changed AFTER UPDATE ON events FOR EACH STATEMENT
    INSERT INTO _guard SELECT error('append-only: events are never changed');
"""

UNREADABLE = (duckdb.Error, UnicodeDecodeError)
"""What reading a damaged file raises: an error of DuckDB's, or a value, or the error's own words, that is no
text."""

_DAMAGE = ("checksum", "orrupt", "Could not read", "eserializ")
_REFUSALS = ("fsync failed", "Could not write file", "No space left on device")

_COLUMNS = "seq, epoch_us(ts), type, version, job, frame, cause, data, hash"
BATCH = 512
"""Rows fetched at once: few enough to be in the processor's cache still when they are looked at. 5,000 take a
quarter longer each."""
# A checkpoint stalls the writer and is the one moment in which a power cut can hurt the file, so it
# happens on purpose only (`Store.checkpoint`), and when the last connection is closed.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "checkpoint_threshold": "1TB",
    "autoinstall_known_extensions": "false",
}


def refused(error: Exception) -> bool:
    """Whether the machine would not write: a full disk or a failing one is no sign that a file is damaged."""
    return any(words in str(error) for words in _REFUSALS)


def damaged(error: Exception) -> bool:
    """Whether it tells by itself of a file that cannot be read."""
    return isinstance(error, UnicodeDecodeError) or any(words in str(error) for words in _DAMAGE)


def read_everything(connection: duckdb.DuckDBPyConnection) -> None:
    """Read every value of every table, none of which becomes Python's. Raises `UNREADABLE`."""
    for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
        connection.execute(f'SELECT bit_xor(hash(row)) FROM "{table}" AS row').fetchall()


def create(path: Path, epoch: str) -> None:
    """Make a database with an empty log; it appears under its name only once it is whole."""
    fresh = path.with_suffix(".new")
    for stale in (fresh, fresh.with_name(f"{fresh.name}.wal")):
        stale.unlink(missing_ok=True)
    connection = connect(fresh)
    connection.execute(SCHEMA)
    connection.execute("INSERT INTO _log VALUES (?)", (epoch,))
    connection.close()
    fresh.rename(path)


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Open the file. Raises `duckdb.Error` for one that is none of DuckDB's, or broken."""
    connection = duckdb.connect(path, config=_CONFIG)
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def new_epoch() -> str:
    """A name for one log's life: positions of different epochs do not compare."""
    return uuid.uuid4().hex[:12]


def epoch(connection: duckdb.DuckDBPyConnection) -> str:
    """The log's epoch."""
    ((value,),) = connection.execute("SELECT epoch FROM _log").fetchall()
    return str(value)


def last(connection: duckdb.DuckDBPyConnection) -> int:
    """The newest row's seq; 0 for an empty log."""
    rows = connection.execute("SELECT seq FROM events ORDER BY seq DESC LIMIT 1").fetchall()
    return int(rows[0][0]) if rows else 0


def head(connection: duckdb.DuckDBPyConnection, seq: int) -> bytes:
    """The chain's value after row `seq`; `GENESIS` for 0. The rows up to it are there, at least `ANCHOR`."""
    return codec.head(read(connection, max(0, seq - codec.ANCHOR), min(seq, codec.ANCHOR)))


def read(connection: duckdb.DuckDBPyConnection, after: int, limit: int) -> list[Row]:
    """Up to `limit` rows that follow row `after`, in order."""
    query = f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
    return [_row(found) for found in connection.execute(query, (after, limit)).fetchall()]


def stream(
    connection: duckdb.DuckDBPyConnection, condition: str = "true", values: Sequence[object] = ()
) -> Iterator[Row]:
    """The rows that fulfil a condition in SQL, in order, as they are fetched; `values` of its `?`s."""
    found = connection.execute(f"SELECT {_COLUMNS} FROM events WHERE {condition} ORDER BY seq", values)
    while some := found.fetchmany(BATCH):
        yield from map(_row, some)


def values(row: Row) -> tuple[object, ...]:
    """A row as the table's columns want it."""
    ts = EPOCH + timedelta(microseconds=row.ts)
    data = row.data.decode()
    return (row.seq, ts, row.type, row.version, row.job, row.frame, row.cause, data, codec.kept(row))


def _row(found: tuple[Any, ...]) -> Row:
    seq, ts, kind, version, job, frame, cause, data, digest = found
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
