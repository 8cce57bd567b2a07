"""The log: one writer, group commit, refusals, failures and what a kill -9 leaves."""

import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import duckdb
import pytest
from anyio import from_thread

from daemon.events import codec, segments
from daemon.events.log import Log, opened
from daemon.events.opening import HomeInUse
from daemon.events.rounds import LogFailed
from daemon.events.store import Store
from daemon.events.types import DaemonStarted, DaemonStopped, Event
from daemon.projections.laws import Refused
from daemon.projections.state import State
from tests.serving import PATIENCE
from tests.stories import accepted, cancel_requested, cancelled, created, finished

pytestmark = pytest.mark.anyio

STOPPED = DaemonStopped(reason="signal")


@asynccontextmanager
async def log_at(path: Path) -> AsyncIterator[Log[State]]:
    """An open log with a fresh state."""
    async with opened(path, State()) as log:
        yield log


def check_chain(path: Path) -> int:
    """Every hash follows from the row before; answers the number of rows."""
    store = Store(path)
    rows = store.read(0, 1_000_000)
    store.close()
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert codec.unchained(rows) is None
    return len(rows)


async def test_events_come_back_in_order_after_a_restart(tmp_path: Path) -> None:
    """What was acknowledged is there, with its cause, in gapless order."""
    path = tmp_path / "history.duckdb"
    async with log_at(path) as log:
        first = await log.append(accepted())
        await log.append(created(), cause=first.seq)
    async with log_at(path) as log:
        assert log.state.frames[1].status == "running"
        again = await log.append(finished())
        assert again.seq == 3
        assert [recorded.cause for recorded in await log.read(0)] == [None, 1, None]
    assert check_chain(path) == 3


async def test_a_thousand_callers_share_few_commits(tmp_path: Path) -> None:
    """A burst costs one fsync, not a thousand, and each caller gets its own row."""
    async with log_at(tmp_path / "history.duckdb") as log:
        seqs: list[int] = []
        bells = 0

        async def call() -> None:
            seqs.append((await log.append(STOPPED)).seq)

        async def count() -> None:
            nonlocal bells
            position = 0
            while position < 1000:
                position = await log.changed(position)
                bells += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            for _ in range(1000):
                tasks.start_soon(call)
    assert sorted(seqs) == list(range(1, 1001))
    assert bells < 20


async def test_of_two_ends_in_one_commit_the_second_is_refused(tmp_path: Path) -> None:
    """Decisions see what was decided before them, durable or not yet."""
    async with log_at(tmp_path / "history.duckdb") as log:
        await log.append(accepted())
        await log.append(created())
        outcomes: list[object] = []

        async def end(event: Event) -> None:
            try:
                outcomes.append(await log.append(event))
            except Refused as refusal:
                outcomes.append(refusal)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end, finished())
            tasks.start_soon(end, cancelled())
        assert [isinstance(outcome, Refused) for outcome in outcomes] == [False, True]
        assert log.state.frames[1].status == "done"


async def test_a_decision_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    """One refused event takes its companions with it, and nobody else's."""
    async with log_at(tmp_path / "history.duckdb") as log:
        await log.append(accepted())
        with pytest.raises(Refused):
            await log.decide(lambda _: [created(), created()])
        assert log.state.frames[1].status == "queued"
        request, end = await log.decide(lambda _: [cancel_requested(), cancelled()], cause=1)
        assert (request.cause, end.cause) == (1, request.seq)


async def test_a_bug_in_a_decision_is_its_callers(tmp_path: Path) -> None:
    """The writer goes on."""

    def broken(state: State) -> Sequence[Event]:
        return [state.frames[99]]  # type: ignore[list-item]  # the point is that it fails

    async with log_at(tmp_path / "history.duckdb") as log:
        with pytest.raises(KeyError):
            await log.decide(broken)
        assert (await log.append(STOPPED)).seq == 1


async def test_nobody_hears_of_an_event_before_it_is_durable(tmp_path: Path) -> None:
    """When a follower wakes, another process's view of the files has the event too."""
    path = tmp_path / "history.duckdb"
    async with log_at(path) as log:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.append, STOPPED)
            await log.changed(0)
        assert log.ring[0].seq == 1
        copy = tmp_path / "copy.duckdb"
        for name in ("duckdb", "journal"):
            copy.with_suffix(f".{name}").write_bytes(path.with_suffix(f".{name}").read_bytes())
    assert check_chain(copy) == 1


async def test_a_commit_that_fails_tells_every_caller_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's failure is named, the state stays what the files say, and the next commit works."""

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "fdatasync")

    async with log_at(tmp_path / "history.duckdb") as log:
        await log.append(accepted())
        with monkeypatch.context() as patch:
            patch.setattr("daemon.events.journal.os.fdatasync", refuse)
            with pytest.raises(LogFailed, match="could not be written"):
                await log.append(created())
        assert log.state.frames[1].status == "queued"
        assert log.position == 1
        assert (await log.append(created())).seq == 2


