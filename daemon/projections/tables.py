"""The derived tables, brought up to the log about twice a second.

Rows and the position that they stand for go in with one transaction, so table and position never
disagree. Anything here can be dropped and made again from the log (`rebuilding`), and a daemon that starts
reads what is still open from here (`restoring`).
"""

import logging
from functools import partial

import anyio
import duckdb
import msgspec
from anyio.abc import TaskStatus

from daemon.events.log import Log
from daemon.projections import claims, frames, jobs, kept, rows, throughput
from daemon.projections.claims import Claim
from daemon.projections.frames import Frame
from daemon.projections.jobs import Job
from daemon.projections.state import Changes, State
from daemon.projections.throughput import Pace, Timing

EVERY = 0.5
"""Seconds between flushes. Upserting in every commit would cost four to five times the throughput."""
VERSION = 5
"""Of the tables' columns; tables of another version are dropped and made again."""

logger = logging.getLogger(__name__)


class Projection(msgspec.Struct, frozen=True):
    """A table: its row, and the SQL that makes all of its rows from the events in `scope`."""

    row: type[msgspec.Struct]
    sql: str


TABLES: dict[str, Projection] = {
    "frames": Projection(Frame, frames.SQL),
    "jobs": Projection(Job, jobs.SQL),
    "claims": Projection(Claim, claims.SQL),
    "timings": Projection(Timing, throughput.SQL),
    "paces": Projection(Pace, throughput.PACES.format(timings="fresh_timings")),
}
"""In the order of a rebuild: a projection may read `fresh_…` of those before it."""
VIEWS = {"throughput": throughput.VIEW}


async def run(log: Log[State], *, task_status: TaskStatus[None]) -> None:
    """Keep the tables up with the log; started once they are.

    When cancelled, flushes once more, and puts down what memory holds for the next start.
    """
    position = await flush(log)
    task_status.started()
    try:
        while True:
            await log.changed(after=position)
            await anyio.sleep(EVERY)
            position = await flush(log)
    finally:
        with anyio.CancelScope(shield=True):
            await flush(log)
            await _keep(log)


async def _keep(log: Log[State]) -> None:
    if log.state.flushed:
        try:
            await log.transaction(partial(kept.keep, VERSION, log.state.position, kept.content(log.state)))
        except duckdb.Error as error:
            logger.warning("what memory holds was not put down, the next start takes longer: %s", error)


async def flush(log: Log[State]) -> int:
    """Write the rows that changed since the last flush; answers a position that was tried.

    The tables are derived: what keeps them from being written (a full disk) never ends the daemon.
    """
    position = log.state.position
    with anyio.CancelScope(shield=True):
        async with log.flushing:
            await flush_held(log)
    return position


async def flush_held(log: Log[State]) -> None:
    """As `flush`, for whoever holds `log.flushing`."""
    # Cancelled half way, the rows would be counted as written and be missing for good.
    with anyio.CancelScope(shield=True):
        await _flush(log)


async def _flush(log: Log[State]) -> None:
    changes = log.state.take_changes()
    position = log.state.position
    try:
        await log.transaction(partial(_write, changes, position))
    except duckdb.Error as error:
        log.state.give_back(changes)
        logger.warning("the tables are behind the log, the next flush tries again: %s", error)
    else:
        async with log.recalling:
            log.state.settle()


def _write(changes: Changes, position: int, connection: duckdb.DuckDBPyConnection) -> None:
    for table, changed in changes.items():
        if changed:
            # The Appender's upsert keeps the first of two rows with one key; there is one per key.
            with connection.appender(table, action="upsert") as appender:
                appender.append_rows(map(rows.values, changed))
    connection.execute("UPDATE projections SET seq = ?", (position,))
