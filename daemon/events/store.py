"""The log's rows on disk: database, journal and segments. All synchronous.

A row is written to the journal and fsynced: that is the commit. `transfer` then takes it into the database
through its Appender, with all that came meanwhile; whoever reads through a connection finds it there. Sealing
copies rows to a segment; only then may the database checkpoint and the journal start anew. So but for the
moment before its transfer a row stands in two places, and `opening` can mend whichever is damaged.

`commit` has a thread of its own; everything else is for one thread at a time, the database's. Nothing here
retries blindly: a transfer can be durable and still raise, so the database is asked what became of the rows,
and one that has failed for good is opened again.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from daemon.events import codec, database, opening, segments
from daemon.events.codec import Row, chain
from daemon.events.database import head, last, read
from daemon.events.journal import Base, Journal, records

SEAL_AT = 6 * 2**20
"""Bytes of write-ahead log at which to seal and checkpoint: some thousand events. Appends do not wait for it,
readers do, some 50 ms."""
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
        self._turn = threading.Lock()
        """Held by whoever writes to the journal, or puts another in its place."""
        self._ahead: list[Row] = []
        """The rows that are in the journal and not yet in the database."""
        self.behind = False
        """The machine would not write when the database was last to take rows in; they are still to come."""
        self.anew = False
        """The database was made anew and has no tables yet; whoever makes them says so here."""
        self._open()
        segments.sweep(opening.segments_of(path))

    def _open(self) -> None:
        fault, self._fault = self._fault, None
        opened = opening.opened(self._path, fault)
        for finding in opened.findings:
            logger.warning("history: %s", finding)
        self.connection = opened.connection
        self.anew = self.anew or opened.anew
        self.epoch = opened.base.epoch
        self._base = opened.base
        self._ahead[:] = self._not_among([opened.base, *opened.rows])
        rows = [*opened.rows, *self._ahead]
        newest = rows[-1] if rows else opened.base
        self.began_at = (newest.seq, newest.hash)
        """The newest row when it was opened."""
        self._journal = Journal(opening.journal_of(self._path), records([opened.base, *rows]))
        self._appender: Any = self.connection.appender("events")

    def _not_among(self, found: Sequence[Base | Row]) -> list[Row]:
        """The rows in memory that the files have no more: the journal went bad under a running log."""
        lost = [row for row in self._ahead if row.seq > found[-1].seq]
        if lost and chain(found[-1].hash, lost[0]) != lost[0].hash:
            raise opening.HistoryDamaged(
                f"events {found[-1].seq + 1} to {lost[0].seq - 1} are in none of the files: "
                f"{opening.journal_of(self._path)} went bad while it was written"
            )
        return lost

    def close(self) -> None:
        """Seal what is left, so that the next open has nothing to compare, and close everything.

        DuckDB checkpoints as it closes. Where sealing fails, the rows stay in journal and database.
        """
        try:
            if not self.broken:
                self.transfer()
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
        if not self._ahead:
            newest = last(self.connection)
            return newest, head(self.connection, newest)
        row = self._ahead[-1]  # looked up once: `commit` goes on meanwhile
        return row.seq, row.hash

    def read(self, after: int, limit: int) -> list[Row]:
        """Up to `limit` rows that follow row `after`, in order."""
        rows: list[Row] = []
        if not self._ahead or after + 1 < self._ahead[0].seq:
            rows = read(self.connection, after, limit)
            after = rows[-1].seq if rows else after
        if self._ahead and len(rows) < limit:
            rows += self._ahead[max(0, after + 1 - self._ahead[0].seq) :]
        return rows[:limit]

    def commit(self, rows: Sequence[Row]) -> None:
        """Make the rows durable, all or none: when this raises, none of them is in the log.

        Raises OSError as the machine does. Where the store is `broken` then, what became of the rows shows
        when it can be opened again. May run beside everything else, but not twice at once.
        """
        with self._turn:
            try:
                self._journal.append(rows)
            except OSError:
                if self._journal.closed:
                    self.broken = True
                raise
            self._ahead.extend(rows)

    def transfer(self) -> None:
        """Take into the database what only the journal has. May run beside `commit`.

        Raises `duckdb.Error` where that fails; the rows are in the journal. The store is `behind` if the
        machine would not write, else `broken`: the writer opens it again, which brings the rows in.
        """
        rows = self._ahead[:]
        if not rows:
            return
        if self.broken:
            raise duckdb.OperationalError("the database must be opened again first")
        try:
            # One statement, and so one transaction of its own: half the cost of an explicit one.
            self._appender.append_rows(map(database.values, rows))
            self._appender.flush()
        except duckdb.Error as error:
            self._reconcile(rows, error)
        del self._ahead[: len(rows)]
        self.behind = False

    def _reconcile(self, rows: Sequence[Row], error: duckdb.Error) -> None:
        """After a transfer that raised: it can be durable all the same. Raises `error` if it is not."""
        if database.refused(error) and not isinstance(error, duckdb.FatalException):
            self.behind = True
            self._appender.clear()
            newest = read(self.connection, rows[-1].seq - 1, 2)
            if [row.hash for row in newest] == [codec.kept(rows[-1])]:
                return
        else:
            # It is invalid until it is opened again, or not what it should be.
            self.examine(error)
            self.broken = True
        raise error

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
        """Run `work` in one transaction of its own, which sees all that is committed."""
        self.transfer()
        self.connection.begin()
        with ExitStack() as unless_committed:
            unless_committed.callback(self._roll_back)
            result = work(self.connection)
            self.connection.commit()
            unless_committed.pop_all()
        return result

    def _roll_back(self) -> None:
        # Where the commit itself failed, the transaction is over already.
        with suppress(duckdb.TransactionException):
            self.connection.rollback()

    def due(self) -> bool:
        """The write-ahead log is long enough to be sealed and checkpointed."""
        wal = self._path.with_name(f"{self._path.name}.wal")
        return wal.exists() and wal.stat().st_size >= SEAL_AT

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A second connection to the same database, for another thread. It finds all that is committed; on a
        full disk, what was committed when there was room.
        """
        try:
            self.transfer()
        except duckdb.Error:
            if not self.behind:
                raise
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
        self._base = Base(self.epoch, sealed, head(self.connection, sealed))
        rows = self.read(sealed, 1_000_000)
        content = records([self._base, *rows])
        upto = rows[-1].seq if rows else sealed
        with self._turn:  # for as short as can be: commits wait
            self._begin_journal(content + records(row for row in self._ahead if row.seq > upto))

    def _begin_journal(self, content: bytes) -> None:
        try:
            old, self._journal = self._journal, Journal(opening.journal_of(self._path), content)
        except OSError:
            self._journal.close()
            self.broken = True
            raise
        old.close()

    def reopen(self) -> None:
        """Open a database again that failed for good; what only the journal has is in it then.

        Raises OSError or `duckdb.Error` while the machine refuses: the store is `broken` until this succeeds.
        """
        with self._turn:
            self.broken = True
            self._journal.close()
            self._appender = None
            with suppress(duckdb.Error):
                self.connection.close()
            self._open()
            self.broken = self.behind = False


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
