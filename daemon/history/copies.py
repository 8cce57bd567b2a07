"""Copies of the newest part of the history, for those who may not open its database.

Segments hold what is sealed; `tail.parquet` holds the rows after that, and each derived table stands in a
file of its own. `position.json` is written last: it says as of which event they are, and their SHA-256, by
which a reader finds out whether he has got files of one moment. They can be made anew at any time.
"""

from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import msgspec
from anyio import to_thread

from daemon.events import segments, sums
from daemon.events.log import Log
from daemon.files import TEMPORARY, sync_folder, write_whole
from daemon.history import views
from daemon.projections import tables
from daemon.projections.state import State

TAIL = "tail.parquet"
POSITION = "position.json"
_OPTIONS = "FORMAT parquet, COMPRESSION zstd"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """As of when the copies are."""

    epoch: str
    """Of the log."""
    position: int
    """The last event that segments and tail hold."""
    tables: int
    """The last event that the tables know; as `position`, unless they could not be written."""
    sealed: int
    """The tail begins after this event."""
    files: dict[str, str]
    """SHA-256 in hexadecimal, by file name."""
    version: int = 0
    """Of the tables' columns."""


def read(folder: Path) -> Position | None:
    """What the last copying left; None if there was none, or the file makes no sense."""
    try:
        return msgspec.json.decode((folder / POSITION).read_bytes(), type=Position)
    except (FileNotFoundError, UnicodeDecodeError, msgspec.DecodeError):
        return None


async def bring_up(log: Log[State], folder: Path, *, anew: bool = False) -> Position:
    """Have the copies in `folder` reach at least what the log holds now.

    The rows are read beside the writer, in a transaction of their own. Copies that reach far enough are
    left alone, unless they are wanted `anew`. One call at a time. Raises OSError and `duckdb.Error`.
    """
    asked = log.position
    there = read(folder)
    if anew or there is None or not _reaches(there, log.epoch, asked, folder):
        await tables.flush(log)
        there = await log.aside(partial(_copied, folder=folder, epoch=log.epoch, asked=asked))
    script = views.script(str(folder), tables.TABLES, tables.VIEWS).encode()
    await to_thread.run_sync(_write_if_changed, folder / "views.sql", script)
    return there


def drop(folder: Path) -> None:
    """Have no copies: they hold what may not be kept."""
    there = read(folder)
    names = {POSITION, TAIL, *_files(), *(there.files if there is not None else ())}
    for name in names:
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)


def _reaches(there: Position, epoch: str, asked: int, folder: Path) -> bool:
    same = (there.epoch, there.version) == (epoch, tables.VERSION) and min(
        there.position, there.tables
    ) >= asked
    return same and all((folder / name).exists() for name in [*_files(), *there.files])


def _files() -> dict[str, str]:
    """The tables' files, each with its table."""
    return {f"{table}.parquet": table for table in tables.TABLES}


def _copied(connection: duckdb.DuckDBPyConnection, folder: Path, epoch: str, asked: int) -> Position:
    connection.begin()
    try:
        known = _known(connection)
        newest = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchall()[0][0]
        position = known if known >= asked else newest
        sealed = min(position, segments.sealed_to(segments.found(folder)))
        tail = f"SELECT * FROM events WHERE seq > {sealed} AND seq <= {position} ORDER BY seq"
        sources = {TAIL: tail} | {name: f"FROM {table}" for name, table in _files().items()}
        files = {name: _written(connection, folder, name, query) for name, query in sources.items()}
    finally:
        connection.rollback()
    result = Position(
        epoch=epoch, position=position, version=tables.VERSION, tables=known, sealed=sealed, files=files
    )
    for name in files:
        (folder / TEMPORARY.format(name)).replace(folder / name)
    write_whole(folder / POSITION, msgspec.json.encode(result) + b"\n", durable=False)
    return result


def _known(connection: duckdb.DuckDBPyConnection) -> int:
    """The event up to which the tables are."""
    found: list[tuple[Any]] = connection.execute("SELECT coalesce(min(seq), 0) FROM projections").fetchall()
    return int(found[0][0])


def _written(connection: duckdb.DuckDBPyConnection, folder: Path, name: str, query: str) -> str:
    """Write a query's rows under the temporary name of `name`; answers their SHA-256."""
    temporary = folder / TEMPORARY.format(name)
    connection.execute(f"COPY ({query}) TO {views.quoted(str(temporary))} ({_OPTIONS})")
    return sums.of(temporary)


def _write_if_changed(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, content, durable=False)
