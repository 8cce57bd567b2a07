"""The log: one writer, group commit, and followers that pull.

Everything that changes the world's record goes through `decide`: a pure function looks at the state that
the log has led to and answers the events that follow from it. The writer takes what queued while the
last commit ran, runs each decision against the state with all before it, commits the lot with one
fsync, and only then are callers answered and followers woken. So a decision never sees stale state, and
nobody hears of an event that is not durable. The database takes the rows in a moment later, in groups.

Readers see `state`, which holds committed events only.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial, reduce
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
import duckdb
from anyio import CapacityLimiter, to_thread

from daemon.events import codec, database
from daemon.events.opening import claimed
from daemon.events.rounds import Batch, FoldFailed, Key, LogFailed, Memory, Pending, Round, S
from daemon.events.store import Store
from daemon.events.types import Event, Recorded

RING = 4096
"""Recent events kept in memory, for followers that are at most a little behind."""
_PAGE = 10_000

_TOGETHER = 0.1
"""Seconds for which committed rows gather before the database takes them in: a transfer of one row costs the
processor what a hundred cost, and readers wait for none of it."""
_RETRY = 10.0
"""Seconds between tries to seal, or to write to a database that would not."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Told:
    """An event for followers. It is encoded when the first of them asks, for all: most often for a burst, of
    which followers get little, that is never.
    """

    __slots__ = ("_message", "event", "seq")

    def __init__(self, recorded: Recorded) -> None:
        self.seq = recorded.seq
        self.event = recorded
        self._message = b""

    @property
    def message(self) -> bytes:
        """As `codec.message` has it."""
        self._message = self._message or codec.message(self.event)
        return self._message

    @property
    def superseding(self) -> int | None:
        """As `codec.superseding` has it."""
        return codec.superseding(self.event.event)


