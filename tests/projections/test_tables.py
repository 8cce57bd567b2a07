"""The derived tables: the fold's own rows, however they came to be, and a daemon that starts from them."""

import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import duckdb
import pytest
from anyio import to_thread
from hypothesis import given as hypothesis_given
from hypothesis import settings
from msgspec.structs import replace

from daemon.events import codec, database
from daemon.events.log import Log, opened
from daemon.events.rounds import LogFailed
from daemon.events.types import Event, Recorded
from daemon.projections import decisions, rebuilding, restoring, rows, tables
from daemon.projections.laws import Refused
from daemon.projections.state import KEPT, State
from daemon.projections.tables import TABLES
from tests.projections.test_laws import legal_histories
from tests.serving import PATIENCE
from tests.stories import (
    NOON,
    accepted,
    cancel_requested,
    cancelled,
    created,
    deleted,
    failed,
    finished,
    interrupted,
    paused,
    previewed,
    prompt,
    resumed,
    source,
)

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def kept(path: Path) -> AsyncIterator[Log[State]]:
    """An open log with its tables kept up."""
    async with opened(path, State(), restoring) as log, anyio.create_task_group() as tasks:
        await tasks.start(tables.run, log)
        yield log
        tasks.cancel_scope.cancel()


async def whole_picture(log: Log[State], number: int) -> None:
    """A job of one frame, made to the end."""
    steps = (previewed(1, number, number), previewed(3, number, number))
    end = (finished(number, number), deleted(number, number))
    await log.decide(lambda _: [accepted(number, number), created(number, number), *steps, *end])


def contents(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Any]]:
    """All tables' rows."""
    return {
        table: [
            rows.read(projection.row, found)
            for found in connection.execute(
                f"SELECT {rows.selected(projection.row)} FROM {table} ORDER BY {rows.key(projection.row)}"
            ).fetchall()
        ]
        for table, projection in TABLES.items()
    }


def timed(history: list[Event]) -> list[Recorded]:
    """The events, each a little later than the one before."""
    return [
        Recorded(seq=seq, ts=NOON + timedelta(milliseconds=seq * seq), event=event, cause=None, hash=b"")
        for seq, event in enumerate(history, start=1)
    ]


def in_database(history: list[Recorded]) -> duckdb.DuckDBPyConnection:
    """A log of these events in memory."""
    connection = duckdb.connect()
    connection.execute(database.SCHEMA)
    sealed = [
        codec.seal(one.event, seq=one.seq, ts=one.ts, cause=None, previous=codec.GENESIS) for one in history
    ]
    if sealed:
        with connection.appender("events") as appender:
            appender.append_rows(map(database.values, sealed))
    return connection


@hypothesis_given(legal_histories)
@settings(max_examples=60)
def test_sql_makes_the_rows_that_the_fold_makes(history: list[Event]) -> None:
    """Two ways to the same tables, for every history that the laws let happen."""
    state = State()
    for recorded in timed(history):
        state.apply(recorded)
    with in_database(timed(history)) as connection:
        rebuilding.make(connection)
        assert contents(connection) == state.take_changes()


def test_a_history_that_no_law_lets_happen_has_tables_all_the_same() -> None:
    """Laws change, and bind what is recorded from then on: a frame that ended twice ends no start."""
    twice: list[Event] = [accepted(), created(), previewed(1), previewed(3), finished(), failed()]
    state = State()
    for recorded in timed(twice):
        state.apply(recorded)
    with in_database(timed(twice)) as connection:
        rebuilding.make(connection)
        (timing,) = contents(connection)["timings"]
    assert timing.picture_us == state.timings[1].picture_us


