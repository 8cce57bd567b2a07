"""A database that turns out to be damaged only when it is read: it is made anew, or the rows are named."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import duckdb
import pytest

from daemon.events import opening, segments
from daemon.events.log import Log, opened
from daemon.events.opening import HistoryDamaged
from daemon.events.types import DaemonStopped, Event
from daemon.projections import rebuilding, restoring, tables
from daemon.projections.state import State
from tests.disks.failing import Writer, shim
from tests.events.histories import flip
from tests.stories import accepted, created, deleted, finished, previewed

__all__ = ["shim"]  # a fixture

pytestmark = pytest.mark.anyio

JOBS, STEPS = 600, 36
EVENTS = JOBS * (STEPS + 4)
_HEADERS, _BLOCK = 3 * 4096, 256 * 1024
"""Of a DuckDB file: three headers, then blocks with a checksum each."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of some megabytes, all of it sealed but for its last event."""
    path = tmp_path_factory.mktemp("original") / "history.duckdb"
    anyio.run(_write, path)
    return path


async def _write(path: Path) -> None:
    async with log_at(path) as log:
        for job in range(1, JOBS + 1):
            steps = [previewed(step, job, job) for step in range(1, STEPS + 1)]
            story: list[Event] = [
                accepted(job, job), created(job, job), *steps, finished(job, job), deleted(job, job)
            ]  # fmt: skip
            await log.decide(lambda _, story=story: story)  # type: ignore[misc]  # bound at once
        await log._seal()
        await log.append(DaemonStopped(reason="signal"))


@asynccontextmanager
async def log_at(path: Path) -> AsyncIterator[Log[State]]:
    """Opened as a daemon opens it, with its tables."""
    async with opened(path, State(), restoring) as log, anyio.create_task_group() as tasks:
        await tasks.start(tables.run, log)
        yield log
        tasks.cancel_scope.cancel()


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(original.parent, tmp_path / "home")
    return tmp_path / "home" / original.name


def spoil(path: Path) -> None:
    """A few bytes in each block of the file, as it lies on the disk."""
    with path.open("r+b") as file:
        for at in range(_HEADERS + _BLOCK // 2, path.stat().st_size, _BLOCK):
            file.seek(at)
            file.write(b"spoilt" * 8)


async def check(log: Log[State], path: Path) -> None:
    """Every event is there, it goes on, and the tables are what the log says; the broken file was kept."""
    position = log.position
    assert [recorded.seq for recorded in await log.read(0, 10**6)] == list(range(1, position + 1))
    assert (await log.append(DaemonStopped(reason="idle"))).seq == position + 1
    assert await rebuilding.compare(log) == []
    assert len(list(path.parent.glob("history.broken-*.duckdb"))) == 1


async def test_a_block_that_goes_bad_under_a_running_log_is_mended_by_the_first_read(path: Path) -> None:
    """Whoever reads gets what was recorded, and notices nothing but the time."""
    async with log_at(path) as log:
        spoil(path)
        await check(log, path)


async def test_a_long_read_beside_the_writer_is_mended_too(path: Path) -> None:
    """Copies, comparisons and rebuilds read through connections of their own."""

    def everything(connection: duckdb.DuckDBPyConnection) -> int:
        connection.execute("SELECT bit_xor(hash(row)) FROM events AS row").fetchall()
        return int(connection.execute("SELECT count(*) FROM events").fetchall()[0][0])

    async with log_at(path) as log:
        spoil(path)
        assert await log.aside(everything) == log.position
        await check(log, path)


async def test_blocks_that_went_bad_at_rest_are_mended_by_the_start(path: Path) -> None:
    """While the state is folded, or before."""
    spoil(path)
    async with log_at(path) as log:
        assert log.state.next_job == JOBS + 1
        await check(log, path)


async def test_what_no_file_holds_is_named(path: Path) -> None:
    """The segment is damaged too: the log ends, and says which events cannot be had."""
    (segment, *_) = segments.found(opening.segments_of(path))
    flip(segment.path, segment.path.stat().st_size // 3)
    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012  # it ends while it is being read
        async with log_at(path) as log:
            spoil(path)
            await log.read(0, 10**6)
    lost = [str(one) for one in _leaves(raised.value) if isinstance(one, HistoryDamaged)]
    assert lost[0].startswith(f"events {segment.first} to {segment.last}: ")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


def test_a_file_that_the_disk_cannot_read_is_mended_when_another_can_be(shim: Path, path: Path) -> None:
    """EIO, from the operating system."""
    with Writer(path, shim, path.parent / "rules") as writer:
        newest = writer.position
        with writer.failing("read", "history.duckdb"):
            answer = writer.ask("read")
            assert answer.error is not None or len(answer.value) == newest
        assert len(writer.ask("read").value or writer.ask("read").value) == newest
        assert writer.ask("append 1").value == [newest + 1]
