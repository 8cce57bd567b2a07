"""kill -9 of the log's writer, again and again: `python -m tests.kills`.

A process of its own writes legal histories through the real log, tables and all, and tells each event that
it was given back: number and hash. It is killed at any moment, its start included. Every told event must be
in the log under its number, numbers have no gap, the chain is whole, and the tables are what a rebuild makes.

Lives differ: in some nothing is sealed, in some it seals and checkpoints all the time, so that the kill
strikes there. `pytest -m torture` runs 200 kills of each.
"""

import argparse
import logging
import os
import random
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from daemon.events import codec, journal, opening, segments, store
from daemon.events.log import Log, opened
from daemon.events.types import Event, JobAccepted
from daemon.files import TEMPORARY
from daemon.history.audit import audit
from daemon.projections import decisions, rebuilding, restoring, tables
from daemon.projections.frames import BEING_MADE
from daemon.projections.state import State
from daemon.settings import Home
from tests.stories import accepted, created, deleted, finished, previewed

SEALING = {"never": 2**50, "always": 2**12}
"""Bytes of write-ahead log at which a life seals and checkpoints."""
PRODUCERS = 24
LIFE = (0.0, 0.4)
"""Seconds from a life's first event to its end, at least and at most; of one in five, from its start."""
PATIENCE = 120.0
"""Seconds that a start may take."""
EVERY = 20
"""Kills between two looks at everything."""

_Told = struct.Struct("<q8s")
Acknowledged = dict[int, bytes]
"""The first bytes of an event's hash, by its number."""


def kill(home: Home, *, kills: int, sealing: str, seed: int) -> list[str]:
    """Kill a writer `kills` times; answers what is wrong, in words."""
    dice = random.Random(seed)
    told: Acknowledged = {}
    struck = 0
    for life in range(1, kills + 1):
        told |= _life(home, sealing, dice.uniform(*LIFE), from_its_start=dice.random() < 0.2)
        struck += _sealing(home)
        if life % EVERY == 0 or life == kills:
            faults = _in_child(partial(_look, home, told))
            print(
                f"sealing {sealing}: {life} kills, {struck} of them while it sealed or checkpointed, "
                f"{len(told)} events acknowledged",
                flush=True,
            )
            if faults:
                return [f"after kill {life}: {fault}" for fault in faults]
    return []


def _sealing(home: Home) -> bool:
    """Whether the kill struck between a seal's first byte and the end of its checkpoint."""
    kept = journal.read(opening.journal_of(home.history))
    sealed = segments.sealed_to(segments.found(home.segments))
    half = any(home.segments.glob(TEMPORARY.format("*")))
    return half or (kept is not None and sealed > kept.base.seq)


def _life(home: Home, sealing: str, seconds: float, *, from_its_start: bool) -> Acknowledged:
    """One process, from its start to its kill; what it told."""
    reader, writer = os.pipe()
    pid = _forked(partial(_write, home, sealing, writer))
    os.close(writer)
    content = b"" if from_its_start else _read(reader, until=time.monotonic() + PATIENCE, least=1)
    content += _read(reader, until=time.monotonic() + seconds)
    os.kill(pid, signal.SIGKILL)
    content += _read(reader, until=time.monotonic() + PATIENCE)
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError("the writer failed by itself")
    return dict(_Told.iter_unpack(content[: len(content) - len(content) % _Told.size]))


def _read(pipe: int, *, until: float, least: int = 2**62) -> bytes:
    """What comes through the pipe up to a time, to its end, or to so many bytes."""
    content = bytearray()
    while len(content) < least and select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
        piece = os.read(pipe, 2**16)
        if not piece:
            break
        content += piece
        if time.monotonic() > until:
            break
    return bytes(content)


def _write(home: Home, sealing: str, pipe: int) -> None:
    store.SEAL_AT = SEALING[sealing]
    anyio.run(_write_on, home, pipe)


async def _write_on(home: Home, pipe: int) -> None:
    async with opened(home.history, State(), restoring) as log, anyio.create_task_group() as tasks:
        await tasks.start(tables.run, log)
        await _take_up(log, pipe)
        for _ in range(PRODUCERS):
            tasks.start_soon(_produce, log, pipe)


