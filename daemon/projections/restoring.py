"""Memory from the tables: what is open at a start, and single rows when a decision needs them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

import duckdb
import msgspec

from daemon.projections import kept, rebuilding, rows, throughput
from daemon.projections.frames import BEING_MADE, ENDED
from daemon.projections.state import KEPT, Key, State
from daemon.projections.tables import TABLES, VERSION, VIEWS
from daemon.projections.throughput import Clock, Pace
from daemon.prompts import Prompt


def restore(connection: duckdb.DuckDBPyConnection, state: State) -> None:
    """Bring an empty state to the tables' position: what is open, and the newest ended frames.

    Tables that are missing, or of another version, are made from the log first.
    """
    state.position = _prepared(connection)
    if state.position and not kept.recall(state, VERSION, connection):
        gather(connection, state)
        connection.execute(kept.DROP)  # of other tables, or doubted, as this memory is no more


def remake(connection: duckdb.DuckDBPyConnection) -> None:
    """Have the tables there again, made from the log. What memory has came from those before."""
    _prepared(connection)
    connection.execute(kept.DOUBT)


def gather(connection: duckdb.DuckDBPyConnection, state: State) -> None:
    """The same from the rows of the tables, as after a crash."""
    job, frame, still = _numbers(connection)
    state.next_job, state.next_frame = (job or 0) + 1, (frame or 0) + 1
    # In the order of their numbers, which is that of the queue.
    found = sorted(_found(connection, "frames", _wanted(frame or 0, still)), key=attrgetter("id"))
    state.remember({"frames": found, "paces": _found(connection, "paces", "")})
    if any(frame.status not in ENDED for frame in found):
        state.remember({"jobs": _found(connection, "jobs", "WHERE finished_at IS NULL")})
    state.reasons.update(_reasons(connection, list(state.open)))
    being_made = [number for number in state.open if state.frames[number].status in BEING_MADE]
    state.clocks.update(_clocks(connection, being_made, state.position))
    state.prompts.update(_prompts(connection, list(state.jobs)))
    state.paused_by = paused_by(connection, state.position)


def _numbers(connection: duckdb.DuckDBPyConnection) -> tuple[int | None, int | None, list[int] | None]:
    """The newest job and frame, and the frames with something left to do."""
    ((job, frame, still),) = connection.execute(
        """
        SELECT (SELECT max(id) FROM jobs), (SELECT max(id) FROM frames),
            (SELECT list(id) FROM frames WHERE finished_at IS NULL OR preview IS NOT NULL)
        """
    ).fetchall()
    return job, frame, still


def _wanted(newest: int, still: Sequence[int] | None) -> str:
    """Where to look for these frames and the last `KEPT` that ended; it finds a few more where some are open.

    Only from the first of them on: a long table is not read through for all of its columns.
    """
    numbers = sorted(still or ())
    recent = newest - KEPT - len(numbers)
    older = [number for number in numbers if number <= recent]
    if not older:
        return f"WHERE id > {recent}"
    return f"WHERE id >= {older[0]} AND (id > {recent} OR id IN ({', '.join(map(str, older))}))"


def recall(connection: duckdb.DuckDBPyConnection, keys: Sequence[Key]) -> Mapping[str, Sequence[Any]]:
    """The rows with these keys, as far as there are any."""
    found: dict[str, Sequence[Any]] = {}
    for table, wanted in groupby(sorted(keys, key=itemgetter(0)), key=itemgetter(0)):
        where = f"WHERE {rows.key(TABLES[table].row)} IN (SELECT unnest(?))"
        found[table] = _found(connection, table, where, ([key for _, key in wanted],))
    return found


def page(connection: duckdb.DuckDBPyConnection, table: str, before: int, limit: int) -> Sequence[Any]:
    """Up to `limit` rows whose number is below `before`, the highest first."""
    key = rows.key(TABLES[table].row)
    return _found(connection, table, f"WHERE {key} < ? ORDER BY {key} DESC LIMIT ?", (before, limit))


def _found(
    connection: duckdb.DuckDBPyConnection, table: str, rest: str, values: Sequence[Any] = ()
) -> list[Any]:
    row = TABLES[table].row
    found = connection.execute(f"SELECT {rows.selected(row)} FROM {table} {rest}", values).fetchall()
    return [rows.read(row, one) for one in found]


def _reasons(connection: duckdb.DuckDBPyConnection, numbers: list[int]) -> list[tuple[int, int]]:
    """The event that each of these frames' next one answers (see `State.reasons`)."""
    if not numbers:
        return []
    return connection.execute(
        """
        WITH wanted AS (SELECT id, job_id FROM frames WHERE id IN (SELECT unnest($numbers))),
            since AS (FROM events WHERE job >= (SELECT min(job_id) FROM wanted))
        SELECT id, max(seq) FROM (
            SELECT id, seq FROM since JOIN wanted ON frame = id
            WHERE type IN ('CancelRequested', 'FrameInterrupted')
            UNION ALL
            SELECT id, seq FROM since JOIN wanted ON job = job_id WHERE type = 'JobAccepted')
        GROUP BY id
        """,
        {"numbers": numbers},
    ).fetchall()


