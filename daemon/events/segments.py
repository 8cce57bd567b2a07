"""Sealed segments: immutable Parquet files that hold the log's rows, readable by anyone.

A segment is written under a temporary name, fsynced, listed with its checksum (`sums`), and renamed to
`{first}-{last}.parquet`. It never changes. Small neighbours are merged in time: the merged one is in place
before the small ones go, so a crash leaves at worst rows that are there twice, and `cover` takes each once.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb
import msgspec

from daemon.events import sums
from daemon.files import TEMPORARY, sync_file, sync_folder

MERGE_AT = 16
"""So many segments of less than `SMALL` bytes are merged into one."""
SMALL = 16 * 2**20
_COLUMNS = "seq, ts, type, version, job, frame, cause, data, hash"


class Segment(msgspec.Struct, frozen=True, order=True):
    """Rows `first` to `last`, in one file."""

    first: int
    last: int
    path: Path


def found(folder: Path) -> list[Segment]:
    """The folder's segments by position. Anything else in it is left alone."""
    segments = []
    for path in folder.glob("*-*.parquet"):
        first, _, last = path.stem.partition("-")
        if first.isdigit() and last.isdigit():
            segments.append(Segment(int(first), int(last), path))
    return sorted(segments)


def cover(segments: Sequence[Segment]) -> list[Segment]:
    """The widest segments, without those that lie within another; ordered, and free of overlap."""
    chosen: list[Segment] = []
    for segment in sorted(segments, key=lambda one: (one.first, -one.last)):
        if not chosen or segment.first > chosen[-1].last:
            chosen.append(segment)
    return chosen


def sealed_to(segments: Sequence[Segment]) -> int:
    """The last row up to which, from 1, segments hold all; 0 for none."""
    last = 0
    for segment in cover(segments):
        if segment.first != last + 1:
            break
        last = segment.last
    return last


def missing(segments: Sequence[Segment], upto: int) -> str:
    """The rows from 1 to `upto` that none of the segments holds, for a person to read; empty for none."""
    gaps, last = [], 0
    for segment in [*cover(segments), Segment(upto + 1, upto + 1, Path())]:
        if segment.first > last + 1:
            gaps.append(f"{last + 1} to {segment.first - 1}")
        last = max(last, segment.last)
    return ", ".join(gaps)


def seal(
    connection: duckdb.DuckDBPyConnection, folder: Path, first: int, last: int, table: str = "events"
) -> Segment:
    """Write rows `first` to `last` of a table as a segment; durable when this returns.

    One of that name is replaced: by rows that have lost words (`rewriting`), never by others.
    """
    query = f"SELECT {_COLUMNS} FROM {table} WHERE seq BETWEEN {first} AND {last} ORDER BY seq"
    return _write(connection, folder, query, first, last)


def merge(connection: duckdb.DuckDBPyConnection, folder: Path) -> Segment | None:
    """Make one segment of the small neighbours at the end, once there are many; None if there are not."""
    small: list[Segment] = []
    for segment in reversed(cover(found(folder))):
        if segment.path.stat().st_size >= SMALL:
            break
        small.insert(0, segment)
    if len(small) < MERGE_AT:
        return None
    listed = sums.listed(folder)
    if any(listed.get(segment.path.name) != sums.of(segment.path) for segment in small):
        return None  # a damaged one would be sealed anew as if it were right
    query = f"SELECT {_COLUMNS} FROM {source(small)} ORDER BY seq"
    merged = _write(connection, folder, query, small[0].first, small[-1].last)
    for segment in small:
        segment.path.unlink()
    return merged


def sweep(folder: Path) -> None:
    """Remove what crashes left half written. Nobody may be writing there."""
    for temporary in folder.glob(TEMPORARY.format("*")):
        temporary.unlink()


def source(segments: Sequence[Segment]) -> str:
    """The segments as a table expression in SQL."""
    paths = ", ".join(quoted(_escaped(segment.path)) for segment in segments)
    # A folder called `job=7` would become a column.
    return f"read_parquet([{paths}], hive_partitioning = false)"


def quoted(path: Path) -> str:
    """The path as a text in SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _escaped(path: Path) -> Path:
    """The path as a pattern that means only itself: a home may be called `home [1]`."""
    return Path(re.sub(r"[*?\[]", r"[\g<0>]", str(path)))


def _write(connection: duckdb.DuckDBPyConnection, folder: Path, query: str, first: int, last: int) -> Segment:
    path = folder / f"{first:012d}-{last:012d}.parquet"
    temporary = folder / TEMPORARY.format(path.name)
    try:
        options = "FORMAT parquet, COMPRESSION zstd"
        connection.execute(f"COPY ({query}) TO {quoted(temporary)} ({options})")
        sync_file(temporary)
        sums.enter(folder, path.name, sums.of(temporary))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
    return Segment(first, last, path)
