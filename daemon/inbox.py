"""Files dropped in a folder → jobs. A scan of the folder is the truth; watchfiles only wakes it.

Taking a file is: rename into `.claimed/`, commit, move to `done/` or `rejected/`. What a crash leaves in
`.claimed/` is finished at the next start under the same claim, so a drop is taken exactly once.
"""

import logging
import secrets
from contextlib import suppress
from functools import partial

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus
from watchfiles import awatch

from daemon.drops import Drop, claim_ready, claimed, finish, left_claimed
from daemon.events.log import Log, LogFailed
from daemon.projections import decisions
from daemon.projections.state import State
from daemon.prompts import Prompt
from daemon.settings import Home

EVERY = 1.0
"""Seconds between scans when nothing wakes one."""
_AT_ONCE = 256
"""Files to a commit."""
_WATCH_STEP_MS = 10

logger = logging.getLogger(__name__)


class Inbox:
    """The watched folder. `run` is its task."""

    def __init__(self, home: Home, log: Log[State], model: str) -> None:
        """`model` is the checkpoint of prompts that name none."""
        self.waiting = 0
        """Files that the last scan saw and left where they are."""
        self._home = home
        self._log = log
        self._model = model
        self._unrecorded: list[Drop] = []
        """Claimed drops that the log could not take (a full disk): each scan tries again."""
        self._wake = anyio.Event()
        self._scanned = anyio.Event()

    def __repr__(self) -> str:
        return f"<Inbox {self._home.inbox}, {self.waiting} waiting>"

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Take files until cancelled; started once what an earlier run left claimed is dealt with."""
        left = await to_thread.run_sync(left_claimed, self._home, self._model)
        await self._log.recall([("claims", drop.source.claim) for drop in left])
        known = self._log.state.claims.keys() & {drop.source.claim for drop in left}
        await self._take([drop for drop in left if drop.source.claim not in known])
        await self._file_away([drop for drop in left if drop.source.claim in known])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            task_status.started()
            while True:
                self._wake = anyio.Event()
                await self._scan()
                with anyio.move_on_after(EVERY):
                    await self._wake.wait()

    @property
    def idle(self) -> bool:
        """The last scan left nothing that is still to be taken."""
        return self.waiting == 0 and not self._unrecorded

    async def scanned(self) -> None:
        """Wait for a scan that begins after this call to end."""
        await self._scanned.wait()
        await self._scanned.wait()

    async def _scan(self) -> None:
        unrecorded, self._unrecorded = self._unrecorded, []
        await self._take(unrecorded)
        more = True
        while more:
            try:
                drops, self.waiting = await to_thread.run_sync(claim_ready, self._home, self._model, _AT_ONCE)
            except OSError as error:
                await to_thread.run_sync(self._mend, error)
                break
            await self._take(drops)
            more = len(drops) == _AT_ONCE
        self._scanned.set()
        self._scanned = anyio.Event()

    def _mend(self, error: OSError) -> None:
        """Make a folder again that was removed; anything else wrong with it is for a person to put right."""
        logger.warning("the inbox cannot be read, it is tried again: %s", error)
        if isinstance(error, FileNotFoundError):
            with suppress(OSError):
                claimed(self._home).mkdir(parents=True, exist_ok=True)

    async def _take(self, drops: list[Drop]) -> None:
        """Record every drop's fate (one commit serves them all), then file them away."""
        async with anyio.create_task_group() as tasks:
            for drop in drops:
                tasks.start_soon(self._record, drop)
        await self._file_away([drop for drop in drops if drop not in self._unrecorded])

    async def _record(self, drop: Drop) -> None:
        try:
            await self._decide(drop)
        except LogFailed as failure:
            logger.warning("%s waits, claimed, and is tried again: %s", drop.source.name, failure)
            self._unrecorded.append(drop)

    async def _decide(self, drop: Drop) -> None:
        needs = [("claims", drop.source.claim)]
        if isinstance(drop.verdict, Prompt):
            seed = secrets.randbelow(2**32)
            decision = partial(decisions.accept, prompt=drop.verdict, source=drop.source, drawn_seed=seed)
            await self._log.decide(decision, needs=needs)
        else:
            decision = partial(decisions.reject, faults=drop.verdict, source=drop.source)
            await self._log.decide(decision, needs=needs)

    async def _file_away(self, drops: list[Drop]) -> None:
        for drop in drops:
            try:
                await to_thread.run_sync(finish, drop, self._home)
            except OSError as error:
                logger.warning("%s stays claimed until the next start: %s", drop.source.name, error)

    async def _watch(self) -> None:
        """Wake the scan when the folder changes. Without it the scan goes on, once a second."""
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_set_when_cancelled, stop)
            while True:
                try:
                    changes = awatch(
                        self._home.inbox,
                        recursive=False,
                        step=_WATCH_STEP_MS,
                        stop_event=stop,
                        watch_filter=None,
                    )
                    async for _ in changes:
                        self._wake.set()
                except Exception as error:  # noqa: BLE001  # whatever ends the watcher, the scan goes on
                    logger.warning("watching the inbox failed, it is looked at once a second: %s", error)
                await anyio.sleep(EVERY)


async def _set_when_cancelled(stop: anyio.Event) -> None:
    # awatch sits in a thread and notices its own cancellation late, but this event at once.
    try:
        await anyio.sleep_forever()
    finally:
        stop.set()
