"""What memory holds, put down in one piece at a clean end: the next start need not gather it from the tables.

It counts for the tables as they were then. Where they have gone on, or it is of another version, it is passed
over, and whoever makes the tables anew drops it, under a running daemon with `DOUBT`.
"""

from functools import cache
from zlib import crc32

import duckdb
import msgspec

from daemon.projections.frames import Frame
from daemon.projections.jobs import Job
from daemon.projections.state import State
from daemon.projections.throughput import Clock, Pace
from daemon.prompts import Prompt

DROP = "DROP TABLE IF EXISTS kept; DROP TABLE IF EXISTS doubted"
DOUBT = "DROP TABLE IF EXISTS kept; CREATE TABLE IF NOT EXISTS doubted AS SELECT true AS doubted"
"""Said when tables that may have been wrong are made anew: what this session remembers came from them, so it
puts nothing down, and the next start gathers it from the new ones."""
_DOUBTED = "SELECT 1 FROM duckdb_tables() WHERE table_name = 'doubted' AND NOT temporary"
_MAKE = "CREATE OR REPLACE TABLE kept AS SELECT ?::BIGINT AS version, ?::BIGINT AS seq, ?::BLOB AS content"


class _Kept(msgspec.Struct, array_like=True):
    """A state, but for what the tables have and memory lets go of."""

    frames: list[Frame]
    jobs: list[Job]
    paces: list[Pace]
    clocks: dict[int, Clock]
    reasons: dict[int, int]
    prompts: dict[int, Prompt]
    paused_by: str | None
    next_job: int
    next_frame: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Kept)


@cache
def _version(tables: int) -> int:
    """Of the tables and of all structs in it: nothing here is led up from another Safelight's layout."""
    return tables << 32 | crc32(msgspec.json.encode(msgspec.json.schema(_Kept)))


def content(state: State) -> bytes:
    """What a state holds whose rows the tables have all."""
    kept = _Kept(
        frames=[*state.frames.values()],
        jobs=[*state.jobs.values()],
        paces=[*state.paces.values()],
        clocks={frame: clock for frame, clock in state.clocks.items() if clock is not None},
        reasons={**state.reasons},
        prompts={**state.prompts},
        paused_by=state.paused_by,
        next_job=state.next_job,
        next_frame=state.next_frame,
    )
    return _encoder.encode(kept)


def keep(version: int, position: int, content: bytes, connection: duckdb.DuckDBPyConnection) -> None:
    """Put it down, for the tables of this version and position, unless it is doubted."""
    if connection.execute(_DOUBTED).fetchall():
        return
    connection.execute(_MAKE, (_version(version), position, content))


def recall(state: State, version: int, connection: duckdb.DuckDBPyConnection) -> bool:
    """Bring up an empty state that knows its position; whether there is anything of these tables."""
    try:
        found = connection.execute(
            "SELECT content FROM kept WHERE version = ? AND seq = ?", (_version(version), state.position)
        ).fetchall()
        if not found:
            return False
        kept = _decoder.decode(found[0][0])
    except (duckdb.CatalogException, msgspec.DecodeError):
        return False  # none was put down, or it makes no sense; the tables have all of it
    state.remember({"frames": kept.frames, "jobs": kept.jobs, "paces": kept.paces})
    state.clocks.update(kept.clocks)
    state.reasons.update(kept.reasons)
    state.prompts.update(kept.prompts)
    state.paused_by = kept.paused_by
    state.next_job, state.next_frame = kept.next_job, kept.next_frame
    return True
