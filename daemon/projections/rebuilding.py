"""The tables made again from the log, in SQL; and the live ones held against that.

A rebuild reads a snapshot of the log in a thread of its own while the writer goes on, into fresh tables
beside the live ones. Then, in the writer's thread and one transaction, the jobs that have changed since are
done over and the fresh tables take the live ones' place.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import duckdb
import msgspec
from anyio import to_thread

from daemon.events.log import Log
from daemon.projections import kept, rows, tables
from daemon.projections.state import State
from daemon.projections.tables import TABLES, VERSION

POSITIONS = (
    "CREATE TABLE IF NOT EXISTS "
    "projections(name VARCHAR PRIMARY KEY, version BIGINT NOT NULL, seq BIGINT NOT NULL)"
)
"""The table that says which event each of the others stands for."""


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild did."""

    position: int
    """The event that the new tables stand for."""
    seconds: float
    swap_seconds: float
    """For which the log's writer had to wait."""
    rows: dict[str, int]


class Drift(msgspec.Struct, frozen=True):
    """One row of a live table that is not what the log says."""

    table: str
    key: str
    found: dict[str, Any] | None
    """The columns that differ, as the table has them; None where it lacks the row."""
    expected: dict[str, Any] | None
    """As the log has them; None where the row should not be."""


async def rebuild(log: Log[State]) -> Rebuilt:
    """Make every table anew and put it in the live one's place. Raises `duckdb.Error` as the machine does."""
    began = time.perf_counter()
    await tables.flush(log)
    async with log.cursor() as cursor:
        upto = await to_thread.run_sync(_make_fresh, cursor)
    waiting = time.perf_counter()
    async with log.flushing:  # a flush between the two would be undone
        await tables.flush_held(log)
        position = log.state.position
        counts = await log.transaction(partial(_swap, upto, position))
    ended = time.perf_counter()
    return Rebuilt(position, ended - began, ended - waiting, counts)


async def compare(log: Log[State]) -> list[Drift]:
    """Every row of the live tables that a rebuild would make otherwise; nothing is changed."""
    await tables.flush(log)
    async with log.cursor() as cursor:
        return await to_thread.run_sync(drifts, cursor)


def drifts(connection: duckdb.DuckDBPyConnection) -> list[Drift]:
    """The differences between the tables and the log up to the tables' position, as this connection sees
    both. Makes temporary tables only."""
    with _transaction(connection):
        _build(connection, "TEMP TABLE", f"SELECT * FROM events WHERE seq <= {position(connection)}")
        found = [drift for table in TABLES for drift in _differences(connection, table)]
        for table in reversed(TABLES):
            connection.execute(f"DROP TABLE fresh_{table}")
    return found


def position(connection: duckdb.DuckDBPyConnection) -> int:
    """The event up to which the tables stand for the log."""
    ((seq,),) = connection.execute("SELECT coalesce(min(seq), 0) FROM projections").fetchall()
    return int(seq)


def make(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables from the log, whatever is there of them. Nobody else may be using the database."""
    connection.execute(POSITIONS)
    connection.execute(kept.DROP)
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    upto = _make_fresh(connection)
    with _transaction(connection):
        for table in TABLES:
            connection.execute(f"ALTER TABLE fresh_{table} RENAME TO {table}")
        connection.execute("DELETE FROM projections")
        connection.executemany(
            "INSERT INTO projections VALUES (?, ?, ?)", [(table, VERSION, upto) for table in TABLES]
        )


def build(connection: duckdb.DuckDBPyConnection, events: str) -> None:
    """Make the tables, without keys, from the rows of a query, as of its last: what a replay shows."""
    _build(connection, "TABLE", events)
    for table in TABLES:
        connection.execute(f"ALTER TABLE fresh_{table} RENAME TO {table}")


def _make_fresh(cursor: duckdb.DuckDBPyConnection) -> int:
    with _transaction(cursor):
        ((upto,),) = cursor.execute("SELECT coalesce(max(seq), 0) FROM events").fetchall()
        for table, projection in TABLES.items():
            cursor.execute(f"DROP TABLE IF EXISTS fresh_{table}")
            cursor.execute(f"CREATE TABLE fresh_{table}({rows.columns(projection.row)})")
        cursor.execute(f"CREATE OR REPLACE TEMP VIEW scope AS SELECT * FROM events WHERE seq <= {upto}")
        for table, projection in TABLES.items():
            cursor.execute(f"INSERT INTO fresh_{table} {projection.sql}")
    return int(upto)


def _build(connection: duckdb.DuckDBPyConnection, kind: str, events: str) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP VIEW scope AS {events}")
    for table, projection in TABLES.items():
        columns = ", ".join(rows.names(projection.row))
        connection.execute(
            f"CREATE OR REPLACE {kind} fresh_{table} AS SELECT * FROM ({projection.sql}) AS made({columns})"
        )


def _swap(upto: int, position: int, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Do what changed after `upto` over, and let the fresh tables be the live ones, as of `position`."""
    late = f"seq > {upto} AND seq <= {position}"
    found = connection.execute(f"SELECT DISTINCT job FROM events WHERE {late} AND job IS NOT NULL").fetchall()
    touched = [job for (job,) in found] or [0]
    # The least of them lets DuckDB skip what is older, while the writer waits.
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW scope AS SELECT * FROM events WHERE seq <= {position} "
        f"AND job >= {min(touched)} AND job IN ({', '.join(map(str, touched))}) "
        f"UNION ALL SELECT * FROM events WHERE {late} AND job IS NULL"
    )
    for table, projection in TABLES.items():
        connection.execute(f"INSERT OR REPLACE INTO fresh_{table} {projection.sql}")
    for table in TABLES:
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"ALTER TABLE fresh_{table} RENAME TO {table}")
    connection.execute(kept.DOUBT)
    connection.execute("UPDATE projections SET seq = ?, version = ?", (position, VERSION))
    return {
        table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]) for table in TABLES
    }


def _differences(connection: duckdb.DuckDBPyConnection, table: str) -> Iterator[Drift]:
    row = TABLES[table].row
    key, selected = rows.key(row), rows.selected(row)
    keys = connection.execute(
        f"SELECT DISTINCT {key} FROM ((FROM {table} EXCEPT FROM fresh_{table}) "
        f"UNION ALL (FROM fresh_{table} EXCEPT FROM {table})) ORDER BY 1"
    ).fetchall()
    for (value,) in keys:
        found, expected = (
            connection.execute(f"SELECT {selected} FROM {source} WHERE {key} = ?", (value,)).fetchall()
            for source in (table, f"fresh_{table}")
        )
        yield _drift(table, value, found, expected)


def _drift(table: str, key: Any, found: list[Any], expected: list[Any]) -> Drift:
    names = [name.strip('"') for name in rows.names(TABLES[table].row)]
    ours, theirs = (dict(zip(names, one[0], strict=True)) if one else None for one in (found, expected))
    if ours is not None and theirs is not None:
        differing = [name for name in names if ours[name] != theirs[name]]
        ours = {name: ours[name] for name in differing}
        theirs = {name: theirs[name] for name in differing}
    return Drift(table, str(key), ours, theirs)


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.begin()
    try:
        yield
        connection.commit()
    except duckdb.Error:
        connection.rollback()
        raise
