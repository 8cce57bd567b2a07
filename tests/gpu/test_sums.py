"""Sums of files: worked out once, kept, and never of a file that has become another one."""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import from_thread

from daemon.app import running
from daemon.gpu import sums
from daemon.gpu.sums import File, Sums
from tests.serving import PATIENCE

pytestmark = pytest.mark.anyio


def written(path: Path, data: bytes) -> File:
    """A file with this content, as it lies there."""
    path.write_bytes(data)
    file = File.at(path)
    assert file is not None
    return file


def sha256(data: bytes) -> str:
    """As the standard library has it."""
    return hashlib.sha256(data).hexdigest()


@asynccontextmanager
async def at_work(path: Path) -> AsyncIterator[Sums]:
    """Sums kept at `path`, with their task."""
    made = Sums(path)
    async with running(made.run):
        yield made


async def test_a_file_is_read_once_also_by_the_next_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was worked out is kept; another home's file, or a changed one, is not taken for it."""
    reads: list[str] = []
    digest = sums._digest

    def counted(file: File) -> str | None:
        reads.append(Path(file.path).name)
        return digest(file)

    monkeypatch.setattr(sums, "_digest", counted)
    one, two = written(tmp_path / "one", b"one"), written(tmp_path / "two", b"two" * 5_000_000)
    async with at_work(tmp_path / "sums.json") as known:
        assert [await known.of(file) for file in (one, two, one)] == [
            sha256(b"one"),
            sha256(b"two" * 5_000_000),
            sha256(b"one"),
        ]
    async with at_work(tmp_path / "sums.json") as known:
        assert await known.of(two) == sha256(b"two" * 5_000_000)
        assert reads == ["one", "two"]
        os.utime(two.path, ns=(1, 1))
        later = File.at(tmp_path / "two")
        assert later is not None
        assert await known.of(later) == sha256(b"two" * 5_000_000)
        assert reads == ["one", "two", "two"]


async def test_a_file_that_has_become_another_has_no_sum(tmp_path: Path) -> None:
    """Whoever asks for what was there is not told of what is there now; nor of what is gone."""
    was = written(tmp_path / "it", b"before")
    gone = written(tmp_path / "gone", b"gone")
    written(tmp_path / "new", b"after!")
    (tmp_path / "new").replace(was.path)
    (tmp_path / "gone").unlink()
    async with at_work(tmp_path / "sums.json") as known:
        assert [await known.of(was), await known.of(gone)] == [None, None]
    assert not (tmp_path / "sums.json").exists()


@pytest.mark.parametrize("damage", [b"", b"[", b'{"a": 1}', b'[{"file": 7}]', bytes(100)])
async def test_a_damaged_list_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    """It costs the work, and a line in the terminal."""
    (tmp_path / "sums.json").write_bytes(damage)
    file = written(tmp_path / "it", b"it")
    async with at_work(tmp_path / "sums.json") as known:
        assert await known.of(file) == sha256(b"it")
    async with at_work(tmp_path / "sums.json") as known:
        assert repr(known) == "<Sums 1 known, 0 wanted>"


async def test_a_list_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sum is known, the disk's trouble is said, the next file has its turn."""
    files = [written(tmp_path / name, b"it") for name in ("one", "two")]
    async with at_work(tmp_path / "nowhere" / "sums.json") as known:
        assert [await known.of(file) for file in files] == [sha256(b"it")] * 2
    assert "could not be written" in caplog.text


async def test_an_end_does_not_wait_for_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that stops in the middle of gigabytes stops at the next chunk, with nothing kept."""
    looks: list[None] = []
    monkeypatch.setattr(sums, "CHUNK", 1)
    check = from_thread.check_cancelled

    def checked() -> None:
        looks.append(None)
        check()

    monkeypatch.setattr(from_thread, "check_cancelled", checked)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**30)
    large = File.at(tmp_path / "large")
    assert large is not None
    with anyio.fail_after(PATIENCE):
        async with at_work(tmp_path / "sums.json") as known:
            known.want([large])
            while not looks:
                await anyio.sleep(0)
    assert len(looks) < 2**30
    assert not (tmp_path / "sums.json").exists()
