"""Finished pictures on disk and in the log: their deletion on purpose, and what a start finds.

The event comes first, the file's end second: a crash in between leaves a file that the log says is to go,
and the next start sees to it. The other way round it would leave a file that is gone for no reason anyone
knows. At no moment does the log name a picture that was deleted.
"""

import logging
from datetime import datetime
from functools import partial

import anyio
import duckdb
import msgspec
from anyio import to_thread

from daemon import pictures, strips
from daemon.events.log import Log
from daemon.events.rounds import LogFailed
from daemon.history.views import literal
from daemon.projections import decisions, tables
from daemon.projections.state import State
from daemon.settings import Home

PORTION = 1000
"""Pictures deleted by one call at most: an answer must not take for ever."""
_TOGETHER = 100
_SUSPECT = 10
"""So many pictures and none of them there: more likely a disk that is not mounted than a loss."""
_PACE = 0.02
"""Seconds between two losses recorded, so that the work that goes on meanwhile does not notice."""

logger = logging.getLogger(__name__)


class Gone(msgspec.Struct, frozen=True):
    """A picture that was deleted."""

    frame: int
    path: str
    bytes: int
    """Of the file; 0 if it was gone already."""


class Pruned(msgspec.Struct, frozen=True):
    """What one portion came to."""

    gone: list[Gone]
    left: int
    """Pictures that are to go still."""


async def prune(log: Log[State], home: Home, before: datetime, project: str | None) -> Pruned:
    """Delete the pictures that were finished before a time, `PORTION` of them at most, the oldest first, and
    the kept steps of all frames that had ended by then.

    Raises OSError for a file that cannot be deleted; the next start tries again.
    """
    await tables.flush(log)
    found = await log.aside(partial(finished, before=before, project=project))
    gone: list[Gone] = []
    for at in range(0, min(len(found), PORTION), _TOGETHER):
        some = found[at : min(at + _TOGETHER, PORTION)]
        async with anyio.create_task_group() as tasks:
            for frame, path in some:
                tasks.start_soon(_gone, log, frame, path)
        gone += await to_thread.run_sync(_delete, home, some)
    await log.aside(partial(_delete_strips, home=home, before=before, project=project))
    return Pruned(gone, len(found) - len(gone))


async def look_over(log: Log[State], home: Home, cause: int) -> None:
    """Once per start: finish deletions that a crash cut short, and record pictures that are missing.

    Runs beside all other work. What fails is said and tried again at the next start.
    """
    try:
        await tables.flush(log)
        unfinished = await log.aside(partial(_still_there, home=home))
        await to_thread.run_sync(_delete, home, unfinished)
        await _record_missing(log, home, cause)
    except (OSError, duckdb.Error, LogFailed) as error:
        logger.warning("the finished pictures could not be looked over: %s", error)


async def _record_missing(log: Log[State], home: Home, cause: int) -> None:
    count, missing = await log.aside(partial(_missing, home=home))
    if len(missing) == count >= _SUSPECT:
        logger.warning(
            "none of the %d finished pictures is in %s; is its disk there? Nothing is recorded",
            count,
            home.frames,
        )
        return
    for frame, path in missing:
        if not await to_thread.run_sync((home.root / path).exists):
            decision = partial(decisions.file_missing, frame=frame, path=path)
            await log.decide(decision, cause=cause, needs=[("frames", frame)])
            logger.warning("frame %d: its picture %s is missing", frame, path)
        await anyio.sleep(_PACE)


async def _gone(log: Log[State], frame: int, path: str) -> None:
    decision = partial(decisions.final_deleted, frame=frame, path=path)
    await log.decide(decision, needs=[("frames", frame)])


def finished(
    connection: duckdb.DuckDBPyConnection, before: datetime, project: str | None
) -> list[tuple[int, str]]:
    """Finished pictures older than `before` that are still there, the oldest first: frame and path."""
    query = """
        SELECT id, path FROM frames
        WHERE status = 'done' AND path IS NOT NULL AND finished_at < ? AND coalesce(project_id = ?, true)
        ORDER BY finished_at, id"""
    return connection.execute(query, (before, project)).fetchall()


def _delete(home: Home, some: list[tuple[int, str]]) -> list[Gone]:
    gone = []
    for frame, name in some:
        path = home.root / name
        if path.parent != home.frames:
            raise OSError(f"frame {frame}: {name} is not in frames/, and so is not deleted")
        size = path.stat().st_size if path.exists() else 0
        strips.discard(home.strips, frame)  # first: a crash here, and the next start sees to the picture
        pictures.delete(path)
        gone.append(Gone(frame, name, size))
    return gone


def _delete_strips(
    connection: duckdb.DuckDBPyConnection, home: Home, before: datetime, project: str | None
) -> None:
    """Of frames that ended without a finished picture before then, the kept steps."""
    there = [int(path.stem) for path in home.strips.glob("*.strip") if path.stem.isdecimal()]
    query = """
        SELECT id FROM frames
        WHERE status IN ('cancelled', 'failed') AND finished_at < ? AND coalesce(project_id = ?, true)
            AND id IN (SELECT unnest(?))"""
    for (frame,) in connection.execute(query, (before, project, there)).fetchall():
        strips.discard(home.strips, frame)


# Folder and tables are compared inside DuckDB, which holds up nobody's thread: there may be 100,000.


def _still_there(connection: duckdb.DuckDBPyConnection, home: Home) -> list[tuple[int, str]]:
    """Files of pictures that were deleted."""
    query = f"""
        SELECT frame, data->>'$.path' AS path FROM events
        WHERE type = 'FinalDeleted' AND path IN ({_LISTING})"""
    return connection.execute(query, (_pattern(home),)).fetchall()


def _missing(connection: duckdb.DuckDBPyConnection, home: Home) -> tuple[int, list[tuple[int, str]]]:
    """How many pictures there should be, and those that are not there."""
    named = "FROM frames WHERE path IS NOT NULL"
    count = connection.execute(f"SELECT count(*) {named}").fetchall()[0][0]
    query = f"SELECT id, path {named} AND path NOT IN ({_LISTING}) ORDER BY id"
    return count, connection.execute(query, (_pattern(home),)).fetchall()


_LISTING = "SELECT 'frames/' || parse_filename(file) FROM glob(?)"


def _pattern(home: Home) -> str:
    return f"{literal(str(home.frames))}/*"
