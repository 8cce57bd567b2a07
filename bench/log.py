"""The log's writing side, beside a plain file, SQLite and the `eventsourcing` library, all in one run.

The floor is a plain file with one append and fdatasync per event; SQLite runs in WAL mode with
`synchronous=FULL`, which syncs each commit too. All of them get the same bytes.
"""

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import msgspec
from anyio import to_thread
from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from daemon.events import codec, database
from daemon.events.log import Log, opened
from daemon.events.types import PreviewWritten
from daemon.projections.state import State
from tests.stories import NOON, accepted, created, previewed

ROUNDS, A_ROUND = 12, 60
BURSTS = {100: 100, 1000: 20}
"""Events that each of so many producers appends."""

Append = Callable[[], object]


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        anyio.run(single, Path(folder))
    for producers in BURSTS:
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
            concurrent(Path(folder), producers)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        anyio.run(checkpoints, Path(folder))


async def single(folder: Path) -> None:
    """One durable append at a time, in turn."""
    with plain_file(folder) as plain, sqlite(folder) as lite, library(folder / "library.sqlite") as theirs:
        async with opened(folder / "history.duckdb", State()) as log:
            await log.decide(lambda _: [accepted(), created()])
            took = await interleaved(log, {"file": plain, "SQLite": lite, "eventsourcing": theirs})
    floor = statistics.median(took["file"])
    for name, times in took.items():
        middle, high = statistics.median(times), statistics.quantiles(times, n=100)[98]
        print(
            f"  single durable append, {name:13}: p50 {middle * 1e3:6.2f} ms, p99 {high * 1e3:6.2f} ms, "
            f"{middle / floor:4.1f} x the file's p50"
        )


def concurrent(folder: Path, producers: int) -> None:
    """Many producers at once, each waiting for its own event; against one commit for each event, and the
    same producers with the library."""
    each = BURSTS[producers]
    rates: dict[str, list[float]] = {"group": [], "one": [], "library": []}
    for number in range(3):
        path = folder / f"{number}.duckdb"
        rates["group"].append(anyio.run(burst, path, producers, each))
        rates["one"].append(one_by_one(folder / f"one-{number}.duckdb", 300))
        rates["library"].append(anyio.run(library_burst, folder / f"{number}.sqlite", producers))
    group, one, theirs = (statistics.median(rates[name]) for name in ("group", "one", "library"))
    print(
        f"  {producers} producers: {group:,.0f} events/s; one DuckDB commit for each: {one:,.0f}, "
        f"{group / one:.0f} x; eventsourcing: {theirs:,.0f}, {group / theirs:.0f} x"
    )


async def burst(path: Path, producers: int, each: int) -> float:
    """Events a second."""
    async with opened(path, State()) as log:
        await log.decide(lambda _: [accepted(1, 1, tuple(range(producers)))])
        for frame in range(1, producers + 1):
            await log.append(created(frame))

        async def produce(frame: int) -> None:
            for number in range(1, each + 1):
                await log.append(step(number, frame))

        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for frame in range(1, producers + 1):
                tasks.start_soon(produce, frame)
        return producers * each / (time.perf_counter() - began)


async def library_burst(path: Path, producers: int, count: int = 1000) -> float:
    """The same producers with `eventsourcing` on SQLite, in anyio's threads. Events a second."""
    with library(path) as append:
        began = time.perf_counter()
        lock = anyio.Lock()  # it numbers them one after the other, and so does the database's own lock

        async def produce() -> None:
            for _ in range(count // producers):
                async with lock:
                    await to_thread.run_sync(append)

        async with anyio.create_task_group() as tasks:
            for _ in range(producers):
                tasks.start_soon(produce)
        return count / (time.perf_counter() - began)


def one_by_one(path: Path, count: int) -> float:
    """The same rows, each in a DuckDB transaction of its own. Events a second."""
    database.create(path, "bench")
    connection = database.connect(path)
    head = codec.GENESIS
    began = time.perf_counter()
    for seq in range(1, count + 1):
        row = codec.seal(step(seq), seq=seq, ts=NOON, cause=None, previous=head)
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", database.values(row))
        head = row.hash
    rate = count / (time.perf_counter() - began)
    connection.close()
    return rate


async def checkpoints(folder: Path) -> None:
    """The longest that a producer waits while rows are sealed and the database checkpoints."""
    async with opened(folder / "history.duckdb", State()) as log:
        await log.decide(lambda _: [accepted(), created()])
        times: list[tuple[float, float]] = []
        sealed = folder / "history"
        number = 0
        while len(list(sealed.glob("*.parquet"))) < 5:
            number += 1
            began = time.perf_counter()
            await log.append(step(number))
            times.append((began, time.perf_counter() - began))
            if number % 20 == 0:
                await fill(log, number)
                number += 100
    took = sorted(each for _, each in times)
    print(
        f"  append while five seals and checkpoints happen: p50 {statistics.median(took) * 1e3:.2f} ms, "
        f"longest {took[-1] * 1e3:.1f} ms, over {len(took)} appends"
    )


async def fill(log: Log[State], number: int) -> None:
    """A hundred more at once, so that the log grows quickly enough."""
    await log.decide(lambda _: [step(number + more) for more in range(1, 101)])


async def interleaved(log: Log[State], others: dict[str, Append]) -> dict[str, list[float]]:
    """Seconds of each append, ours and those of others taking turns."""
    took: dict[str, list[float]] = {"Safelight": [], **{name: [] for name in others}}
    for round_ in range(ROUNDS):
        for number in range(A_ROUND):
            began = time.perf_counter()
            await log.append(step(round_ * A_ROUND + number + 1))
            took["Safelight"].append(time.perf_counter() - began)
        for name, append in others.items():
            for _ in range(A_ROUND):
                began = time.perf_counter()
                append()
                took[name].append(time.perf_counter() - began)
    return took


def step(number: int, frame: int = 1) -> PreviewWritten:
    """One preview, as most events are."""
    return previewed(number, frame)


def content() -> bytes:
    """What a preview's event is on disk."""
    return msgspec.json.encode(step(7))


@contextmanager
def plain_file(folder: Path) -> Iterator[Append]:
    """Append, fdatasync."""
    descriptor = os.open(folder / "plain", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    data = content() + b"\n"

    def append() -> None:
        os.write(descriptor, data)
        os.fdatasync(descriptor)

    yield append
    os.close(descriptor)


@contextmanager
def sqlite(folder: Path) -> Iterator[Append]:
    """One INSERT, one commit."""
    connection = sqlite3.connect(folder / "lite.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE events(seq INTEGER PRIMARY KEY, type TEXT, data TEXT)")
    data = content().decode()
    yield lambda: connection.execute("INSERT INTO events(type, data) VALUES ('PreviewWritten', ?)", (data,))
    connection.close()


@contextmanager
def library(path: Path) -> Iterator[Append]:
    """The recorder of `eventsourcing` on SQLite, one stored event to a call."""
    datastore = SQLiteDatastore(str(path))
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    data, originator = content(), uuid4()
    versions = iter(range(1, 10**6))

    def append() -> Any:
        event = StoredEvent(originator, next(versions), "PreviewWritten", data)
        return recorder.insert_events([event])

    yield append
    datastore.close()
