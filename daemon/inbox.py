"""Files dropped in a folder → jobs. A scan of the folder is the truth; watchfiles only wakes it.

Taking a file is: rename into `.claimed/`, commit, move to `done/` or `rejected/`. What a crash leaves in
`.claimed/` is finished at the next start under the same claim, so a drop is taken exactly once. What one
file does stays with that file: it waits, with the reason beside its name, and the others go on.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus

from daemon import stock, watch
from daemon.arrivals import Arrival, Arrivals, Outlook, Overview, Waiting, shown
from daemon.drops import Drop, claim_all, finish_all, left_claimed, prepare
from daemon.events.log import Log
from daemon.events.rounds import LogFailed
from daemon.events.types import Event
from daemon.projections import decisions
from daemon.projections.state import Key, State
from daemon.settings import Home
from daemon.sheets import Sheet

EVERY = 1.0
"""Seconds between scans when nothing wakes one."""
CAP = 10_000
"""Queued jobs at which claiming pauses: the rest waits better as files than in memory."""
_AT_ONCE = 256
"""Files to a commit."""
_SOON = 0.02
"""Seconds to the next scan after a file changed under our hands."""
_REST = 4
"""Times as long as a scan of many files took, nothing wakes the next: it may cost a fifth of a core."""
_MANY = 0.005
"""Seconds; a scan that took less needs no rest."""

logger = logging.getLogger(__name__)


class Inbox:
    """The watched folder. `run` is its task."""

    def __init__(self, home: Home, log: Log[State], model: str, cap: int = CAP) -> None:
        """`model` is the checkpoint of prompts that name none."""
        self.outlook = Outlook()
        """What the last scan left where it is."""
        self._home = home
        self._log = log
        self._model = model
        self._cap = cap
        self._arrivals = Arrivals(home.inbox, model, stock.lacking(home))
        self._unrecorded: list[Drop] = []
        """Claimed drops that the log could not take (a full disk): each scan tries again."""
        self._unfiled: list[Drop] = []
        """Recorded drops that could not leave `.claimed/`: each scan tries again."""
        self._trouble = ""
        """Why either is so, in the machine's words."""
        self._said: set[str] = set()
        self._wake = anyio.Event()
        self._scanned = anyio.Event()

    def __repr__(self) -> str:
        return f"<Inbox {self._home.inbox}, {len(self.outlook.waiting)} waiting>"

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Take files until cancelled; started once what an earlier run left claimed is dealt with."""
        left = await to_thread.run_sync(left_claimed, self._home, self._model)
        await self._log.recall([key for drop in left for key in needs(drop)])
        settled = [drop for drop in left if self._settled(drop)]
        await self._take([drop for drop in left if drop not in settled])
        await self._file_away(settled)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.run, self._home.inbox, self._rouse)
            task_status.started()
            while True:
                self._wake = anyio.Event()
                rest, pause = await self._scan()
                await anyio.sleep(rest)
                with anyio.move_on_after(pause):
                    await self._wake.wait()

    @property
    def idle(self) -> bool:
        """The last scan left nothing that is still to be taken."""
        return not self.outlook.waiting

    async def scanned(self) -> None:
        """Wait for a scan that begins after this call to end."""
        await self._scanned.wait()
        await self._scanned.wait()

    def _rouse(self) -> None:
        self._wake.set()

    def _settled(self, drop: Drop) -> bool:
        """The log knows what became of the whole drop."""
        job = self._log.state.job_of(drop.source.claim)
        return job is not None and (job > 0 or not isinstance(drop.verdict, Sheet))

    async def _scan(self) -> tuple[float, float]:
        """Take what is ready; answers the seconds to rest, and those to wait then if nothing wakes us."""
        await self._retry()
        begun = time.monotonic()
        try:
            overview = await to_thread.run_sync(self._arrivals.look_over, begun)
        except OSError as error:
            overview = Overview(waiting=[Waiting("inbox", f"cannot be read: {error.strerror}", trouble=True)])
            await to_thread.run_sync(self._mend, error)
        took = time.monotonic() - begun
        left = await self._take_ready(overview.ready)
        self._show(overview, left)
        changed = any(arrival.unread for arrival in overview.ready)
        pause = min(EVERY, overview.again or EVERY, _SOON if changed else EVERY)
        return (took * _REST if took > _MANY else 0.0), pause

    def _mend(self, error: OSError) -> None:
        """Make a folder again that was removed; anything else wrong with it is for a person to put right."""
        if isinstance(error, FileNotFoundError):
            logger.warning("%s was gone and is made again", self._home.inbox)
            with suppress(OSError):
                prepare(self._home)

    async def _take_ready(self, ready: Sequence[Arrival]) -> list[Waiting]:
        """Claim and record what the queue has room for; answers what had to be left, and why."""
        room = self._cap - decisions.queued(self._log.state) if ready else 0
        taken = _within(ready, room)
        full = f"the queue is full: {self._cap} jobs wait"
        left = [Waiting(shown(arrival.name), full) for arrival in ready[taken:]]
        for at in range(0, taken, _AT_ONCE):
            if self._unrecorded:  # no more of them while the log cannot take these
                left += [Waiting(shown(arrival.name), self._trouble, True) for arrival in ready[at:taken]]
                break
            batch = ready[at : min(at + _AT_ONCE, taken)]
            drops, refused = await to_thread.run_sync(claim_all, batch, self._home, self._model)
            left += refused
            # Not while the next ones are claimed: two threads of many small calls hand the interpreter to and
            # fro at each of them, which costs more than the waits that the one could use for the other.
            await self._take(drops)
        return left

    async def _take(self, drops: Sequence[Drop]) -> None:
        """Record every drop's fate (one commit serves them all), then file them away."""
        if not drops:
            return  # most scans find nothing, and the log's writer has better to do
        outcomes = await self._log.decide_each((decision(drop), needs(drop)) for drop in drops)
        recorded = []
        for drop, outcome in zip(drops, outcomes, strict=True):
            if isinstance(outcome, LogFailed):
                self._trouble = str(outcome)
                self._unrecorded.append(drop)
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                recorded.append(drop)
        await self._file_away(recorded)

    async def _file_away(self, drops: Sequence[Drop]) -> None:
        if drops:
            unfiled, trouble = await to_thread.run_sync(finish_all, drops, self._home)
            self._unfiled += unfiled
            self._trouble = trouble or self._trouble

    async def _retry(self) -> None:
        """Try again what the machine would not do at an earlier scan."""
        unrecorded, self._unrecorded = self._unrecorded, []
        unfiled, self._unfiled = self._unfiled, []
        await self._take(unrecorded)
        await self._file_away(unfiled)

    def _show(self, overview: Overview, left: Sequence[Waiting]) -> None:
        """Publish what still waits and why. What the machine will not do is said once in the log, too."""
        stuck = [
            Waiting(drop.source.name, self._trouble, trouble=True)
            for drop in [*self._unrecorded, *self._unfiled]
        ]
        self.outlook = Outlook(waiting=[*overview.waiting, *left, *stuck], ignored=overview.ignored)
        troubles = {each.why: each.name for each in reversed(self.outlook.waiting) if each.trouble}
        for why in troubles.keys() - self._said:
            logger.warning("%s waits and is tried again: %s", troubles[why], why)
        self._said = set(troubles)
        self._scanned.set()
        self._scanned = anyio.Event()


def needs(drop: Drop) -> list[Key]:
    """What the decision on a drop looks at."""
    verdict = drop.verdict
    # Without a key, the same claim is the same content: no drop of several jobs can have had that of one.
    if not isinstance(verdict, Sheet) or (verdict.key is None and len(verdict.prompts) == 1):
        return [("claims", drop.source.claim)]
    return decisions.claim_keys(drop.source.claim, len(verdict.prompts))


def decision(drop: Drop) -> Callable[[State], Sequence[Event]]:
    """What is to be recorded of a drop."""
    if not isinstance(drop.verdict, Sheet):
        return partial(decisions.reject, faults=drop.verdict, source=drop.source)
    prompts = drop.verdict.prompts
    seeds = [random.getrandbits(32) for _ in prompts]
    return partial(decisions.accept, prompts=prompts, source=drop.source, drawn_seeds=seeds)


def _within(ready: Sequence[Arrival], room: int) -> int:
    """How many of the first ones the queue has room for; what is rejected needs none."""
    for number, arrival in enumerate(ready):
        if arrival.jobs and room <= 0:
            return number
        room -= arrival.jobs
    return len(ready)
