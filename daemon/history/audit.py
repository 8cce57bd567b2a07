"""Is everything as it was recorded? Each thing that is not is a `Finding`; nothing is ever mended here.

With the daemon stopped, all files are looked at under the history's lock. With a daemon running, what it
has open is left alone: its segments, its copies, its journal and its pictures are checked, and what is not
is said.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from daemon.events import codec, database, journal, opening, segments, sums
from daemon.events.codec import GENESIS, Row, UnknownEvent, chain
from daemon.events.journal import Read
from daemon.events.opening import HistoryDamaged
from daemon.events.types import FileMissing, FinalDeleted, FinalWritten
from daemon.history import asking, copies, reading
from daemon.settings import Home

_STRIDE = 256
"""Rows between two that are looked up by their number, so that each part of the index is read."""

Told = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Shows how far something has got: items, how many, what is done with them."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be."""

    place: str
    """A file of the home, an event, or a row of a table."""
    what: str


class Audit:
    """What was found, and how much was looked at."""

    def __init__(self, told: Told) -> None:
        """Nothing yet."""
        self.findings: list[Finding] = []
        self.checked: dict[str, int] = {}
        self.unchecked: list[str] = []
        self.told = told

    def find(self, place: str, what: str) -> None:
        """Something is wrong."""
        self.findings.append(Finding(place, what))

    def count(self, what: str, number: int) -> None:
        """So many were looked at."""
        self.checked[what] = number


def audit(home: Home, told: Told) -> Audit:
    """Look at everything. Raises `HomeInUse` if another command has the history, OSError."""
    result = Audit(told)
    with asking.daemon_of(home) as daemon:
        if daemon is not None:
            _beside_the_daemon(home, result)
            return result
    with opening.claimed(home.history):
        _alone(home, result)
    return result


def _beside_the_daemon(home: Home, result: Audit) -> None:
    result.unchecked.append("history.duckdb: the running daemon has it open; stop the daemon to have it checked")
    _check_segments(home, result)
    try:
        with reading.opened(home) as history:
            log = _Log(history.position.position)
            _check_log(database.stream(history.connection), log, result)
            _check_journal(home, log, result, running=True)
            _check_pictures(home, log, result, running=True)
    except HistoryDamaged as damage:
        result.find("history", str(damage))


def _alone(home: Home, result: Audit) -> None:
    _check_segments(home, result)
    _check_copies(home, result)
    try:
        connection = _database(home)
    except (duckdb.Error, FileNotFoundError) as error:
        result.find(home.history.name, f"it cannot be opened: {_first_line(error)}")
        _check_without_database(home, result)
        return
    with closing(connection):
        log = _Log(_newest(connection, result))
        _check_log(database.stream(connection), log, result)
        _check_index(connection, log, result)
        _check_sealed(connection, home, result)
        _check_epoch(connection, home, result)
    _check_journal(home, log, result, running=False)
    _check_pictures(home, log, result, running=False)


class _Log:
    """What the rows of the log said, as they went by."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        self.hashes: dict[int, bytes] = {}
        """Of the rows that the journal may have too."""
        self.finals: dict[str, FinalWritten] = {}
        """Pictures that should be there, by path."""
        self.deleted: set[str] = set()