async def test_a_start_reads_what_is_open_and_not_the_whole_log(tmp_path: Path) -> None:
    """Ended frames stay on disk but for the newest; what was running, waiting and counted is known."""
    path = tmp_path / "history.duckdb"
    total = KEPT + 30
    async with kept(path) as log:
        for number in range(1, total + 1):
            await whole_picture(log, number)
        await log.append(accepted(total + 1, total + 1, (1, 2)))
        running = created(total + 1, total + 1)
        (begun,) = await log.decide(lambda _: [running])
        request = await log.append(cancel_requested(total + 1, total + 1), cause=begun.seq)
        frames, paces = dict(log.state.frames), dict(log.state.paces)
    async with opened(path, State(), restoring) as log:
        assert sorted(log.state.frames) == list(range(31, total + 3))
        assert all(log.state.frames[number] == frame for number, frame in frames.items() if number > 30)
        assert list(log.state.jobs) == [total + 1]
        assert log.state.reasons == {total + 1: request.seq, total + 2: begun.seq - 1}
        assert log.state.paces == paces
        assert (log.state.next_job, log.state.next_frame) == (total + 2, total + 3)
        assert log.state.position == log.position == request.seq


async def test_what_memory_held_is_what_the_tables_say(tmp_path: Path) -> None:
    """Put down at a clean end and taken up at the next start: the same as gathering it."""
    path = tmp_path / "history.duckdb"
    async with kept(path) as log:
        for number in range(1, KEPT + 3):
            await whole_picture(log, number)
        await log.append(accepted(KEPT + 3, KEPT + 3, (1, 2, 3)))
        await log.append(created(KEPT + 3, KEPT + 3))
        await log.append(previewed(1, KEPT + 3, KEPT + 3))
        await log.append(paused())
    taken_up, gathered = State(), State()
    with duckdb.connect(path) as connection:
        restoring.restore(connection, taken_up)
        connection.execute("DROP TABLE kept")
        restoring.restore(connection, gathered)
    assert taken_up.clocks
    assert held(taken_up) == held(gathered)


async def test_what_memory_held_counts_for_those_tables_alone(tmp_path: Path) -> None:
    """Not once they have gone on without it, as before a kill -9; nor where they are made anew."""
    path = tmp_path / "history.duckdb"
    async with kept(path) as log:
        await log.append(accepted(1, 1))
    async with opened(path, State(), restoring) as log:
        await log.append(created(1, 1))
        await tables.flush(log)  # and no end to it: nothing is put down
    async with opened(path, State(), restoring) as log:
        assert log.state.frames[1].status == "running"
    with duckdb.connect(path) as connection:
        rebuilding.make(connection)
        assert not connection.execute("FROM duckdb_tables() WHERE table_name = 'kept'").fetchall()


@pytest.mark.parametrize("change", ["content = 'no state'::BLOB", "version = version + 1"])
async def test_what_memory_held_and_nobody_can_read_is_passed_over(tmp_path: Path, change: str) -> None:
    """Garbage, or the layout of another Safelight, which may mean something else: the tables have it all."""
    path = tmp_path / "history.duckdb"
    async with kept(path) as log:
        await log.append(accepted(1, 1))
    with duckdb.connect(path) as connection:
        connection.execute(f"UPDATE kept SET {change}")
    async with opened(path, State(), restoring) as log:
        assert log.state.frames[1].status == "queued"


async def test_what_memory_has_of_tables_that_were_made_anew_is_not_put_down(tmp_path: Path) -> None:
    """It came from what a strange hand had changed; the next start is to have it from the new ones."""
    path = tmp_path / "history.duckdb"
    async with kept(path) as log:
        await whole_picture(log, 1)
    with duckdb.connect(path) as connection:
        connection.execute("DROP TABLE kept")
        connection.execute("UPDATE frames SET status = 'queued', finished_at = NULL")
    async with kept(path) as log:
        assert log.state.frames[1].status == "queued"
    async with kept(path) as log:
        await rebuilding.rebuild(log)
    async with kept(path) as log:
        assert log.state.frames[1].status == "done"
        assert not log.state.open
    with duckdb.connect(path) as connection:  # and that start's memory is as good as any
        assert connection.execute("SELECT count(*) FROM kept").fetchall() == [(1,)]


async def test_what_memory_has_of_a_database_that_was_lost_is_not_put_down(tmp_path: Path) -> None:
    """Its tables may have been wrong; the next start is to have it from the new ones."""
    path = tmp_path / "history.duckdb"
    async with kept(path) as log:
        await log.append(accepted())
        log._store.anew = True  # as after a fatal error
        await log.append(created())
    with duckdb.connect(path) as connection:
        assert not connection.execute("FROM duckdb_tables() WHERE table_name = 'kept'").fetchall()
    async with kept(path) as log:
        assert log.state.frames[1].status == "running"