async def _take_up(log: Log[State], pipe: int) -> None:
    """End what the last life left in the middle."""
    for number in list(log.state.open):
        frame = log.state.frames[number]
        if frame.status in BEING_MADE:
            _tell(pipe, await log.decide(partial(_interrupted, frame=number)))
        if log.state.frames[number].status == "queued":
            _tell(pipe, await log.decide(partial(decisions.cancel, frame=number, by="the next life", step=0)))
        _tell(pipe, await log.decide(partial(decisions.preview_deleted, frame=number)))


def _interrupted(state: State, frame: int) -> Any:
    return decisions.interrupt(state, frame, "daemon_died", "killed")


async def _produce(log: Log[State], pipe: int) -> None:
    """Job after job, each of one picture."""
    while True:
        (begun,) = await log.decide(lambda state: [accepted(state.next_job, state.next_frame)])
        _tell(pipe, [begun])
        assert isinstance(begun.event, JobAccepted)
        job, frame = begun.event.job, begun.event.first_frame
        steps = [previewed(step, frame, job) for step in (1, 2, 3, 4)]
        story: list[Event] = [created(frame, job), *steps, finished(frame, job), deleted(frame, job)]
        for event in story:
            _tell(pipe, [await log.append(event, cause=begun.seq)])


def _tell(pipe: int, some: Iterable[Any]) -> None:
    """Only now has the caller its answer."""
    os.write(pipe, b"".join(_Told.pack(one.seq, one.hash[:8]) for one in some))


def _look(home: Home, told: Acknowledged) -> list[str]:
    """Everything, as the next start finds it."""
    return [
        *anyio.run(_drifts, home),
        *_lost(home, told),
        *(f"{one.place}: {one.what}" for one in _found(home)),
    ]


async def _drifts(home: Home) -> list[str]:
    """Opened as a daemon opens it: are the tables what a rebuild makes?"""
    async with opened(home.history, State(), restoring) as log, anyio.create_task_group() as tasks:
        await tasks.start(tables.run, log)
        found = await rebuilding.compare(log)
        tasks.cancel_scope.cancel()
    return [f"drift: {one}" for one in found]


def _lost(home: Home, told: Acknowledged) -> Iterator[str]:
    held = store.Store(home.history)
    rows, last = held.read(0, 10**9), 0
    held.close()
    if (wrong := codec.unchained(rows)) is not None:
        yield f"event {wrong} does not follow from the one before"
    for row in rows:
        if row.seq != last + 1:
            yield f"a gap before event {row.seq}"
        if told.get(row.seq, row.hash[:8]) != row.hash[:8]:
            yield f"event {row.seq} is not the one that was acknowledged"
        last = row.seq
    if told and max(told) > last:
        yield f"lost: {max(told) - last} acknowledged events after {last}"


def _found(home: Home) -> list[Any]:
    """What `safelight verify` says; the pictures of these stories were never drawn."""
    findings = audit(home, lambda items, total, what: items).findings
    return [one for one in findings if not one.place.startswith("frames/")]


def _forked(work: Callable[[], object]) -> int:
    """The id of a child that does this and nothing else. This process has one thread, so it may fork."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:  # noqa: BLE001  # whatever it is, a child must not go on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _in_child(work: Callable[[], list[str]]) -> list[str]:
    """The lines that a child answers: DuckDB's threads must not be in a process that forks."""
    with tempfile.TemporaryFile("w+") as file:

        def tell() -> None:
            file.write("\n".join(work()))
            file.flush()

        pid = _forked(tell)
        if os.waitpid(pid, 0)[1]:
            return ["the history could not be looked at"]
        file.seek(0)
        return file.read().splitlines()


def main() -> None:
    """Exit non-zero, naming what is wrong, if anything is."""
    parser = argparse.ArgumentParser(description="kill -9 the log's writer")
    parser.add_argument("--kills", type=int, default=200, help="of each kind of life")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    asked = parser.parse_args()
    print(f"{asked.kills} kills of each kind, seed {asked.seed}", flush=True)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        logging.basicConfig(filename=Path(folder) / "kills.log", level=logging.WARNING)
        for sealing in SEALING:
            home = Home(Path(folder) / sealing)
            home.frames.mkdir(parents=True)
            faults += kill(home, kills=asked.kills, sealing=sealing, seed=asked.seed)
            print(f"sealing {sealing}: {len(list(home.segments.glob('0*.parquet')))} segments", flush=True)
    print("\n".join(faults) or "no acknowledged event lost, no gap, no drift")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
