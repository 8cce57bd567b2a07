"""The watcher on real folders: it tells of changes, and comes back from everything that ends it."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from daemon import watch
from tests.serving import PATIENCE

pytestmark = pytest.mark.anyio


class Bell:
    """Counts what the watcher tells."""

    def __init__(self) -> None:
        """Silent so far."""
        self.rung = 0
        self._event = anyio.Event()

    def ring(self) -> None:
        """Something changed."""
        self.rung += 1
        self._event.set()
        self._event = anyio.Event()

    async def after(self, rung: int) -> None:
        """Wait until it rang more often than that."""
        while self.rung <= rung:
            await self._event.wait()


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Bell]:
    """A watcher that is known to be listening."""
    bell = Bell()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.run, folder, bell.ring)
            await heard(folder, bell)
            yield bell
            tasks.cancel_scope.cancel()


async def heard(folder: Path, bell: Bell) -> None:
    """Write until it is told of: what comes before the watcher listens is not, and the scan is for that."""
    rung = bell.rung
    while bell.rung == rung:
        (folder / "first").write_bytes(b"x")
        await rung_soon(bell)


async def rung_soon(bell: Bell) -> None:
    """Wait for it to ring, and not for long."""
    with anyio.move_on_after(0.2):
        await bell.after(bell.rung)


async def test_a_change_is_told(tmp_path: Path) -> None:
    """Written, renamed in or linked; each at once."""
    (tmp_path / "in").mkdir()
    async with watched(tmp_path / "in") as bell:
        for number, drop in enumerate((Path.write_bytes, _rename_in, _link)):
            rung = bell.rung
            drop(tmp_path / "in" / f"{number}.json", b"{}")
            await bell.after(rung)


def _rename_in(path: Path, content: bytes) -> None:
    elsewhere = path.parent.parent / path.name
    elsewhere.write_bytes(content)
    elsewhere.rename(path)


def _link(path: Path, content: bytes) -> None:
    elsewhere = path.parent.parent / path.name
    elsewhere.write_bytes(content)
    os.link(elsewhere, path)


async def test_a_folder_that_is_made_again_is_watched_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Though the new one may have the old one's number, and the old watcher lives on, deaf."""
    folder = tmp_path / "in"
    folder.mkdir()
    async with watched(folder) as bell:
        for _ in range(2):
            (folder / "first").unlink()
            folder.rmdir()
            folder.mkdir()
            await bell.after(bell.rung)  # it was noticed
            await heard(folder, bell)
    assert "was removed or replaced, it is watched anew" in caplog.text


async def test_a_name_that_is_no_utf_8_ends_no_more_than_one_watch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is named by its own words, not as a group of errors, and once for each name."""

    def warnings() -> list[str]:
        return [record.message for record in caplog.records if record.levelno == logging.WARNING]

    async with watched(tmp_path) as bell:
        for number in range(2):
            # Again and again: a bell that rings late for an earlier file does not say that it listens now.
            while len(warnings()) == number:
                (tmp_path / os.fsdecode(b"\xff%d.json" % number)).write_bytes(b"{}")
                await rung_soon(bell)
            await heard(tmp_path, bell)
    said = warnings()
    assert len(said) == len(set(said)) == 2
    assert all("Unable to decode path" in line for line in said)
    assert not any("unhandled errors in a TaskGroup" in line for line in said)


async def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """Said once, not once a second."""
    bell = Bell()
    folder = tmp_path / "in"
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.run, folder, bell.ring)
            await bell.after(1)
            folder.mkdir()
            await heard(folder, bell)
            tasks.cancel_scope.cancel()