async def test_nothing_is_recalled_while_the_tables_are_made_anew(tmp_path: Path) -> None:
    """A question about an old frame waits for them, and does not find them gone."""
    begun, asked, made = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        """Tables that are not there for a moment."""

        @staticmethod
        def recall(connection: duckdb.DuckDBPyConnection, keys: Any) -> Any:
            assert made.is_set()
            return restoring.recall(connection, keys)

        restore = staticmethod(restoring.restore)

        @staticmethod
        def remake(connection: duckdb.DuckDBPyConnection) -> None:
            begun.set()
            asked.wait(PATIENCE)
            restoring.remake(connection)
            made.set()

    async with kept(tmp_path / "history.duckdb") as log:
        await log.append(accepted())
        await tables.flush(log)
        log._memory, log._store.anew = Slow(), True  # as after a fatal error
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.append, created())
            await to_thread.run_sync(begun.wait)
            tasks.start_soon(log.recall, [("claims", "c1")])
            await anyio.wait_all_tasks_blocked()
            asked.set()
        assert "c1" in log.state.claims


def held(state: State) -> dict[str, Any]:
    """All that a state says of itself, but for clocks that stand still."""
    clocks = {frame: clock for frame, clock in state.clocks.items() if clock is not None}
    return {name: value for name, value in vars(state).items() if name != "_tables"} | {"clocks": clocks}


async def test_tables_that_lag_behind_are_caught_up_from_the_log(tmp_path: Path) -> None:
    """A kill -9 between commit and flush: the rest is folded, old frames it concerns are remembered."""
    path = tmp_path / "history.duckdb"
    async with kept(path) as log:
        await whole_picture(log, 1)
        await log.append(accepted(2, 2))
    async with opened(path, State(), restoring) as log:  # no tables task: nothing is flushed
        await log.append(created(2, 2))
        await log.append(interrupted(2, 2))
        await log.append(resumed(2, 2))
        await log.append(interrupted(2, 2, together=4))  # which is held against none of the four
    async with kept(path) as log:
        assert log.state.frames[2].device_deaths == 1
        assert await rebuilding.compare(log) == []


async def test_memory_does_not_grow_with_what_has_ended(tmp_path: Path) -> None:
    """After a flush only the newest ended frames, no ended job and no settled claim are held."""
    async with opened(tmp_path / "history.duckdb", State(), restoring) as log:
        for number in range(1, KEPT + 21):
            await whole_picture(log, number)
        await tables.flush(log)
        assert len(log.state.frames) == KEPT
        assert not log.state.jobs
        assert not log.state.claims
        assert not log.state.timings
        assert not log.state.reasons


async def test_a_decision_sees_rows_that_have_left_memory(tmp_path: Path) -> None:
    """A claim settled long ago, a frame ended long ago: found in the tables when their turn comes."""
    async with opened(tmp_path / "history.duckdb", State(), restoring) as log:
        for number in range(1, KEPT + 3):
            await whole_picture(log, number)
        await tables.flush(log)
        assert "c1" not in log.state.claims

        def look(state: State) -> list[Event]:
            assert state.claims["c1"].job == 1
            raise Refused(state.frames[1].status)

        with pytest.raises(Refused, match="done"):
            await log.decide(look, needs=[("claims", "c1"), ("frames", 1), ("claims", "never heard of")])
        with pytest.raises(Refused, match="frame 2 has ended"):
            await log.append(cancelled(2, 2))


async def test_what_is_remembered_never_replaces_what_is_newer(tmp_path: Path) -> None:
    """Memory is at least as new as the tables."""
    async with opened(tmp_path / "history.duckdb", State(), restoring) as log:
        await log.append(accepted())
        await tables.flush(log)
        await log.append(created())
        stale = replace(log.state.frames[1], status="queued")
        log.state.remember({"frames": [stale]})
        assert log.state.frames[1].status == "running"


