"""Machines that refuse: a full disk, a read-only one. Nothing is lost, and it goes on by itself."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from daemon.drops import claimed, prepare
from daemon.events.log import opened
from daemon.events.types import JobAccepted
from daemon.inbox import Inbox
from daemon.projections import restoring
from daemon.projections.state import State
from daemon.settings import DEMO, Home
from tests.disks.small import fill, mounted
from tests.serving import PATIENCE

pytestmark = pytest.mark.anyio
FILES = 40


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    with mounted(tmp_path / "small", "24m") as folder:
        yield folder


async def test_a_full_disk_loses_nothing_and_it_goes_on_when_there_is_room(small: Path) -> None:
    """Files and history on one full disk: files wait with the reason, then each is taken once."""
    home = Home(small)
    prepare(home)
    async with opened(home.history, State(), restoring) as log, anyio.create_task_group() as tasks:
        for number in range(FILES):
            (home.inbox / f"{number}.json").write_text(f'{{"prompt": "fox {number}"}}')
        (home.inbox / "broken.json").write_text("{")
        ballast = fill(small)
        inbox = Inbox(home, log, DEMO)
        await tasks.start(inbox.run)
        with anyio.fail_after(PATIENCE):
            while not any(each.trouble for each in inbox.outlook.waiting):
                await inbox.scanned()
            assert "No space left" in "".join(each.why for each in inbox.outlook.waiting)
            ballast.unlink()
            while not inbox.idle:
                await inbox.scanned()
        events = [recorded.event for recorded in await log.read(0)]
        tasks.cancel_scope.cancel()
    prompts = [event.prompt.prompt for event in events if isinstance(event, JobAccepted)]
    assert sorted(prompts) == sorted(f"fox {number}" for number in range(FILES))
    assert len(events) == FILES + 1
    assert len(list(home.done.iterdir())) == FILES
    assert sorted(path.name for path in home.rejected.iterdir()) == ["broken.json", "broken.json.error.json"]
    assert not list(claimed(home).iterdir())


async def test_a_disk_that_turned_read_only_keeps_its_files_and_gives_them_later(
    small: Path, tmp_path: Path
) -> None:
    """As a failing disk does: no rename succeeds; the history lies elsewhere."""
    home = Home(small)
    prepare(home)
    (home.inbox / "a.json").write_text('{"prompt": "a fox"}')
    _remount(small, "ro")
    history = tmp_path / "history.duckdb"
    async with opened(history, State(), restoring) as log, anyio.create_task_group() as tasks:
        inbox = Inbox(home, log, DEMO)
        await tasks.start(inbox.run)
        with anyio.fail_after(PATIENCE):
            await inbox.scanned()
            (waiting,) = inbox.outlook.waiting
            assert waiting.why == "cannot be taken: Read-only file system"
            _remount(small, "rw")
            await log.changed(0)
            while not (home.done / "a.json").exists():
                await inbox.scanned()
        tasks.cancel_scope.cancel()


def _remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)
