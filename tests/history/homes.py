"""Homes with a real history for tests that ask it: jobs, pictures on disk, segments and a tail."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from msgspec.structs import replace

from daemon.address import Address, announced
from daemon.events.log import Log
from daemon.events.store import Store
from daemon.events.types import Event
from daemon.history import alone
from daemon.projections import tables
from daemon.projections.state import State
from daemon.settings import Home
from tests.events.histories import on_disk, put_back
from tests.serving import site
from tests.stories import accepted, created, deleted, finished, previewed


def picture(home: Home, number: int) -> list[Event]:
    """One job of one picture, from its prompt to its end; the file lies on disk as the event says."""
    content = b"picture %d " % number * (40 + number)
    digest = hashlib.sha256(content).hexdigest()
    done = replace(finished(number, number), bytes=len(content), sha256=digest)
    home.frames.mkdir(parents=True, exist_ok=True)
    (home.root / done.path).write_bytes(content)
    steps = [previewed(step, number, number) for step in (1, 2, 4)]
    return [accepted(number, number), created(number, number), *steps, done, deleted(number, number)]


EACH = 7
"""Events of one `picture`."""


def made(root: Path, pictures: Sequence[int] = range(1, 9), *, seals: int = 2) -> Home:
    """A home whose daemon was killed: `seals` segments, and after them a tail of two pictures, or of all."""
    home = Home(root)
    home.frames.mkdir(parents=True)
    Store(home.history).close()
    sealed, loose = (list(pictures)[:-2], list(pictures)[-2:]) if seals else ([], list(pictures))
    for at in range(seals):
        some = sealed[at * len(sealed) // seals : (at + 1) * len(sealed) // seals]
        record(home, [event for number in some for event in picture(home, number)])
        seal(home)
    record(home, [event for number in loose for event in picture(home, number)], killed=True)
    return home


def record(home: Home, events: Sequence[Event], *, killed: bool = False) -> None:
    """Have the events in the log and the tables, as a daemon would; a killed one does not seal them."""

    async def decide() -> None:
        async with alone.log_of(home) as log:
            await log.decide(lambda _: events)
            await tables.flush(log)
            kept = on_disk(home.history) if killed else None
        if kept is not None:
            put_back(home.history, kept)

    anyio.run(decide)


def seal(home: Home) -> None:
    """Have all events so far in segments."""
    store = Store(home.history)
    cursor = store.cursor()
    store.seal(cursor, store.last()[0])
    cursor.close()
    store.checkpoint()
    store.close()


@asynccontextmanager
async def served(home: Home) -> AsyncIterator[Log[State]]:
    """The home's daemon, as far as commands can tell: its routes on a real port, its address in the home."""
    async with site(home.root) as running, anyio.create_task_group() as tasks:
        await tasks.start(partial(tables.run, running.log))
        address = Address(url=running.url, token=None, pid=1, epoch=running.log.epoch)
        with announced(home, address):
            yield running.log
        tasks.cancel_scope.cancel()
