"""The derived tables `frames` and `jobs`, brought up to the log about twice a second.

Rows and the position that they stand for go in with one transaction, so table and position never
disagree. Anything here can be dropped and made again from the log.
"""

import logging
from datetime import datetime
from functools import partial
from typing import Any, get_args

import anyio
import duckdb
import msgspec
from anyio.abc import TaskStatus
from msgspec.structs import FieldInfo

from daemon.events.log import Log
from daemon.projections.frames import Frame
from daemon.projections.jobs import Job
from daemon.projections.state import Changes, State

EVERY = 0.5
"""Seconds between flushes. Upserting in every commit would cost four to five times the throughput."""

logger = logging.getLogger(__name__)

VERSION = 1
"""Of the tables' columns; tables of another version are dropped and made again."""

_TABLES: dict[str, type[msgspec.Struct]] = {"frames": Frame, "jobs": Job}
_COLUMN_NAMES = {"job": "job_id", "project": "project_id"}
_SQL_TYPES = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR", datetime: "TIMESTAMPTZ"}


async def run(log: Log[State], *, task_status: TaskStatus[None]) -> None:
    """Keep the tables up with the log; started once they are. Flushes once more when cancelled."""
    flushed = await log.transaction(_prepare)
    if flushed == log.position:
        log.state.take_changes()
    position = await flush(log)
    task_status.started()
    try:
        while True:
            await log.changed(after=position)
            await anyio.sleep(EVERY)
            position = await flush(log)
    finally:
        with anyio.CancelScope(shield=True):
            await flush(log)


async def flush(log: Log[State]) -> int:
    """Write the rows that changed since the last flush; answers the position that was tried.

    The tables are derived: what keeps them from being written (a full disk) never ends the daemon.
    """
    rows = log.state.take_changes()
    position = log.state.position
    try:
        await log.transaction(partial(_write, rows, position))
    except duckdb.Error as error:
        log.state.give_back(rows)
        logger.warning("the tables are behind the log, the next flush tries again: %s", error)
    return position


def _write(rows: Changes, position: int, connection: duckdb.DuckDBPyConnection) -> None:
    for table, changed in rows.items():
        # The Appender's upsert keeps the first of two rows with one key; `rows` holds one per key.
        with connection.appender(table, action="upsert") as appender:
            appender.append_rows(
                tuple(getattr(row, name) for name in row.__struct_fields__) for row in changed
            )
    connection.execute("UPDATE projections SET seq = ?", (position,))


def _prepare(connection: duckdb.DuckDBPyConnection) -> int:
    """Make the tables where they are missing or of another version; answers their position."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS "
        "projections(name VARCHAR PRIMARY KEY, version BIGINT NOT NULL, seq BIGINT NOT NULL)"
    )
    found = connection.execute("SELECT version, min(seq) FROM projections GROUP BY version").fetchall()
    if len(found) == 1 and found[0][0] == VERSION:
        return int(found[0][1])
    connection.execute("DELETE FROM projections")
    for table, struct in _TABLES.items():
        connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.execute(f"CREATE TABLE {table}({_columns(struct)})")
        connection.execute("INSERT INTO projections VALUES (?, ?, 0)", (table, VERSION))
    return 0


def _columns(struct: type[msgspec.Struct]) -> str:
    return ", ".join(_column(field) for field in msgspec.structs.fields(struct))


def _column(field: FieldInfo) -> str:
    name = _COLUMN_NAMES.get(field.name, field.name)
    return f'"{name}" {_sql_type(field.type)}' + (" PRIMARY KEY" if name == "id" else "")


def _sql_type(annotation: Any) -> str:
    """`int | None` is a BIGINT like `int`; literals are text."""
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    return _SQL_TYPES.get(kinds[0], "VARCHAR")
