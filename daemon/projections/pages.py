"""Frames from the tables, a page at a time, and the wall as it once was, read on a connection of its own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import msgspec

from daemon.projections import frames, rebuilding, restoring, rows, throughput
from daemon.projections.frames import ENDED, Frame
from daemon.projections.state import KEPT


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which frames are wanted. What is not said is not asked for."""

    statuses: Sequence[str] = ()
    models: Sequence[str] = ()
    projects: Sequence[str] = ()
    words: Sequence[str] = ()
    """Each occurs in the prompt or the negative prompt, whatever the case."""
    since: datetime | None = None
    """Queued then or later."""
    until: datetime | None = None
    """Queued before."""

    def condition(self) -> tuple[str, list[Any]]:
        """For a WHERE over `frames`, and the values of its question marks."""
        said: list[tuple[str, list[Any]]] = [(_WORD, [word, word]) for word in map(str.lower, self.words)]
        named = {"status": self.statuses, "model": self.models, "project_id": self.projects}
        said += [(f"{name} IN (SELECT unnest(?))", [some]) for name, some in named.items() if some]
        times = {"queued_at >= ?": self.since, "queued_at < ?": self.until}
        said += [(sql, [time]) for sql, time in times.items() if time is not None]
        values = [value for _, some in said for value in some]
        return " AND ".join(["true", *(sql for sql, _ in said)]), values


_WORD = "(contains(lower(prompt), ?) OR contains(lower(negative_prompt), ?))"


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some frames, the highest number first."""

    position: int
    """The event as of which it is."""
    total: int
    """Frames that fit the filters, on all pages."""
    next: int | None
    """`before` of the next page."""
    models: list[str]
    """Of all frames there are."""
    projects: list[str]
    frames: list[Frame]


def page(connection: duckdb.DuckDBPyConnection, filters: Filters, before: int, skip: int, limit: int) -> Page:
    """Up to `limit` of the wanted frames numbered below `before`, without the first `skip`; of one moment."""
    condition, values = filters.condition()
    connection.begin()
    try:
        ((total,),) = connection.execute(f"SELECT count(*) FROM frames WHERE {condition}", values).fetchall()
        query = f"""
            SELECT {rows.selected(Frame)} FROM frames WHERE {condition} AND id < ?
            ORDER BY id DESC LIMIT ? OFFSET ?"""
        found = connection.execute(query, [*values, before, limit + 1, skip]).fetchall()
        some = [rows.read(Frame, one) for one in found[:limit]]
        return Page(
            position=rebuilding.position(connection),
            total=total,
            next=some[-1].id if some and len(found) > limit else None,
            models=_distinct(connection, "model"),
            projects=_distinct(connection, "project_id"),
            frames=some,
        )
    finally:
        connection.rollback()


def _distinct(connection: duckdb.DuckDBPyConnection, column: str) -> list[str]:
    found = connection.execute(f"SELECT DISTINCT {column} FROM frames ORDER BY 1").fetchall()
    return [value for (value,) in found]


class Wall(msgspec.Struct, frozen=True, kw_only=True):
    """What a viewer saw at some moment."""

    ts: datetime
    """When the event happened."""
    paused_by: str | None
    frames: list[Frame]
    """Those that were open, and the newest that had ended, by number."""
    older: int
    """Ended frames that are not among them."""
    paces: list[dict[str, Any]]
    """What pictures had taken by then, as `throughput.told`."""


def wall(connection: duckdb.DuckDBPyConnection, seq: int) -> Wall:
    """The wall as of event `seq`, which there is. The tables must have come as far.

    Folds, in SQL, the jobs that were open then and those that ended last, not the whole log before.
    """
    connection.begin()
    try:
        ((ts,),) = connection.execute("SELECT epoch_us(ts) FROM events WHERE seq = ?", (seq,)).fetchall()
        connection.execute(f"CREATE OR REPLACE TEMP VIEW scope AS {_SCOPE.format(seq=seq, kept=KEPT)}")
        columns = ", ".join(rows.names(Frame))
        query = f"SELECT {rows.selected(Frame)} FROM ({frames.SQL}) AS made({columns}) ORDER BY id"
        found = [rows.read(Frame, one) for one in connection.execute(query).fetchall()]
        ((total,),) = connection.execute(_TOTAL.format(seq=seq)).fetchall()
        paused_by = restoring.paused_by(connection, seq)
        paces = throughput.told(restoring.paces_by(connection, seq))
    finally:
        connection.rollback()
    ended = [frame.id for frame in found if frame.status in ENDED and frame.preview is None]
    gone = {*ended[:-KEPT]}
    shown = [frame for frame in found if frame.id not in gone]
    older = total - len(shown)
    return Wall(ts=rows.time(ts), paused_by=paused_by, frames=shown, older=older, paces=paces)


_THERE = """jobs WHERE id <= (
    SELECT coalesce(max(job), 0) FROM events WHERE type = 'JobAccepted' AND seq <= {seq})"""
_TOTAL = f"SELECT coalesce(max(first_frame + count), 1) - 1 FROM {_THERE}"
_SCOPE = f"""
WITH story AS (
    SELECT job, max(seq) FILTER (type IN ('FinalWritten', 'FrameCancelled', 'FrameFailed')) AS ended,
        max(seq) FILTER (type IN ('FrameCreated', 'FrameResumed')) AS taken_up,
        max(seq) FILTER (type = 'PreviewDeleted') AS deleted
    FROM events WHERE frame IS NOT NULL AND type != 'PreviewWritten' AND seq <= {{seq}} GROUP BY job, frame
), counted AS (
    SELECT id, any_value(count) AS count,
        count(*) FILTER (ended IS NOT NULL AND (taken_up IS NULL OR deleted > taken_up)) AS closed
    FROM (FROM {_THERE}) LEFT JOIN story ON job = id GROUP BY id
), placed AS (
    SELECT *, sum(closed) OVER (ORDER BY id DESC) - closed AS closed_later FROM counted
)
FROM events WHERE seq <= {{seq}} AND job IN (
    SELECT id FROM placed WHERE closed < count OR closed_later < {{kept}})
"""
"""Events of the jobs that were open at `seq`, and of those with the last `kept` frames closed by then."""
