"""The one way in which rows on disk ever change: words go that an `EventRedacted` says are forgotten.

No file of the history keeps them, nor any page of one: every segment that holds such a row is written again,
and the database is written anew and takes the old one's place, so that there is no old page and no
write-ahead log. The event is durable before anything of this begins, and each step can be done again: whoever
is cut off finds the same rows still to do. Nobody else may have the history open meanwhile.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import duckdb

from daemon.events import codec, database, redaction, segments
from daemon.events.codec import Row
from daemon.events.opening import HistoryDamaged, segments_of
from daemon.events.store import Store
from daemon.events.types import EventRedacted
from daemon.files import TEMPORARY, sync_file, sync_folder

_BATCH = 1_000_000
"""Rows copied at once into the new database, so that memory does not grow with the log."""
_CHANGED = """
CREATE OR REPLACE TEMP VIEW {name} AS
SELECT kept.* REPLACE (coalesce(redacted.data, kept.data) AS data)
FROM {table} AS kept LEFT JOIN redacted ON redacted.seq = kept.seq
"""


def rewrite(path: Path) -> list[int]:
    """Take the words out of every row that an `EventRedacted` names and that still has them.

    Answers their numbers. Raises `HistoryDamaged` for a row that is not the one that was redacted, OSError
    and `duckdb.Error` as the machine does; every row is there then, with or without the words.
    """
    store = Store(path)
    try:
        new = _left_to_do(store.connection)
        if new:
            _seal_all(store)
            _rewrite_segments(store.connection, segments_of(path), new)
    finally:
        store.close()
    if new:
        _rewrite_database(path, new)
    _drop_remains(path)
    return sorted(new)


def _left_to_do(connection: duckdb.DuckDBPyConnection) -> dict[int, bytes]:
    """What the data of these rows are to be, by their numbers."""
    told: dict[int, list[EventRedacted]] = {}
    for row in database.stream(connection, "type = 'EventRedacted'"):
        event = codec.open_row(row).event
        assert isinstance(event, EventRedacted)
        told.setdefault(event.event, []).append(event)
    if not told:
        return {}
    rows = list(database.stream(connection, f"seq IN ({', '.join(map(str, told))})"))
    new = {row.seq: _without_words(row, told[row.seq]) for row in rows}
    return {row.seq: new[row.seq] for row in rows if new[row.seq] != row.data}


def _without_words(row: Row, events: list[EventRedacted]) -> bytes:
    data = row.data
    for event in events:
        data = redaction.redacted(data, event.fields)
    last = events[-1]
    if (redaction.digest(row.data).hex(), redaction.own_digest(data)) != (last.sha256, last.left_sha256):
        raise HistoryDamaged(f"event {row.seq} is not the one that was redacted; see `safelight verify`")
    return data


def _seal_all(store: Store) -> None:
    """Every row into a segment: then the journal holds none. Raises OSError where there is no room."""
    cursor = store.cursor()
    store.seal(cursor, store.last()[0])
    cursor.close()
    store.checkpoint()


def _rewrite_segments(connection: duckdb.DuckDBPyConnection, folder: Path, new: Mapping[int, bytes]) -> None:
    _changed(connection, "events", new, "sealed_anew")
    found = segments.found(folder)
    kept = segments.cover(found)
    for segment in kept:
        if any(segment.first <= seq <= segment.last for seq in new):
            _check_chain(connection, segment.first, segment.last)
            segments.seal(connection, folder, segment.first, segment.last, "sealed_anew")
    for segment in found:
        if segment not in kept:  # what a merge that was cut short left: its rows are in a wider one
            segment.path.unlink()
    sync_folder(folder)


def _check_chain(connection: duckdb.DuckDBPyConnection, first: int, last: int) -> None:
    """Damage must not be sealed anew as if it were right."""
    before = database.head(connection, first - 1)
    rows = database.stream(connection, f"seq BETWEEN {first} AND {last}")
    if (wrong := codec.unchained(rows, before)) is not None:
        raise HistoryDamaged(f"event {wrong} is not what was recorded; see `safelight verify`")


def _rewrite_database(path: Path, new: Mapping[int, bytes]) -> None:
    """A database of the same rows but for these, without tables, which the next start makes; then in the old
    one's place.
    """
    fresh = path.with_suffix(".rewritten")
    with duckdb.connect(path, read_only=True) as old:
        epoch, last = database.epoch(old), database.last(old)
    database.create(fresh, epoch)
    connection = database.connect(fresh)
    try:
        connection.execute(f"ATTACH {segments.quoted(path)} AS old (READ_ONLY)")
        _changed(connection, "old.main.events", new, "copied")
        for first in range(1, last + 1, _BATCH):
            rows = f"FROM copied WHERE seq BETWEEN {first} AND {first + _BATCH - 1} ORDER BY seq"
            connection.execute(f"INSERT INTO events {rows}")
        _check_copied(connection, last)
        connection.execute("DETACH old")
    finally:
        connection.close()
    sync_file(fresh)
    # First the old one's write-ahead log, which must never meet the new one; all rows are sealed.
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
    fresh.replace(path)
    sync_folder(path.parent)


def _check_copied(connection: duckdb.DuckDBPyConnection, last: int) -> None:
    query = "SELECT count(*) FROM events JOIN old.main.events AS old USING (seq, hash)"
    ((same,),) = connection.execute(query).fetchall()
    if same != last:
        raise HistoryDamaged(f"only {same} of {last} events could be copied; the old database stays")


def _changed(connection: duckdb.DuckDBPyConnection, table: str, new: Mapping[int, bytes], name: str) -> None:
    """A view of the table as it is to be."""
    connection.execute("CREATE OR REPLACE TEMP TABLE redacted(seq BIGINT, data JSON)")
    rows = [(seq, data.decode()) for seq, data in new.items()]
    connection.executemany("INSERT INTO redacted VALUES (?, ?)", rows)
    connection.execute(_CHANGED.format(table=table, name=name))


def _drop_remains(path: Path) -> None:
    """What crashes left half written, and databases that were set aside: they have the words too."""
    for name in ("{}.broken-*", "{}.rewritten*", "{}.anew*", "{}.new*", TEMPORARY.format("{}.*")):
        for remains in path.parent.glob(name.format(path.stem)):
            remains.unlink()
    segments.sweep(segments_of(path))
    shutil.rmtree(path.with_name(f"{path.name}.tmp"), ignore_errors=True)  # where DuckDB spills