def _prompts(connection: duckdb.DuckDBPyConnection, jobs: list[int]) -> list[tuple[int, Prompt]]:
    """What these jobs ask for."""
    if not jobs:
        return []
    found = connection.execute(
        """
        SELECT job, data FROM events
        WHERE job IN (SELECT unnest($jobs)) AND job >= list_min($jobs) AND type = 'JobAccepted'
        """,
        {"jobs": jobs},
    ).fetchall()
    return [(job, msgspec.json.decode(data, type=_Accepted).prompt) for job, data in found]


class _Accepted(msgspec.Struct):
    """What `_prompts` reads of a JobAccepted."""

    prompt: Prompt


def _clocks(
    connection: duckdb.DuckDBPyConnection, numbers: list[int], position: int
) -> list[tuple[int, Clock]]:
    """The clocks of frames that were being made: their ends may be in the log and not in the tables yet."""
    if not numbers:
        return []
    found = connection.execute(
        """
        WITH since AS (FROM events WHERE seq <= $position AND frame IN (SELECT unnest($numbers))),
            begun AS (SELECT frame, max(seq) AS seq FROM since
                WHERE type IN ('FrameCreated', 'FrameResumed') GROUP BY frame),
            shown AS (SELECT frame, since.seq, epoch_us(ts) AS us, (data->>'step')::BIGINT AS step
                FROM since JOIN begun USING (frame) WHERE type = 'PreviewWritten' AND since.seq > begun.seq)
        SELECT begun.frame, epoch_us(any_value(start.ts)), arg_min(us, shown.seq), arg_min(step, shown.seq),
            arg_max(us, shown.seq), arg_max(step, shown.seq)
        FROM begun JOIN since AS start ON start.seq = begun.seq LEFT JOIN shown ON shown.frame = begun.frame
        GROUP BY begun.frame
        """,
        {"numbers": numbers, "position": position},
    ).fetchall()
    return [
        (frame, Clock(rows.time(begun), _seen(first, early), _seen(last, late)))
        for frame, begun, first, early, last, late in found
    ]


def _seen(us: int | None, step: int) -> tuple[datetime, int] | None:
    return None if us is None else (rows.time(us), step)


def paused_by(connection: duckdb.DuckDBPyConnection, position: int) -> str | None:
    """Who paused the queue, if nobody has resumed it since."""
    found = connection.execute(
        """
        SELECT CASE type WHEN 'QueuePaused' THEN data->>'by' END FROM events
        WHERE type IN ('QueuePaused', 'QueueResumed') AND seq <= ? ORDER BY seq DESC LIMIT 1
        """,
        (position,),
    ).fetchall()
    return found[0][0] if found else None


def paces_by(connection: duckdb.DuckDBPyConnection, seq: int) -> list[Pace]:
    """What each kind of picture took, of all that had ended by that event."""
    found = connection.execute(throughput.PACES.format(timings=_ENDED_BY.format(seq=seq))).fetchall()
    return [rows.read(Pace, one) for one in found]


_ENDED_BY = """(
FROM timings WHERE frame IN (
    SELECT frame FROM events WHERE type IN ('FinalWritten', 'FrameCancelled', 'FrameFailed') AND seq <= {seq})
)"""


def _prepared(connection: duckdb.DuckDBPyConnection) -> int:
    """Have the tables there; answers their position."""
    try:
        found = connection.execute("SELECT name, version, seq FROM projections").fetchall()
    except duckdb.CatalogException:
        found = []
    if sorted((name, version) for name, version, _ in found) != sorted((name, VERSION) for name in TABLES):
        rebuilding.make(connection)
        for name, sql in VIEWS.items():
            connection.execute(f"CREATE OR REPLACE VIEW {name} AS {sql}")
        return rebuilding.position(connection)
    return min(int(seq) for _, _, seq in found)
