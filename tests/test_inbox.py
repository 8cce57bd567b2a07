"""The inbox on a real log: every drop is taken exactly once, whatever happens to the folder or to us."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from daemon.drops import claim_ready, claimed
from daemon.events.log import Log, opened
from daemon.inbox import Inbox
from daemon.projections import restoring
from daemon.projections.state import State
from daemon.settings import DEMO, Home

pytestmark = pytest.mark.anyio
GOOD = '{"prompt": "a fox"}'


@pytest.fixture
def house(tmp_path: Path) -> Home:
    """A home with the folders of drops, and no model."""
    home = Home(tmp_path)
    for folder in (claimed(home), home.done, home.rejected):
        folder.mkdir(parents=True)
    return home


@asynccontextmanager
async def watching(home: Home) -> AsyncIterator[Log[State]]:
    """A log with an inbox that feeds it."""
    async with opened(home.history, State(), restoring) as log, anyio.create_task_group() as tasks:
        await tasks.start(Inbox(home, log, DEMO).run)
        with anyio.fail_after(60):
            yield log
        tasks.cancel_scope.cancel()


async def types(log: Log[State]) -> list[str]:
    """The types of all events so far."""
    return [type(recorded.event).__name__ for recorded in await log.read(0)]


async def test_many_files_at_once_are_each_accepted_once(house: Home) -> None:
    """More than one commit's worth."""
    for number in range(300):
        (house.inbox / f"{number}.json").write_text(GOOD)
    async with watching(house) as log:
        await log.changed(299)
        assert await types(log) == ["JobAccepted"] * 300
    assert not list(house.inbox.glob("*.json"))


async def test_the_same_drop_again_is_a_duplicate(house: Home) -> None:
    """Same name, content and time of writing."""
    kept = house.root / "kept.json"
    kept.write_text(GOOD)
    async with watching(house) as log:
        for seen in range(2):
            shutil.copy2(kept, house.inbox / ".a.tmp")
            (house.inbox / ".a.tmp").rename(house.inbox / "a.json")
            await log.changed(seen)
        assert await types(log) == ["JobAccepted", "JobDuplicate"]


async def test_an_inbox_removed_while_running_is_made_again(house: Home) -> None:
    """It goes on by itself."""
    async with watching(house) as log:
        shutil.rmtree(house.inbox)
        while not house.inbox.exists():
            await anyio.lowlevel.checkpoint()
        (house.inbox / "a.json").write_text(GOOD)
        await log.changed(0)
        assert await types(log) == ["JobAccepted"]


@pytest.mark.parametrize("committed", [False, True])
async def test_a_claim_that_a_crash_left_is_finished_once(house: Home, committed: bool) -> None:
    """Whether or not the log knew of it."""
    (house.inbox / "a.json").write_text(GOOD)
    ((drop,), _) = claim_ready(house, DEMO, 1)
    if committed:
        async with opened(house.history, State(), restoring) as log:
            await Inbox(house, log, DEMO)._record(drop)
    async with watching(house) as log:
        assert await types(log) == ["JobAccepted"]
    assert (house.done / "a.json").exists()
    assert not list(claimed(house).iterdir())