class Log(Generic[S]):
    """An open log. Make one with `opened`; `run` is its writer's task."""

    def __init__(self, store: Store, state: S, memory: Memory[S] | None) -> None:
        """`state` is empty; it is brought up here, from the tables and what the log has beyond them."""
        self.state = state
        self._memory = memory
        self.epoch = store.epoch
        self.position, self._head = store.began_at
        self.ring: deque[Told] = deque(maxlen=RING)
        self._store = store
        self._thread = CapacityLimiter(1)
        """The database's."""
        self._journalling = CapacityLimiter(1)
        self._round: Round[S] = Round()
        self._wanted = anyio.Event()
        self._bell = anyio.Event()
        self._due = anyio.Event()
        self._sealing = anyio.Lock()
        self._closed: LogFailed | None = None
        self.flushing = anyio.Lock()
        """Held while the tables are brought up to the state: one flush must not settle another's rows."""
        self.recalling = anyio.Lock(fast_acquire=True)
        """Held while rows are recalled: what the tables were given meanwhile must not leave memory before.
        And while the database is opened again or its tables made anew: nobody may be reading them then."""
        if memory is not None:
            memory.restore(store.connection, state)
        store.anew = False
        self._fold()

    def __repr__(self) -> str:
        return f"<Log at {self.position}, {len(self._round.pending)} decisions waiting>"

    async def append(self, event: Event, *, cause: int | None = None) -> Recorded:
        """Record one event that stands for itself. Raises as `decide` does."""
        (recorded,) = await self.decide(lambda _: [event], cause=cause)
        return recorded

    async def decide(
        self, decision: Callable[[S], Sequence[Event]], *, cause: int | None = None, needs: Sequence[Key] = ()
    ) -> list[Recorded]:
        """Record what `decision` answers for the state of its turn; returns once it is durable.

        The first event is caused by `cause`, the others by the first. `needs` are rows that the decision
        looks at and that may have left memory: they are there when its turn comes, if they exist. Raises
        `Refused` if an event cannot follow from the state, `LogFailed` if the machine failed, and whatever
        `decision` raises.
        """
        pending: Pending[S] = Pending(decision, cause, needs)
        await self._hand_in((pending,)).to_the_end()
        if isinstance(pending.outcome, Exception):
            raise pending.outcome
        return pending.outcome

    async def decide_each(
        self, decisions: Iterable[tuple[Callable[[S], Sequence[Event]], Sequence[Key]]]
    ) -> list[list[Recorded] | Exception]:
        """Record what each decision, given with its needs, answers, all in one commit; returns once it is
        durable.

        They are as many callers': each is recorded or fails by itself, and what `decide` would raise for
        it stands in its place.
        """
        pending: list[Pending[S]] = [Pending(decision, None, needs) for decision, needs in decisions]
        await self._hand_in(pending).to_the_end()
        return [each.outcome for each in pending]

    def _hand_in(self, pending: "Iterable[Pending[S]]") -> "Round[S]":
        """Into the next commit."""
        if self._closed is not None:
            raise self._closed
        self._round.pending += pending
        self._wanted.set()
        return self._round

    async def run(self) -> None:
        """The writer. Ends by being cancelled, never in the middle of a commit, or by a failure of its own.

        Whoever still waits for it then gets `LogFailed`: callers wait shielded, and would wait for ever.
        """
        try:
            while True:
                with anyio.move_on_after(_RETRY if self._store.broken or self._store.anew else None):
                    await self._wanted.wait()
                self._wanted = anyio.Event()
                round_, self._round = self._round, Round()
                with anyio.CancelScope(shield=True):
                    await self._serve(round_)
        finally:
            self._closed = LogFailed("the history is closed")
            self._round.fail(self._closed)
            self._round.answered.set()

    async def transfer(self) -> None:
        """Have the database take in what was committed, in groups, until cancelled.

        What fails here (a full disk, say) costs nothing: the rows are in the journal, and it is tried again.
        """
        reached = self.position
        while True:
            await self.changed(reached)
            await anyio.sleep(_TOGETHER)
            position = self.position
            try:
                due = await self._in_thread(self._transfer)
            except (OSError, *database.UNREADABLE) as error:
                logger.warning("history: the database is behind, it is tried again: %s", error)
                self._wanted.set()  # the writer opens it again, if that is what it wants
                await anyio.sleep(_RETRY)
                continue
            reached = position
            if due:
                self._due.set()

    def _transfer(self) -> bool:
        self._store.transfer()
        return self._store.due()

    async def keep_house(self) -> None:
        """Seal and checkpoint whenever that is due, until cancelled. Appends go on meanwhile.

        What fails here (a full disk, say) costs nothing: the rows stay in journal and database, and it is
        tried again.
        """
        while True:
            await self._due.wait()
            self._due = anyio.Event()
            try:
                await self._seal()
            except (OSError, LogFailed, *database.UNREADABLE) as error:
                # Nothing can be read either until it is opened again, which is the writer's to do.
                if isinstance(error, duckdb.FatalException):
                    self._store.broken = True
                if self._store.broken:
                    self._wanted.set()
                logger.warning("history: sealing failed, it is tried again in %g s: %s", _RETRY, error)
                await anyio.sleep(_RETRY)
                self._due.set()

    async def _seal(self) -> None:
        async with self._sealing:  # a checkpoint refuses to begin while another connection writes
            upto = self.position
            await self.aside(partial(self._store.seal, upto=upto))
            await self._in_thread(self._store.checkpoint)

    async def changed(self, after: int) -> int:
        """Wait until the log is past `after`; answers its position."""
        while self.position <= after:
            await self._bell.wait()
        return self.position

    async def read(self, after: int, limit: int = _PAGE) -> list[Recorded]:
        """Up to `limit` events that follow event `after`."""
        rows = await self._read_again(partial(self._in_thread, partial(self._store.read, after, limit)))
        return codec.open_rows(rows)

    async def recall(self, keys: Sequence[Key]) -> None:
        """Have these rows of the tables in memory, if they exist, when this returns; not for long."""
        if self._memory is not None and self.state.lacks(keys):
            # All of them: while this waits for its turn, a flush may let go of one that is in memory now.
            recall = partial(self._recalled, self._memory, keys)
            try:
                async with self.recalling:
                    self.state.remember(await to_thread.run_sync(recall))
            except database.UNREADABLE as error:
                await self._examine(error)
                raise

    def _recalled(self, memory: Memory[S], keys: Sequence[Key]) -> Mapping[str, Iterable[Any]]:
        """Beside the database's thread: decisions do not wait for a flush, nor for a checkpoint."""
        with self._store.connection.cursor() as cursor:
            return memory.recall(cursor, keys)

    async def transaction(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run `work` on the log's connection, in its thread, in one transaction."""
        try:
            return await self._in_thread(partial(self._store.transaction, work))
        except database.UNREADABLE as error:
            await self._examine(error)
            raise

    @asynccontextmanager
    async def cursor(self) -> AsyncIterator[duckdb.DuckDBPyConnection]:
        """A second connection to the same database, for long reads in a thread of their own."""
        cursor = await self._in_thread(self._store.cursor)
        try:
            yield cursor
        finally:
            cursor.close()

    async def aside(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run `work` on such a connection, in a thread of its own: appends go on meanwhile.

        It may run twice, the second time on a database that was made anew.
        """

        async def once() -> T:
            async with self.cursor() as cursor:
                return await to_thread.run_sync(work, cursor)

        return await self._read_again(once)

    async def _read_again(self, read: Callable[[], Awaitable[T]]) -> T:
        """Read; where the database turns out to be damaged, once more when the writer has made it anew."""
        try:
            return await read()
        except database.UNREADABLE as error:
            if not await self._examine(error):
                raise
        await self.decide(lambda _: [])  # the writer's next round begins with a database that can be read
        return await read()

    async def _examine(self, error: Exception) -> bool:
        damaged = await self._in_thread(partial(self._store.examine, error))
        if damaged:
            logger.error("history: the database failed and is opened again or made anew: %s", error)
            self._wanted.set()
        return damaged

    async def recorded(self, seq: int) -> Recorded:
        """One event. Raises `LookupError` if there is none of that number."""
        for found in await self.read(seq - 1, 1):
            return found
        raise LookupError(f"there is no event {seq}")

    async def settled(self) -> None:
        """Wait until every decision handed in so far has been answered."""
        while self._round.pending:
            await self._round.answered.wait()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """In the database's thread."""
        return await to_thread.run_sync(call, limiter=self._thread)

    async def _serve(self, round_: "Round[S]") -> None:
        """Commit what a round's callers decided, and answer every one of them, whatever happens."""
        try:
            await self._commit(round_)
        except database.UNREADABLE as error:
            round_.fail(LogFailed(f"the tables could not be read: {error}"))
        except BaseException as error:
            round_.fail(LogFailed(f"the history failed: {error}"))
            raise
        finally:
            round_.answered.set()

    async def _commit(self, round_: "Round[S]") -> None:
        """Raises one of `UNREADABLE` before anything is decided, anything else where the log must end."""
        if self._store.broken and not await self._revived(round_):
            return
        if self._store.behind and not await self._transferred(round_):
            return
        if self._store.anew:
            async with self.recalling:
                await self._in_thread(self._restore_tables)
        await self.recall([key for pending in round_.pending for key in pending.needs])
        batch = Batch(self.state.fork(), self.position, self._head)
        for pending in round_.pending:
            try:
                pending.outcome = batch.take(pending)
            except FoldFailed:
                raise
            except Exception as error:  # noqa: BLE001  # it is the caller's, who gets it raised
                pending.outcome = error
        if batch.rows:
            commit = partial(self._store.commit, batch.rows)
            try:
                await to_thread.run_sync(commit, limiter=self._journalling)
            except OSError as error:
                round_.fail(LogFailed(f"the history could not be written: {error}"))
            else:
                self._publish(batch)

    async def _transferred(self, round_: "Round[S]") -> bool:
        """Whether a database that would not write does now; until then nothing more is taken, and callers
        are told."""
        try:
            await self._in_thread(self._store.transfer)
        except (OSError, *database.UNREADABLE) as error:
            round_.fail(LogFailed(f"the history could not be written: {error}"))
            return False
        return True

    async def _revived(self, round_: "Round[S]") -> bool:
        """Open a database again that failed, and take in what was in doubt; tells callers if it cannot."""
        try:
            async with self.recalling:
                await self._in_thread(self._store.reopen)
                if self._store.anew:
                    await self._in_thread(self._restore_tables)
            await self._catch_up()
        except (OSError, *database.UNREADABLE) as error:
            self._store.broken = True  # also where it could be opened: the log is behind it
            round_.fail(LogFailed(f"the history cannot be opened: {error}"))
            return False
        logger.warning("history: the database is open again, at event %d", self.position)
        return True

    async def _catch_up(self) -> None:
        """Take in what the database has beyond the log."""
        while rows := await self._in_thread(partial(self._store.read, self.position, _PAGE)):
            await self.recall(_rows_needed(rows))
            recorded = codec.open_rows(rows)
            for one in recorded:
                self.state.apply(one)
            head = reduce(codec.chain, rows, self._head)
            self._advance(rows[-1].seq, head, recorded)

    def _restore_tables(self) -> None:
        """After the database was made anew; what is in memory is as new as they are, or newer."""
        if self._memory is not None:
            self._memory.remake(self._store.connection)
        self._store.anew = False

    def _fold(self) -> None:
        """Fold in what the log has beyond the state's position."""
        while self.state.position < self.position and (rows := self._store.read(self.state.position, _PAGE)):
            lacking = self.state.lacks(_rows_needed(rows))
            if lacking and self._memory is not None:
                self.state.remember(self._memory.recall(self._store.connection, lacking))
            for recorded in codec.open_rows(rows):
                self.state.apply(recorded)

    def _publish(self, batch: "Batch[S]") -> None:
        self.state.adopt(batch.draft)
        self._advance(batch.position, batch.head, batch.recorded)

    def _advance(self, position: int, head: bytes, recorded: Sequence[Recorded]) -> None:
        self.position, self._head = position, head
        self.ring.extend(map(Told, recorded))
        self._bell.set()
        self._bell = anyio.Event()


def _rows_needed(rows: Sequence[codec.Row]) -> list[Key]:
    """The rows of the tables that these events are about."""
    frames: list[Key] = [("frames", row.frame) for row in rows if row.frame is not None]
    return [*frames, *(("jobs", row.job) for row in rows if row.job is not None)]


def _begun(store: Store, state: S, memory: Memory[S] | None) -> Log[S]:
    """The log, folded; where its database turns out to be damaged, on one that is made anew."""
    try:
        return Log(store, state, memory)
    except database.UNREADABLE as error:
        if not store.examine(error):
            raise
    store.reopen()
    return Log(store, type(state)(), memory)


@asynccontextmanager
async def opened(path: Path, state: S, memory: Memory[S] | None = None) -> AsyncIterator[Log[S]]:
    """The log at `path` with its writer running, for this process alone.

    `state` is empty and is brought up from `memory`'s tables; without any, the whole log is folded into it.
    Raises `HomeInUse` if another process has it, `UnknownEvent` if a later Safelight wrote it, and
    `HistoryDamaged` if rows of it are lost.
    """
    with claimed(path):
        store = await to_thread.run_sync(Store, path)
        try:
            log = await to_thread.run_sync(_begun, store, state, memory)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(log.run)
                tasks.start_soon(log.transfer)
                tasks.start_soon(log.keep_house)
                yield log
                await log.settled()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(store.close)
