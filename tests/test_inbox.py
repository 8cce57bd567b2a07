"""The inbox on a real log: every drop is taken exactly once, whatever happens to the folder or to us."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from daemon import arrivals
from daemon.drops import claimed
from daemon.events.log import Log, opened
from daemon.events.types import JobAccepted, JobDuplicate
from daemon.inbox import CAP, Inbox, decision, needs
from daemon.projections import restoring
from daemon.projections.state import State
from daemon.settings import DEMO, Home
from tests.houses import House, writing
from tests.serving import PATIENCE

pytestmark = pytest.mark.anyio
GOOD = '{"prompt": "a fox"}'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with the folders of drops, and no model."""
    return House(tmp_path).home


class Running:
    """An inbox that feeds a log."""

    def __init__(self, inbox: Inbox, log: Log[State]) -> None:
        """Both of them real."""
        self.inbox = inbox
        self.log = log

    async def types(self) -> list[str]:
        """The types of all events so far."""
        return [type(recorded.event).__name__ for recorded in await self.log.read(0)]

    async def until_idle(self) -> None:
        """Wait until nothing is left to take."""
        await self.inbox.scanned()
        while not self.inbox.idle:
            await self.inbox.scanned()


@asynccontextmanager
async def watching(home: Home, cap: int = CAP) -> AsyncIterator[Running]:
    """A log with an inbox that feeds it."""
    async with opened(home.history, State(), restoring) as log, anyio.create_task_group() as tasks:
        inbox = Inbox(home, log, DEMO, cap)
        await tasks.start(inbox.run)
        with anyio.fail_after(PATIENCE):
            yield Running(inbox, log)
        tasks.cancel_scope.cancel()


async def test_many_files_at_once_are_each_accepted_once(home: Home) -> None:
    """More than one commit's worth."""
    for number in range(300):
        (home.inbox / f"{number}.json").write_text(GOOD)
    async with watching(home) as running:
        await running.log.changed(299)
        assert await running.types() == ["JobAccepted"] * 300
    assert not list(home.inbox.glob("*.json"))


async def test_the_same_drop_again_is_a_duplicate(home: Home) -> None:
    """Same name, content and time of writing; the first of its jobs is named."""
    kept = home.root / "kept.json"
    kept.write_text('{"jobs": [{"prompt": "a fox"}, {"prompt": "a wolf"}]}')
    async with watching(home) as running:
        for seen in (0, 2):
            shutil.copy2(kept, home.inbox / ".a.tmp")
            (home.inbox / ".a.tmp").rename(home.inbox / "a.json")
            await running.log.changed(seen)
        assert await running.types() == ["JobAccepted", "JobAccepted", "JobDuplicate"]
        duplicate = (await running.log.read(2))[0].event
        assert isinstance(duplicate, JobDuplicate)
        assert duplicate.job == 1


async def test_the_order_is_priority_then_arrival_then_name(home: Home) -> None:
    """Over all files that wait, not only those of one commit."""
    for number in range(300):
        (home.inbox / f"{number:03}.json").write_text(GOOD)
    (home.inbox / "late.json").write_text('{"prompt": "a fox", "priority": 5}')
    (home.inbox / "batch.jsonl").write_text(f'{GOOD}\n{{"prompt": "a fox", "priority": 6}}\n')
    async with watching(home) as running:
        await running.until_idle()
        names = await _sources(running.log)
    # The lines had to be quiet first.
    assert names == [
        "late.json",
        *(f"{number:03}.json" for number in range(300)),
        "batch.jsonl",
        "batch.jsonl",
    ]


async def _sources(log: Log[State]) -> list[str]:
    events = [recorded.event for recorded in await log.read(0)]
    return [event.source.name for event in events if isinstance(event, JobAccepted)]