async def test_a_database_that_has_something_else_gives_way(tmp_path: Path) -> None:
    """What was acknowledged stands in the journal; it is set aside and made anew, under the running log."""
    path = tmp_path / "history.duckdb"

    def occupy(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(
            "INSERT INTO events SELECT 2, ts, type, version, job, frame, cause, data, hash FROM events"
        )

    async with log_at(path) as log:
        await log.append(accepted())
        await log.transaction(occupy)
        await log.append(created())
        found = await log.aside(lambda connection: connection.execute("SELECT type FROM events").fetchall())
        assert found == [("JobAccepted",), ("FrameCreated",)]
        assert (await log.append(finished())).seq == 3
    assert check_chain(path) == 3
    assert len(list(tmp_path.glob("history.broken-*.duckdb"))) == 1


async def test_rows_that_the_database_has_not_yet_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower that is told of an event finds it, in whichever file it is just then."""
    monkeypatch.setattr(Store, "transfer", lambda self: None)
    async with log_at(tmp_path / "history.duckdb") as log:
        for event in (accepted(), created(), finished()):
            await log.append(event)
        assert [[one.seq for one in await log.read(after, 2)] for after in range(4)] == [
            [1, 2], [2, 3], [3], []
        ]  # fmt: skip
        monkeypatch.undo()
        await log.transaction(lambda _: None)
        assert [[one.seq for one in await log.read(after, 2)] for after in range(4)] == [
            [1, 2], [2, 3], [3], []
        ]  # fmt: skip


async def test_the_database_follows_by_itself_and_is_sealed_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads, and nobody closes the log."""
    checkpoint, sealed = Store.checkpoint, anyio.Event()

    def checkpoint_and_tell(store: Store) -> None:
        checkpoint(store)
        from_thread.run_sync(sealed.set)

    monkeypatch.setattr(Store, "checkpoint", checkpoint_and_tell)
    monkeypatch.setattr("daemon.events.store.SEAL_AT", 1)
    async with log_at(tmp_path / "history.duckdb") as log:
        await log.append(STOPPED)
        with anyio.fail_after(PATIENCE):
            await sealed.wait()
        assert [one.last for one in segments.found(tmp_path / "history")] == [1]


async def test_a_writer_that_fails_for_good_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure ends the log, and every caller hears of it: those in the batch, and those after it."""

    def fail(store: Store, rows: object) -> None:
        raise ZeroDivisionError

    async def break_the_log() -> None:
        async with log_at(tmp_path / "history.duckdb") as log:
            await log.append(accepted())
            monkeypatch.setattr(Store, "commit", fail)
            try:
                await log.append(created())
            finally:
                with anyio.CancelScope(shield=True), pytest.raises(LogFailed):
                    await log.append(created())

    with pytest.raises(ExceptionGroup) as raised:
        await break_the_log()
    assert raised.group_contains(ZeroDivisionError)


async def test_events_cannot_be_changed_or_deleted(tmp_path: Path) -> None:
    """The database itself refuses."""
    async with log_at(tmp_path / "history.duckdb") as log:
        await log.append(STOPPED)
        for statement in ("DELETE FROM events", "UPDATE events SET type = 'x'"):

            def tamper(connection: duckdb.DuckDBPyConnection, statement: str = statement) -> None:
                connection.execute(statement)

            with pytest.raises(duckdb.Error, match="append-only"):
                await log.transaction(tamper)
        assert len(await log.read(0)) == 1


async def test_a_second_log_on_the_same_file_is_refused(tmp_path: Path) -> None:
    """Even from the same process, where DuckDB's own lock would not hold."""
    async with log_at(tmp_path / "history.duckdb"):
        with pytest.raises(HomeInUse):
            async with log_at(tmp_path / "history.duckdb"):
                pass


async def test_a_cancelled_caller_still_finishes_its_step(tmp_path: Path) -> None:
    """What was handed in is recorded, and the caller leaves only then."""
    async with log_at(tmp_path / "history.duckdb") as log:
        recorded = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            recorded.append(await log.append(STOPPED))
        assert [one.seq for one in recorded] == [1]


WRITER = """
import sys, anyio
from pathlib import Path
from daemon.events.log import opened
from daemon.events.types import DaemonStopped
from daemon.projections.state import State

async def main():
    async with opened(Path(sys.argv[1]), State()) as log:
        async def produce():
            while True:
                recorded = await log.append(DaemonStopped(reason="x" * 200))
                print(recorded.seq, flush=True)
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(produce)

anyio.run(main)
"""


def test_kill_9_of_the_writer_loses_no_acknowledged_event(tmp_path: Path) -> None:
    """Ten times in a row, each at another moment, on one file."""
    path = tmp_path / "history.duckdb"
    for lines in (1, 3, 9, 20, 33, 50, 71, 90, 130, 200):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(lines)]
            writer.kill()
            acknowledged += [
                int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")
            ]
        assert check_chain(path) >= max(acknowledged)


def test_a_started_daemons_story_is_a_row(tmp_path: Path) -> None:
    """The sync store alone round-trips a row byte for byte."""
    store = Store(tmp_path / "history.duckdb")
    event = DaemonStarted(version="0", host="h", port=1, pid=1, devices=["ünï"], model="demo")
    row = codec.seal(event, seq=1, ts=codec.EPOCH, cause=None, previous=codec.GENESIS)
    store.commit([row])
    assert store.read(0, 10) == [row]
    assert store.last() == (1, row.hash)
    store.close()
