"""A long history: opened, rebuilt with a writer at work, replayed into structs, and what an event weighs.

`EVENTS=300000 python -m bench history` takes a smaller one than the ten millions of the printed figures. The
events are real ones with their numbers exchanged in SQL, written straight into the table; hashes are random
bytes, as incompressible as real ones. Floors: DuckDB opening the same file without us; DuckDB counting the
same rows; a loop that fetches the rows and decodes nothing.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import duckdb
import msgspec
import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

from daemon.app import tune
from daemon.events import codec, database, journal, opening
from daemon.events.log import Log, opened
from daemon.events.types import Event
from daemon.projections import rebuilding, restoring, tables
from daemon.projections.state import State
from tests.stories import NOON, accepted, created, deleted, finished, previewed

EVENTS = int(os.environ.get("EVENTS", "10000000"))
STEPS = 24
A_FRAME = STEPS + 4
"""JobAccepted, FrameCreated, the previews, FinalWritten, PreviewDeleted."""
FRAME, JOB, STEP, SIZE = 777_000_001, 777_000_002, 777_000_003, 777_000_004
"""Numbers that stand for a row's own."""
CLAIM = "777000005"
ROUNDS = 5
REPLAYED = 1_000_000

Way = Callable[[list[Any]], Iterable[object]]