async def test_a_rebuild_beside_a_live_writer_has_no_drift(tmp_path: Path) -> None:
    """What was written before, during and after it is in the tables, and in the state."""
    async with kept(tmp_path / "history.duckdb") as log:
        for number in range(1, 31):
            await whole_picture(log, number)
        await log.append(accepted(31, 31, (1, 2, 3)))
        rebuilt: list[rebuilding.Rebuilt] = []

        async def rebuild() -> None:
            rebuilt.append(await rebuilding.rebuild(log))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rebuild)
            await log.append(created(31, 31))
            await log.append(previewed(1, 31, 31))
            for number in range(34, 44):
                await log.append(accepted(number - 2, number))
        assert await rebuilding.compare(log) == []
        assert rebuilt[0].rows["frames"] >= 33
        await log.append(finished(31, 31))
        assert await rebuilding.compare(log) == []
    async with opened(tmp_path / "history.duckdb", State(), restoring) as log:
        assert log.state.frames[31].status == "done"


async def test_a_tampered_table_is_found_and_put_right(tmp_path: Path) -> None:
    """A changed, a missing and an invented row, each named with what differs; a rebuild mends them."""
    async with kept(tmp_path / "history.duckdb") as log:
        for number in range(1, 5):
            await whole_picture(log, number)
        await tables.flush(log)
        for statement in (
            "UPDATE frames SET step = 2 WHERE id = 1",
            "DELETE FROM jobs WHERE id = 2",
            "INSERT INTO claims VALUES ('forged', 9, 9)",
        ):
            await log.transaction(partial(duckdb.DuckDBPyConnection.execute, query=statement))
        drifts = await rebuilding.compare(log)
        assert [(one.table, one.key) for one in drifts] == [
            ("frames", "1"),
            ("jobs", "2"),
            ("claims", "forged"),
        ]
        assert (drifts[0].found, drifts[0].expected) == ({"step": 2}, {"step": 4})
        assert drifts[1].found is None
        assert drifts[2].expected is None
        await rebuilding.rebuild(log)
        assert await rebuilding.compare(log) == []


async def test_tables_of_another_version_are_made_anew_at_the_start(tmp_path: Path) -> None:
    """An update of Safelight may change the columns; the log has everything."""
    path = tmp_path / "history.duckdb"
    async with kept(path) as log:
        await whole_picture(log, 1)
    with duckdb.connect(path) as connection:
        connection.execute("UPDATE projections SET version = 1")
        connection.execute("DROP TABLE frames")
    async with kept(path) as log:
        assert log.state.frames[1].status == "done"
        assert await rebuilding.compare(log) == []


async def test_a_flush_that_is_cancelled_loses_no_row(tmp_path: Path) -> None:
    """A daemon that stops while the log's thread is busy: what was to be written is written all the same."""
    release = threading.Event()
    async with opened(tmp_path / "history.duckdb", State(), restoring) as log:
        await whole_picture(log, 1)

        def keep_busy(connection: duckdb.DuckDBPyConnection) -> None:
            release.wait(PATIENCE)

        async with anyio.create_task_group() as busy:
            busy.start_soon(log.transaction, keep_busy)
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as flushing:
                flushing.start_soon(tables.flush, log)
                await anyio.wait_all_tasks_blocked()
                flushing.cancel_scope.cancel()
                release.set()
        await tables.flush(log)
        assert await rebuilding.compare(log) == []


async def test_a_claim_is_settled_once_even_while_the_tables_are_being_written(tmp_path: Path) -> None:
    """A flush lets go of the claim between the question whether it is in memory and the answer."""
    async with opened(tmp_path / "history.duckdb", State(), restoring) as log:
        for number in range(1, 11):
            drop = source(f"c{number}")
            decide = partial(decisions.accept, prompts=[prompt()], source=drop, drawn_seeds=[1])
            needs = decisions.claim_keys(drop.claim, 1)
            await log.decide(decide, needs=needs)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tables.flush, log)
                await anyio.lowlevel.checkpoint()  # the flush is in the log's thread now
                (again,) = await log.decide(decide, needs=needs)
            assert type(again.event).__name__ == "JobDuplicate"


