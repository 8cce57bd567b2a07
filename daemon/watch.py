"""A folder's changes, by watchfiles, as long as it can be had. Whoever listens must scan all the same.

Watchers lose events on overflow in silence, go deaf when their folder is removed and made again, and end
at a name that is no UTF-8. Here they are made again, and each loss is said once.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
from watchfiles import Change, awatch

from daemon import mounts

EVERY = 1.0
"""Seconds between looks at whether the folder is still the watched one, and between tries to watch it."""
STEP_MS = 5
"""How often watchfiles gathers changes. A file is seen after one to two steps; 5 ms cost 0.8 % of a core."""
_GATHER_MS = 20
"""The longest that a stream of changes is gathered before we hear of it."""

logger = logging.getLogger(__name__)


async def run(folder: Path, changed: Callable[[], None]) -> None:
    """Call `changed` whenever something came or changed in the folder, until cancelled.

    Returns at once, said in the log, where the folder's file system cannot be watched.
    """
    if kind := mounts.unwatchable(folder):
        logger.info("%s lies on %s, which cannot be watched: it is looked at once a second", folder, kind)
        return
    said = ""
    while True:
        try:
            await _watch(folder, changed)
        except Exception as error:  # noqa: BLE001  # whatever ends the watcher, the scan goes on
            reason = "; ".join(dict.fromkeys(f"{type(leaf).__name__}: {leaf}" for leaf in _leaves(error)))
            if reason != said:
                logger.warning("watching %s failed, it is looked at once a second: %s", folder, reason)
            said = reason
        changed()
        await anyio.sleep(EVERY)


async def _watch(folder: Path, changed: Callable[[], None]) -> None:
    """Watch until the folder is another one. Raises what watchfiles raises."""
    # awatch sits in a thread and notices its own cancellation late, but this event at once.
    stop = anyio.Event()
    with _held(folder) as watched:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_set_when_replaced, folder, watched, stop)
            changes = awatch(
                folder,
                recursive=False,
                debounce=_GATHER_MS,
                step=STEP_MS,
                stop_event=stop,
                watch_filter=lambda change, _: change is not Change.deleted,
            )
            async for _ in changes:
                changed()
            tasks.cancel_scope.cancel()


@contextmanager
def _held(folder: Path) -> Iterator[os.stat_result]:
    """The folder as it is now, kept open, so that no later folder can get its number."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield os.fstat(descriptor)
    finally:
        os.close(descriptor)


async def _set_when_replaced(folder: Path, watched: os.stat_result, stop: anyio.Event) -> None:
    """Set `stop` once the folder is no longer the watched one, or when cancelled."""
    try:
        while _is_still(folder, watched):
            await anyio.sleep(EVERY)
        logger.warning("%s was removed or replaced, it is watched anew", folder)
    finally:
        stop.set()


def _is_still(folder: Path, watched: os.stat_result) -> bool:
    try:
        return os.path.samestat(folder.stat(), watched)
    except OSError:
        return False


def _leaves(error: Exception) -> Iterator[Exception]:
    """The errors themselves, out of the groups that task groups wrap them in."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