def main() -> None:
    """Print all figures."""
    tune()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        path = Path(folder) / "history.duckdb"
        count = write(path, EVENTS // A_FRAME // codec.ANCHOR * codec.ANCHOR)
        anyio.run(first_open, path, count)
        anyio.run(opens, path, count)
        replay(path, count)
        anyio.run(rebuild, path, count)


def write(path: Path, frames: int) -> int:
    """A history of so many frames on disk, without its tables; answers the number of events.

    The last of them must keep its whole hash: what follows is chained to it.
    """
    count = frames * A_FRAME
    database.create(path, "bench")
    connection = database.connect(path)
    cases = " ".join(f"WHEN {kind} THEN {_in_sql(event)}" for kind, event in _templates().items())
    connection.execute(
        f"""
        INSERT INTO events
        SELECT seq, TIMESTAMPTZ '2026-01-01' + INTERVAL (seq * 500) MILLISECOND, split_part(made, ' ', 1),
            split_part(made, ' ', 2)::SMALLINT, job, CASE WHEN place > 0 THEN job END,
            CASE WHEN place > 0 THEN seq - place END,
            substr(made, strpos(made, '{{')),
            CASE WHEN seq % {codec.ANCHOR} = 0 THEN unhex(sha256(seq::VARCHAR))
                ELSE unhex(sha256(seq::VARCHAR))[:{codec.KEPT}] END
        FROM (
            SELECT *, CASE place {cases} ELSE {_in_sql(previewed(STEP, FRAME, JOB))} END
                AS made
            FROM (SELECT job, place, (job - 1) * {A_FRAME} + place + 1 AS seq
                FROM range(1, {frames + 1}) AS jobs(job), range({A_FRAME}) AS places(place)))
        ORDER BY seq
        """
    )
    connection.execute("UPDATE _log SET epoch = 'bench'")
    newest, head = database.last(connection), database.head(connection, count)
    connection.close()
    opening.segments_of(path).mkdir()
    base = journal.Base("bench", newest, head)
    journal.Journal(opening.journal_of(path), journal.records([base])).close()
    weight = path.stat().st_size / count
    kept = codec.KEPT + (len(codec.GENESIS) - codec.KEPT) / codec.ANCHOR
    print(
        f"  {count:,} events: {weight:.1f} bytes each in the database, {kept:.1f} of them the hash",
        flush=True,
    )
    return count


def _templates() -> dict[int, Event]:
    """By their place in a frame's life."""
    bare = accepted(JOB, FRAME)
    job = msgspec.structs.replace(bare, source=msgspec.structs.replace(bare.source, claim=CLAIM))
    ends: dict[int, Event] = {STEPS + 2: finished(FRAME, JOB), STEPS + 3: deleted(FRAME, JOB)}
    return {0: job, 1: created(FRAME, JOB), **ends}


def _in_sql(event: Event) -> str:
    """The event's type, version and JSON, as an expression over `job`, `place` and `seq`."""
    row = codec.seal(event, seq=1, ts=NOON, cause=None, previous=b"")
    text = f"{row.type} {row.version} {row.data.decode()}"
    expression = "'" + text.replace("'", "''") + "'"
    own = {str(FRAME): "job", str(JOB): "job", str(STEP): "place - 1", CLAIM: "md5(job::VARCHAR)"}
    for number, value in own.items():
        expression = f"replace({expression}, '{number}', ({value})::VARCHAR)"
    # What differs from row to row in a real one: sizes and times.
    varied = {'"bytes":100': "hash(seq) % 9000 + 1000", '"ms":1.0': "hash(seq + 1) % 9000 / 1000.0"}
    for text, value in varied.items():
        name = text.partition(":")[0]
        expression = f"replace({expression}, '{text}', '{name}:' || ({value})::VARCHAR)"
    return expression


async def first_open(path: Path, count: int) -> None:
    """The tables are made here, once."""
    began = time.perf_counter()
    async with opened(path, State(), restoring) as log, anyio.create_task_group() as tasks:
        print(f"  tables made from {count:,} events at the first open: {time.perf_counter() - began:.1f} s")
        await tasks.start(tables.run, log)
        tasks.cancel_scope.cancel()  # a clean end, which puts down what the next start takes up


async def opens(path: Path, count: int) -> None:
    """As every start does after a clean end, beside DuckDB alone; and what it takes more after a crash."""
    took: dict[str, list[float]] = {"Safelight": [], "DuckDB": [], "gathered": []}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        async with opened(path, State(), restoring):
            took["Safelight"].append(time.perf_counter() - began)
        began = time.perf_counter()
        connection = duckdb.connect(path)
        database.last(connection)
        took["DuckDB"].append(time.perf_counter() - began)
        state = State()
        state.position = rebuilding.position(connection)
        began = time.perf_counter()
        restoring.gather(connection, state)
        took["gathered"].append(time.perf_counter() - began)
        connection.close()
    ours, floor, more = (statistics.median(times) * 1e3 for times in took.values())
    memory = psutil.Process().memory_info().rss / 2**20
    print(
        f"  open at {count:,} events: {ours:.0f} ms; DuckDB alone {floor:.0f} ms; {ours / floor:.1f} x; "
        f"after a crash {more:.0f} ms more; {memory:.0f} MiB resident",
        flush=True,
    )


def replay(path: Path, count: int) -> None:
    """The newest million, by today's types, beside the rows that they are made of."""
    connection = database.connect(path)
    after = max(0, count - REPLAYED)
    ways: dict[str, Way] = {"structs": codec.decode_each, "fetched": iter}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            rows = _read_through(connection, after, way)
            took[name].append((time.perf_counter() - began) / rows)
    connection.close()
    ours, floor = (1 / statistics.median(took[name]) for name in ways)
    print(f"  replay into structs: {ours:,.0f} events/s; fetched alone {floor:,.0f}; {ours / floor:.2f} x")


def _read_through(connection: duckdb.DuckDBPyConnection, after: int, way: Way) -> int:
    """A scan of one table has the order of insertion, as DuckDB promises; sorting it again would take a tenth
    of the time. That it was so is looked at."""
    found = connection.execute(f"SELECT seq, type, version, data FROM events WHERE seq > {after}")
    count = 0
    while some := found.fetchmany(database.BATCH):
        count += len(list(way(some)))
        assert (some[-1][0], some[0][0]) == (after + count, after + count - len(some) + 1)
    return count


async def rebuild(path: Path, count: int) -> None:
    """Beside a writer that appends all the time, and then held against the log once more."""
    async with opened(path, State(), restoring) as log:
        waits: list[float] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_write_on, log, waits)
            done = await rebuilding.rebuild(log)
            tasks.cancel_scope.cancel()
        began = time.perf_counter()
        drifts = await rebuilding.compare(log)
        compared = time.perf_counter() - began
        floor = await log.aside(_counted)
    memory = psutil.Process().memory_info().rss / 2**20
    print(
        f"  rebuild of {count:,} events in SQL with a live writer: {done.seconds:.1f} s, the writer waited "
        f"{done.swap_seconds * 1e3:.0f} ms for the swap; its {len(waits)} appends took "
        f"{statistics.median(waits) * 1e3:.1f} ms p50; DuckDB groups the same rows by type in {floor:.1f} s"
    )
    print(f"  {len(drifts)} rows drifted; compared in {compared:.1f} s; {memory:.0f} MiB resident")


async def _write_on(log: Log[State], waits: list[float]) -> None:
    job, frame = log.state.next_job, log.state.next_frame
    await log.decide(lambda _: [accepted(job, frame), created(frame, job)])
    for step in range(1, 10**6):
        began = time.perf_counter()
        await log.append(previewed(step, frame, job))
        waits.append(time.perf_counter() - began)
        await anyio.sleep(0.01)


def _counted(cursor: duckdb.DuckDBPyConnection) -> float:
    began = time.perf_counter()
    cursor.execute("SELECT type, count(*), sum(strlen(data)) FROM events GROUP BY type").fetchall()
    return time.perf_counter() - began