async def test_what_a_flush_wrote_beside_a_recall_stays_in_memory_until_its_end(tmp_path: Path) -> None:
    """The recall read the tables before the flush had written the claim."""
    read, release, flushed = threading.Event(), threading.Event(), anyio.Event()

    class Slow:
        restore, remake = staticmethod(restoring.restore), staticmethod(restoring.remake)

        @staticmethod
        def recall(connection: duckdb.DuckDBPyConnection, keys: Any) -> Any:
            found = restoring.recall(connection, keys)
            read.set()
            release.wait(PATIENCE)
            return found

    async with opened(tmp_path / "history.duckdb", State(), Slow) as log:
        decide = partial(decisions.accept, prompts=[prompt()], source=source("c1"), drawn_seeds=[1])
        await log.decide(decide)
        transaction = log.transaction

        async def told(work: Any) -> Any:
            await transaction(work)
            flushed.set()

        log.transaction = told  # type: ignore[method-assign]  # to know when the flush has written
        answers = list[Recorded]()

        async def again() -> None:
            answers.extend(await log.decide(decide, needs=[("claims", "c1"), ("claims", "c2")]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again)
            await to_thread.run_sync(read.wait)
            tasks.start_soon(tables.flush, log)
            await flushed.wait()
            await anyio.wait_all_tasks_blocked()  # it lets go of what it wrote now, if it does
            release.set()
        assert [type(each.event).__name__ for each in answers] == ["JobDuplicate"]
        assert "c1" not in log.state.claims


async def test_a_rebuild_stands_for_the_event_that_it_names(tmp_path: Path) -> None:
    """One that is committed while the swap waits for its turn is folded once, by a start after a kill too."""
    path, copy = tmp_path / "history.duckdb", tmp_path / "copy" / "history.duckdb"
    async with opened(path, State(), restoring) as log:
        await log.decide(lambda _: [accepted(1, 1, (7, 8)), created()])
        take_turn = log.transaction

        async def one_more_first(work: Any) -> Any:
            if getattr(work, "func", None) is rebuilding._swap:
                await log.append(failed())
            return await take_turn(work)

        log.transaction = one_more_first  # type: ignore[method-assign]  # the moment of the race
        await rebuilding.rebuild(log)
        await take_turn(lambda _: shutil.copytree(tmp_path, copy.parent))
    async with opened(copy, State(), restoring) as log:
        assert log.state.jobs[1].failed == 1
        assert await rebuilding.compare(log) == []


async def test_tables_that_cannot_be_made_anew_are_tried_again(tmp_path: Path) -> None:
    """What was committed meanwhile is told and counted, and the log goes on."""

    class Unlucky:
        """Tables that cannot be made twice in a row."""

        restore, recall = staticmethod(restoring.restore), staticmethod(restoring.recall)
        left = 0

        def remake(self, connection: duckdb.DuckDBPyConnection) -> None:
            if self.left:
                self.left -= 1
                raise duckdb.IOException("no room")
            restoring.remake(connection)

    memory = Unlucky()
    async with opened(tmp_path / "history.duckdb", State(), memory) as log:
        await log.append(accepted())
        commit = log._store.commit

        def commit_and_be_made_anew(rows: Any) -> None:
            commit(rows)
            log._store.anew, memory.left = True, 1

        log._store.commit = commit_and_be_made_anew  # type: ignore[method-assign]  # as after a fatal error
        told = await log.append(created())
        assert log.position == told.seq == 2
        log._store.commit = commit  # type: ignore[method-assign]
        with pytest.raises(LogFailed, match="could not be read"):
            await log.append(previewed(1))
        assert (await log.append(previewed(1))).seq == 3


async def test_a_clock_that_is_set_back_times_nothing(tmp_path: Path) -> None:
    """Neither a fold nor SQL makes a negative time of it, and they agree."""
    history: list[Event] = [
        accepted(),
        created(),
        previewed(1),
        previewed(3),
        cancel_requested(),
        cancelled(),
    ]
    state = State()
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(database.SCHEMA)
    previous = codec.GENESIS
    for seq, event in enumerate(history, start=1):
        ts = NOON - timedelta(microseconds=seq * 7_000_001)
        row = codec.seal(event, seq=seq, ts=ts, cause=None, previous=previous)
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", database.values(row))
        state.apply(codec.open_row(row))
        previous = row.hash
    rebuilding.make(connection)
    assert contents(connection)["timings"] == list(state.timings.values())
    assert state.timings[1].picture_us == state.timings[1].timed_us == state.timings[1].saved_us == 0
