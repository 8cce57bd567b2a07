"""Is everything as it was recorded? `audit` looks at all of it, and mends nothing.

With the daemon stopped, every file is looked at, under the history's lock. With a daemon running, what it
has open is left alone: segments, journal, pictures and its answers are checked, and what is not is said.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain as joined

import duckdb

from daemon.events import database, journal, opening, segments
from daemon.events.codec import Row
from daemon.events.database import UNREADABLE
from daemon.events.journal import Read
from daemon.events.opening import HistoryDamaged
from daemon.history import alone, asking, checks, reading, redacting
from daemon.history.checks import Pictures
from daemon.history.findings import Audit, Told, first_line
from daemon.settings import Home


def audit(home: Home, told: Told) -> Audit:
    """Look at everything. Raises `NoHistory`, `HomeInUse` if another command has the history, OSError."""
    alone.check(home)
    result = Audit(told)
    with asking.daemon_of(home) as daemon:
        if daemon is not None:
            _beside_the_daemon(home, result)
            return result
    with opening.claimed(home.history):
        if redacting.unfinished(home):
            result.find("history.redacting", "a redaction was cut short; the next start finishes it")
        _alone(home, result)
    return result


def _beside_the_daemon(home: Home, result: Audit) -> None:
    began = time.time()
    result.unchecked.append("history.duckdb: the daemon has it open; stop the daemon to have it checked too")
    checks.check_segments(home.segments, result)
    try:
        with reading.opened(home) as history:
            kept = _journal(home)
            rows = database.stream(history.connection)
            last, pictures = checks.check_rows(
                result.told(rows, history.position.position, "events"), kept, result
            )
            _check_running_journal(kept, last, result)
            checks.check_tables(history.connection, result)
            checks.check_pictures(home, pictures, began, result)
    except HistoryDamaged as damage:
        result.find("history", str(damage))


def _check_running_journal(kept: Read | None, last: int, result: Audit) -> None:
    """It may be ahead of what was read, never behind."""
    if kept is None:
        result.find("history.journal", "it is missing, or its beginning cannot be read")
    elif kept.base.seq + len(kept.rows) < last:
        result.find(
            "history.journal", f"it ends at event {kept.base.seq + len(kept.rows)}, the log at {last}"
        )


def _alone(home: Home, result: Audit) -> None:
    checks.check_segments(home.segments, result)
    checks.check_copies(home.segments, result)
    kept = _journal(home)
    try:
        with closing(_connected(home)) as connection:
            pictures = _check_database(connection, home, kept, result)
    except (*UNREADABLE, FileNotFoundError) as error:
        result.find("history.duckdb", f"it cannot be read: {first_line(error)}")
        pictures = _without_database(home, kept, result)
    checks.check_pictures(home, pictures, time.time(), result)


def _check_database(
    connection: duckdb.DuckDBPyConnection, home: Home, kept: Read | None, result: Audit
) -> Pictures:
    newest = database.last(connection)
    epoch = database.epoch(connection)
    ours = kept is not None and kept.base.epoch == epoch
    ahead = [row for row in kept.rows if row.seq > newest] if kept is not None and ours else []
    rows = result.told(joined(database.stream(connection), ahead), newest + len(ahead), "events")
    _, pictures = checks.check_rows(rows, kept, result)
    checks.check_journal(kept, newest, epoch, result)
    checks.check_index(connection, result)
    checks.check_sealed(connection, home.segments, result)
    checks.check_tables(connection, result)
    return pictures


def _without_database(home: Home, kept: Read | None, result: Audit) -> Pictures:
    """What the other files say: the next start makes the database anew from them."""
    result.checked.pop("events", None)
    rows: list[Iterator[Row]] = []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        if sealed := segments.cover(segments.found(home.segments)):
            connection.execute(f"CREATE VIEW events AS FROM {segments.source(sealed)}")
            rows.append(database.stream(connection))
        after = sealed[-1].last if sealed else 0
        rows.append(row for row in (kept.rows if kept else ()) if row.seq > after)
        try:
            return checks.check_rows(joined.from_iterable(rows), kept, result)[1]
        except UNREADABLE as error:
            result.find("history", f"segments cannot be read: {first_line(error)}")
            return Pictures()


def _connected(home: Home) -> duckdb.DuckDBPyConnection:
    """The database, opened so that nothing about it changes."""
    if not home.history.exists():
        raise FileNotFoundError("it is missing")
    connection = duckdb.connect(home.history, read_only=True)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return connection


def _journal(home: Home) -> Read | None:
    return journal.read(opening.journal_of(home.history))
