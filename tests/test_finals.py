"""Finished pictures: deleted on purpose and never by accident, missed when they are gone."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest

from daemon import finals, strips
from daemon.events.log import Log
from daemon.history import alone
from daemon.history.audit import audit
from daemon.projections.state import KEPT, State
from daemon.settings import Home
from tests.history.homes import made, picture, record, served
from tests.history.test_audit import quietly
from tests.stories import accepted, cancelled

pytestmark = pytest.mark.anyio
LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    """Five finished pictures."""
    return await anyio.to_thread.run_sync(partial(made, tmp_path / "home", range(1, 6), seals=0))


async def told(log: Log[State], kind: str) -> list[int]:
    """The frames that events of this type are about, in order."""
    events = [recorded.event for recorded in await log.read(0, 10**6)]
    return [event.frame for event in events if type(event).__name__ == kind]  # type: ignore[union-attr]


def left(home: Home) -> list[str]:
    """What lies in `frames/`."""
    return sorted(path.name for path in home.frames.iterdir())


async def test_what_was_finished_before_goes_and_the_log_says_so(home: Home) -> None:
    """The files are gone, their events stay, and the history is as sound as before."""
    async with alone.log_of(home) as log:
        moment = (await log.read(0, 10**6))[13].ts  # the second picture's last event
        portion = await finals.prune(log, home, moment + timedelta(microseconds=1), None)
        pruned = [gone.frame for gone in portion.gone]
        assert (portion.left, await told(log, "FinalDeleted")) == (0, pruned)
        assert pruned[:2] == [1, 2]
        assert await told(log, "FinalWritten") == [1, 2, 3, 4, 5]
        assert all(gone.bytes > 0 for gone in portion.gone)
        assert left(home) == [f"task_{n}.png" for n in range(1, 6) if n not in pruned]
    assert (await anyio.to_thread.run_sync(audit, home, quietly)).findings == []


async def test_kept_steps_go_with_what_they_led_to(home: Home) -> None:
    """Of finished pictures and of stopped frames, and only of those that had ended by then."""
    async with alone.log_of(home) as log:
        await log.decide(lambda _: [accepted(6, 6), cancelled(6, 6), accepted(7, 7)])
        for frame in range(1, 8):
            strips.begin(strips.path_of(home.strips, frame), log.epoch, 0)
        await finals.prune(log, home, datetime.fromisoformat("2020-01-01T00:00Z"), None)
        assert len(list(home.strips.iterdir())) == 7
        await finals.prune(log, home, LATER, None)
        assert [path.name for path in home.strips.iterdir()] == ["7.strip"]


async def test_only_the_project_that_was_asked_for(home: Home) -> None:
    """Another project's pictures stay."""
    async with alone.log_of(home) as log:
        assert (await finals.prune(log, home, LATER, "another")).gone == []
        assert len((await finals.prune(log, home, LATER, "default")).gone) == 5


async def test_nothing_that_is_not_finished_goes(tmp_path: Path) -> None:
    """A preview, a picture of one's own: only what a FinalWritten names."""
    home = await anyio.to_thread.run_sync(partial(made, tmp_path / "home", range(1, 3), seals=0))
    for name in ("task_9_preview.png", "mine.png"):
        (home.frames / name).write_bytes(b"x")
    async with alone.log_of(home) as log:
        await finals.prune(log, home, LATER, None)
    assert left(home) == ["mine.png", "task_9_preview.png"]


KILLED = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
import anyio
from daemon import finals, pictures
from daemon.history import alone
from daemon.settings import Home

deletions = int(sys.argv[2])
delete = pictures.delete

def deadly(path):
    global deletions
    if deletions == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    deletions -= 1
    delete(path)

async def main():
    home = Home(Path(sys.argv[1]))
    async with alone.log_of(home) as log:
        await finals.prune(log, home, datetime.fromisoformat(sys.argv[3]), None)

finals.pictures.delete = deadly
anyio.run(main)
"""


@pytest.mark.parametrize("deletions", [0, 2])
async def test_kill_9_between_event_and_deletion_is_finished_by_the_next_start(
    home: Home, deletions: int
) -> None:
    """The log says that they are gone; so they go, and are not told missing."""
    command = [sys.executable, "-c", KILLED, str(home.root), str(deletions), LATER.isoformat()]
    killed = await anyio.to_thread.run_sync(partial(subprocess.run, command, env=os.environ))
    assert killed.returncode == -signal.SIGKILL
    assert len(left(home)) == 5 - deletions
    async with alone.log_of(home) as log:
        await finals.look_over(log, home, 1)
        assert left(home) == []
        assert await told(log, "FinalDeleted") == [1, 2, 3, 4, 5]
        assert await told(log, "FileMissing") == []


async def test_a_start_misses_pictures_once(home: Home) -> None:
    """Each that is gone is told, because of this start, and only the first time."""
    (home.frames / "task_2.png").unlink()
    (home.frames / "task_4.png").unlink()
    async with alone.log_of(home) as log:
        for _ in range(2):
            await finals.look_over(log, home, 3)
        assert await told(log, "FileMissing") == [2, 4]
        assert {recorded.cause for recorded in await log.read(log.position - 2)} == {3}
        assert log.state.frames[2].path is None
    assert (await anyio.to_thread.run_sync(audit, home, quietly)).findings == []


async def test_a_disk_that_is_not_there_is_no_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All of many pictures gone at once: a person is asked, nothing is recorded."""
    home = await anyio.to_thread.run_sync(partial(made, tmp_path / "home", range(1, 13), seals=0))
    home.frames.rename(tmp_path / "elsewhere")
    home.frames.mkdir()
    async with alone.log_of(home) as log:
        await finals.look_over(log, home, 1)
        assert await told(log, "FileMissing") == []
    assert "is its disk there?" in caplog.text


async def test_pictures_that_have_left_memory_are_pruned_too(tmp_path: Path) -> None:
    """A daemon remembers the newest ended frames only; old ones are what is pruned."""
    home = await anyio.to_thread.run_sync(partial(made, tmp_path / "home", range(1, 3), seals=0))
    many = [event for number in range(3, KEPT + 20) for event in picture(home, number)]
    await anyio.to_thread.run_sync(record, home, many)
    async with served(home) as log:
        assert 1 not in log.state.frames
        portion = await finals.prune(log, home, LATER, None)
        assert (len(portion.gone), portion.left) == (KEPT + 19, 0)
        assert left(home) == []
