"""The history opened by a command itself, where no daemon runs on the home."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
from anyio import to_thread

from daemon.events import segments
from daemon.events.log import Log, opened
from daemon.events.opening import HomeInUse
from daemon.history import redacting
from daemon.projections import restoring, tables
from daemon.projections.state import State
from daemon.settings import Home

PATIENCE = 5.0
"""Seconds to wait for another command that has the history: each holds it for a moment only."""


class NoHistory(Exception):
    """There is nothing in the home that could be asked."""


def check(home: Home) -> None:
    """Raise `NoHistory` unless the home has one: asking must not make one."""
    if not home.history.exists() and not segments.found(home.segments):
        raise NoHistory(f"there is no history in {home.root}; is it the right --home?")


@asynccontextmanager
async def log_of(home: Home) -> AsyncIterator[Log[State]]:
    """The log with its tables kept up, for this process alone, as the daemon would have it.

    Raises `NoHistory`, `HomeInUse` if another process has it and keeps it, and as `log.opened` does.
    """
    check(home)
    async with AsyncExitStack() as stack:
        log = await _claimed(home, stack)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        await tasks.start(tables.run, log)
        yield log
        tasks.cancel_scope.cancel()


async def _claimed(home: Home, stack: AsyncExitStack) -> Log[State]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            await to_thread.run_sync(redacting.finish, home)
            return await stack.enter_async_context(opened(home.history, State(), restoring))
        except HomeInUse:
            if time.monotonic() > deadline:
                raise
        await anyio.sleep(0.1)
