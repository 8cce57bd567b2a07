"""The log's rows on disk: database, journal and segments. All synchronous, all from one thread at a time.

A row is written to the journal and fsynced, then committed to the database through its Appender. Sealing
copies rows to a segment; only then may the database checkpoint and the journal start anew. So every
acknowledged row stands in two places at any moment, and `opening` can mend whichever is damaged.

Nothing here retries blindly: a commit can be durable and still raise. `commit` asks the database what
became of the rows, and reopens one that has failed for good.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from daemon.events import database, opening, segments
from daemon.events.codec import Row
from daemon.events.database import last, read
from daemon.events.journal import Base, Journal

SEAL_AT = 3 * 2**20
"""Bytes of write-ahead log at which to seal and checkpoint: 2 to 4 MB cost the writer 13 to 50 ms."""
SPARE = 64 * 2**20
"""Bytes that must be free on the disk for a checkpoint, which rewrites what it touches."""

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Store:
    """The open history. `connection` is for the tables' own transactions, in the same thread."""

    def __init__(self, path: Path) -> None:
        """Open or create the database at `path`; journal and segments lie beside it.

        Mends what can be mended, and logs what it found. Raises `HistoryDamaged` with the rows that
        cannot be recovered, `OSError` for a place that cannot be used.
        """
        self._path = path
        self.broken = False
        """The database failed and could not be opened again: nothing can be done but `reopen`."""
        self._fault: str | None = None
        """Why the database is not to be believed, once that is known."""
        self._open()
        segments.sweep(opening.segments_of(path))

    def _open(self) -> None:
        fault, self._fault = self._fault, None
        opened = opening.opened(self._path, fault)
        for finding in opened.findings:
            logger.warning("history: %s", finding)
        self.connection = opened.connection
        self.anew = opened.anew
        """It has no tables yet."""
        self.epoch = opened.base.epoch
        self._base = opened.base
        self._journal = Journal(opening.journal_of(self._path), opened.base, opened.rows)
        self._appender: Any = self.connection.appender("events")

    def close(self) -> None:
        """Seal what is left, so that the next open has nothing to compare, and close everything.

        DuckDB checkpoints as it closes. Where sealing fails, the rows stay in journal and database.
        """
        try:
            if not self.broken:
                self.seal(self.connection, self.last()[0])
                self.checkpoint()
        except (OSError, *database.UNREADABLE) as error:
            logger.warning("history: not sealed at the end: %s", error)
        finally:
            self._journal.close()
            self._appender = None
            self.connection.close()

    def last(self) -> tuple[int, bytes]:
        """The newest row's seq and hash; 0 and `GENESIS` for an empty log."""
        return last(self.connection)

    def read(self, after: int, limit: int) -> list[Row]:
        """Up to `limit` rows that follow row `after`, in order."""
        return read(self.connection, after, limit)

    def commit(self, rows: Sequence[Row]) -> None:
        """Make the rows durable, all or none: when this raises, none of them is in the log.

        Raises OSError or `duckdb.Error` as the machine does. A store that is `broken` then has the rows in
        its journal: they are in the log once it can be opened again.
        """
        try:
            self._journal.append(rows)
        except OSError:
            self.broken = self._journal.closed
            raise
        try:
            # One statement, and so one transaction of its own: half the cost of an explicit one.
            self._appender.append_rows(database.values(row) for row in rows)
            self._appender.flush()
        except duckdb.FatalException as error:
            # The database is invalid until it is opened again; the journal then brings the rows in.
            logger.exception("history: the database failed and is opened again")
            self.examine(error)
            self.reopen()
        except duckdb.Error:
            self._appender.clear()
            if self.last() != (rows[-1].seq, rows[-1].hash):
                self._journal.take_back(rows)
                raise

    def ends_with(self, rows: Sequence[Row]) -> bool:
        """Whether the log does, after a commit that raised; a database that cannot even say is `broken`."""
        try:
            return not self.broken and self.last() == (rows[-1].seq, rows[-1].hash)
        except duckdb.FatalException:
            self.broken = True
            return False

    def examine(self, error: Exception) -> bool:
        """After a read that failed: can the database not be read? Then it is `broken`, and made anew from
        segments and journal when it is opened again.
        """
        if self.broken or database.refused(error):
            return self.broken
        self._fault = _first_line(error) if database.damaged(error) else self._unreadable()
        self.broken = self._fault is not None
        return self.broken

    def _unreadable(self) -> str | None:
        try:
            with self.connection.cursor() as cursor:
                database.read_everything(cursor)
        except database.UNREADABLE as error:
            invalid = isinstance(error, duckdb.FatalException)  # by an earlier error: all reads fail
            return None if invalid or database.refused(error) else _first_line(error)
        return None

    def transaction(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run `work` in one transaction of its own."""
        self.connection.begin()
        try:
            result = work(self.connection)
            self.connection.commit()
        except BaseException:
            # Where the commit itself failed, the transaction is over already.
            with suppress(duckdb.TransactionException):
                self.connection.rollback()
            raise
        return result

    def due(self) -> bool:
        """The write-ahead log is long enough to be sealed and checkpointed."""
        wal = self._path.with_name(f"{self._path.name}.wal")
        return wal.exists() and wal.stat().st_size >= SEAL_AT

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A second connection to the same database, for `seal` in a thread of its own."""
        return self.connection.cursor()

    def seal(self, cursor: duckdb.DuckDBPyConnection, upto: int) -> None:
        """Copy the rows up to `upto` that no segment has into one. May run beside `commit`."""
        folder = opening.segments_of(self._path)
        first = segments.sealed_to(segments.found(folder)) + 1
        if first <= upto:
            segments.seal(cursor, folder, first, upto)
            segments.merge(cursor, folder)

    def checkpoint(self) -> None:
        """Have the database take its write-ahead log in, and start the journal after the last sealed row.

        Raises OSError where the disk has too little room; nothing is changed then. Where the journal cannot
        be begun anew the store is `broken`: the old one may have lost its name, and must not be written on.
        """
        free = shutil.disk_usage(self._path.parent).free
        if free < SPARE:
            raise OSError(f"only {free} bytes are free, a checkpoint wants {SPARE}")
        self.connection.execute("CHECKPOINT")
        sealed = segments.sealed_to(segments.found(opening.segments_of(self._path)))
        rows = self.read(max(0, sealed - 1), 1_000_000)
        head, rest = (rows[0], rows[1:]) if sealed else (None, rows)
        self._base = Base(self.epoch, sealed, head.hash if head else self._base.hash)
        try:
            old, self._journal = self._journal, Journal(opening.journal_of(self._path), self._base, rest)
        except OSError:
            self.broken = True
            raise
        old.close()

    def reopen(self) -> None:
        """Open a database again that failed for good; what only the journal has is in it then.

        Raises OSError or `duckdb.Error` while the machine refuses: the store is `broken` until this succeeds.
        """
        self.broken = True
        self._journal.close()
        self._appender = None
        with suppress(duckdb.Error):
            self.connection.close()
        self._open()
        self.broken = False


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