async def test_claiming_pauses_at_the_cap_and_the_most_urgent_goes_first_then(home: Home) -> None:
    """What waits stays in the inbox, with the reason, and what is broken is rejected all the same."""
    for priority in (0, 3, 9, 6):
        (home.inbox / f"{priority}.json").write_text(f'{{"prompt": "a fox", "priority": {priority}}}')
    (home.inbox / "broken.json").write_text("{")
    async with watching(home, cap=2) as running:
        while len(running.inbox.outlook.waiting) != 2 or not (home.rejected / "broken.json").exists():
            await running.inbox.scanned()
        assert {(each.name, each.why) for each in running.inbox.outlook.waiting} == {
            ("3.json", "the queue is full: 2 jobs wait"),
            ("0.json", "the queue is full: 2 jobs wait"),
        }
        assert await _sources(running.log) == ["9.json", "6.json"]
    assert sorted(path.name for path in home.inbox.glob("*.json")) == ["0.json", "3.json"]


async def test_an_inbox_removed_while_running_is_made_again_and_watched(home: Home) -> None:
    """It goes on by itself, more than once."""
    async with watching(home) as running:
        for seen in range(2):
            shutil.rmtree(home.inbox)
            while not home.inbox.exists():
                await anyio.lowlevel.checkpoint()
            (home.inbox / "a.json").write_text(GOOD)
            await running.log.changed(seen)
            await running.inbox.scanned()  # the file is in `done/`, and nobody moves it while the folder goes
        assert await running.types() == ["JobAccepted"] * 2


@pytest.mark.parametrize("emptied", ["the folder of claims", "the inbox"])
async def test_what_a_person_cleared_away_too_thoroughly_is_made_again(home: Home, emptied: str) -> None:
    """Their new inbox has no folder for claims; a file in it must neither wait for ever nor be forgotten."""
    async with watching(home) as running:
        shutil.rmtree(claimed(home) if emptied == "the folder of claims" else home.inbox)
        home.inbox.mkdir(exist_ok=True)
        (home.inbox / "a.json").write_text(GOOD)
        await running.log.changed(0)
        assert await running.types() == ["JobAccepted"]


async def test_done_and_rejected_removed_while_running_are_made_again(home: Home) -> None:
    """What was to be filed there waits for that long."""
    async with watching(home) as running:
        home.done.rmdir()
        home.rejected.rmdir()
        (home.inbox / "a.json").write_text(GOOD)
        (home.inbox / "link.json").symlink_to("a.json")
        while not (home.done / "a.json").exists() or not (home.rejected / "link.json").is_symlink():
            await running.inbox.scanned()
        assert sorted(await running.types()) == ["JobAccepted", "JobRejected"]


async def test_a_file_is_taken_once_its_writer_closes_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though watchers tell of writes only, and what stands there was whole before."""
    monkeypatch.setattr(arrivals, "QUIET", 2 * PATIENCE)  # nor is it taken for having been quiet for long
    async with watching(home) as running:
        with writing(home.inbox / "a.json") as descriptor:
            os.write(descriptor, GOOD.encode())
            await running.inbox.scanned()
            (waiting,) = running.inbox.outlook.waiting
            assert (waiting.name, waiting.why.startswith("still being written")) == ("a.json", True)
        await running.log.changed(0)
        assert await running.types() == ["JobAccepted"]


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("content", [GOOD, f'{{"jobs": [{GOOD}, {GOOD}]}}'])
async def test_a_claim_that_a_crash_left_is_finished_once(home: Home, content: str, committed: bool) -> None:
    """Whether or not the log knew of it."""
    (home.inbox / "a.json").write_text(content)
    (drop,) = House(home.root).claim()
    if committed:
        async with opened(home.history, State(), restoring) as log:
            (outcome,) = await log.decide_each([(decision(drop), needs(drop))])
            assert isinstance(outcome, list)
    async with watching(home) as running:
        assert await running.types() == ["JobAccepted"] * content.count("prompt")
    assert (home.done / "a.json").exists()
    assert not list(claimed(home).iterdir())


async def test_a_name_that_kills_the_watcher_is_taken_and_the_next_one_is_heard(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is said in its own words, once."""
    async with watching(home) as running:
        await running.inbox.scanned()
        for seen, name in enumerate((b"\xff.json", b"\xfe.json", b"a.json")):
            (home.inbox / os.fsdecode(name)).write_text(GOOD)
            await running.log.changed(seen)
        assert await _sources(running.log) == ["\\xff.json", "\\xfe.json", "a.json"]
    said = [record.message for record in caplog.records if "watching" in record.message]
    assert all("ExceptionGroup" not in line for line in said)
