"""SQL over the history in the asker's own process: an in-memory DuckDB over copies and segments.

All files are opened first and read through their descriptors (`/dev/fd/7`): a segment that is merged away,
or a copy that is replaced, stays as it was for as long as it is read here. And each is held to its SHA-256
before a row of it is believed. So an answer is of one moment, and right, or there is none.
"""

import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path

import anyio
import duckdb
import msgspec

from daemon.events import database, segments, sums
from daemon.events.codec import unchained
from daemon.events.opening import HistoryDamaged
from daemon.events.segments import Segment
from daemon.history import alone, asking, copies, views
from daemon.history.copies import TAIL, Position
from daemon.projections import tables
from daemon.settings import Home

_TRIES = 4
"""Looks at files that are being replaced or merged just then, before the copies are wanted anew."""
_PAUSE = 0.05


class Reading(msgspec.Struct, frozen=True):
    """A history that can be asked."""

    connection: duckdb.DuckDBPyConnection
    """In memory, with the views `events`, one per table and one per type of event."""
    position: Position


class _Stale(Exception):
    """The files were of different moments; the message says which one did not fit."""


class _Pinned(msgspec.Struct, frozen=True):
    position: Position
    copies: dict[str, BufferedReader]
    segments: list[tuple[Segment, BufferedReader]]


@contextmanager
def opened(home: Home) -> Iterator[Reading]:
    """The history of a home as of now, through its daemon or, if none runs, by ourselves.

    Raises `NoHistory`, `HomeInUse`, `NotRunning` for a daemon that went away meanwhile, and
    `HistoryDamaged` if a file is not what it was when it was written.
    """
    with ExitStack() as stack:
        pinned = _pinned(home, stack)
        connection = stack.enter_context(duckdb.connect(config={"python_enable_replacements": "false"}))
        spill = stack.enter_context(tempfile.TemporaryDirectory(prefix="safelight-"))
        for statement in _statements(pinned, spill):
            connection.execute(statement)
        yield Reading(connection, pinned.position)


def bring_up(home: Home, *, anew: bool = False) -> None:
    """Have the copies reach up to now: asks the daemon, or does it alone."""
    with asking.daemon_of(home) as daemon:
        if daemon is not None:
            daemon.post("/api/history/tail", {"anew": anew})
            return
    anyio.run(_bring_up_alone, home, anew)


async def _bring_up_alone(home: Home, anew: bool) -> None:
    async with alone.log_of(home) as log:
        await copies.bring_up(log, home.segments, anew=anew)


def _pinned(home: Home, stack: ExitStack) -> _Pinned:
    """All files of one moment, open and checked; they stay open as long as `stack`."""
    stale = ""
    for anew in (False, True):
        bring_up(home, anew=anew)
        for _ in range(_TRIES):
            with ExitStack() as attempt:
                try:
                    pinned = _open_all(home.segments, attempt)
                except (_Stale, FileNotFoundError) as error:
                    stale = str(error)
                else:
                    stack.enter_context(attempt.pop_all())
                    return pinned
            time.sleep(_PAUSE)  # in the asker's own process: a daemon's renames tell nobody
    raise HistoryDamaged(f"{home.segments} cannot be read as of one moment: {stale}")


def _open_all(folder: Path, stack: ExitStack) -> _Pinned:
    position = copies.read(folder)
    if position is None:
        raise _Stale("position.json is missing or broken")
    copied = {name: stack.enter_context((folder / name).open("rb")) for name in position.files}
    for name, file in copied.items():
        if _digest(file) != position.files[name]:
            raise _Stale(f"{name} is not what position.json says")
    wanted = [one for one in segments.found(folder) if one.first <= position.sealed]
    chosen = segments.cover(wanted)
    if segments.sealed_to(chosen) < position.sealed:
        raise _Stale(f"no segment holds event {segments.sealed_to(chosen) + 1}")
    opened_segments = [(one, stack.enter_context(one.path.open("rb"))) for one in chosen]
    _check(folder, opened_segments)
    return _Pinned(position, copied, opened_segments)


def _check(folder: Path, opened_segments: Sequence[tuple[Segment, BufferedReader]]) -> None:
    """Raise `HistoryDamaged` for a segment that is not the one that was sealed."""
    listed = sums.listed(folder)
    for segment, file in opened_segments:
        digest = listed.get(segment.path.name)
        fault = _unchained(segment, opened_segments) if digest is None else _digest(file) != digest
        if fault:
            raise HistoryDamaged(
                f"events {segment.first} to {segment.last}: {segment.path} is not what was sealed; "
                "move it out of that folder and ask again: the database has its events too"
            )


def _unchained(segment: Segment, opened_segments: Sequence[tuple[Segment, BufferedReader]]) -> bool:
    """For a segment whose checksum is lost: does a row not follow from the one before it?"""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            connection.execute(
                f"CREATE VIEW events AS FROM {_parquet([file for _, file in opened_segments])}"
            )
            before = database.head(connection, segment.first - 1)
            rows = database.read(connection, segment.first - 1, segment.last - segment.first + 1)
        except database.UNREADABLE:
            return True
    numbers = [row.seq for row in rows]
    return numbers != list(range(segment.first, segment.last + 1)) or unchained(rows, before) is not None


def _digest(file: BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _statements(pinned: _Pinned, spill: str) -> Iterator[str]:
    yield "SET TimeZone = 'UTC'"
    yield "SET enable_progress_bar = false"
    yield f"SET temp_directory = {views.quoted(spill)}"
    yield f"CREATE VIEW events AS {_events(pinned)}"
    for name, file in pinned.copies.items():
        if name != TAIL:
            yield f"CREATE VIEW {Path(name).stem} AS FROM {_parquet([file])}"
    known = ", ".join(f"('{table}', {tables.VERSION}, {pinned.position.tables})" for table in tables.TABLES)
    yield f"CREATE VIEW projections AS FROM (VALUES {known}) AS known(name, version, seq)"
    for name, sql in tables.VIEWS.items():
        yield f"CREATE VIEW {name} AS {sql}"
    yield from views.typed()


def _events(pinned: _Pinned) -> str:
    tail = f"FROM {_parquet([pinned.copies[TAIL]])}"
    if not pinned.segments:
        return tail
    sealed = _parquet([file for _, file in pinned.segments])
    return f"FROM {sealed} WHERE seq <= {pinned.position.sealed} UNION ALL {tail}"


def _parquet(files: Sequence[BufferedReader]) -> str:
    paths = ", ".join(f"'/dev/fd/{file.fileno()}'" for file in files)
    return f"read_parquet([{paths}])"
