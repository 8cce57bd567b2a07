"""Disks that refuse to write: each answer is right, nothing acknowledged is lost, and it goes on later."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.events import codec, opening, segments
from daemon.events.store import Store
from tests.disks.failing import Writer, shim
from tests.disks.small import fill, mounted, spare

__all__ = ["shim"]  # a fixture

APPEND = 30
"""Events, by as many callers at once."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the history lies, in a folder of its own."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "history.duckdb"


@pytest.fixture
def writer(shim: Path, path: Path, tmp_path: Path) -> Iterator[Writer]:
    """The log there."""
    with Writer(path, shim, tmp_path / "rules") as writer:
        yield writer


def held(writer: Writer, path: Path, copy: Path) -> list[int]:
    """What the files hold if the machine stops now: opened elsewhere, as the next start would."""
    with writer.halted():
        shutil.copytree(path.parent, copy, ignore=shutil.ignore_patterns("ballast"))
    store = Store(copy / path.name)
    rows = store.read(0, 10**6)
    store.close()
    assert codec.unchained(rows) is None
    return [row.seq for row in rows]


def check(writer: Writer, told: list[int], path: Path, copy: Path) -> list[int]:
    """Everything told is held, without a gap; answers what is."""
    seqs = held(writer, path, copy)
    assert seqs == list(range(1, len(seqs) + 1))
    assert set(told) <= set(seqs)
    answer = writer.ask("read")
    if answer.error is None:
        assert set(answer.value) <= set(seqs)
    return seqs


@pytest.mark.parametrize("during", ["append 2", "seal"])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("sync", "history.journal"),
        ("write", "history.journal"),
        ("sync", "history.duckdb.wal"),
        ("write", "history.duckdb.wal"),
        ("sync", "history.duckdb"),
        ("write", "history.duckdb"),
        ("sync", ".000000000001-000000000003.parquet.tmp"),
        ("write", ".000000000001-000000000003.parquet.tmp"),
        ("sync", ".SHA256SUMS.tmp"),
    ],
)
def test_a_file_that_cannot_be_written_loses_nothing(
    writer: Writer, path: Path, tmp_path: Path, call: str, name: str, during: str
) -> None:
    """While it fails, and when it works again, which the same process finds out by itself."""
    told: list[int] = writer.ask("append 3").value
    with writer.failing(call, name, errno.EIO if call == "sync" else errno.ENOSPC):
        for word in (during, f"append {APPEND}", "append 1"):
            told += writer.ask(word).value or []
        check(writer, told, path, tmp_path / "while")
    again = writer.ask("append 1")
    assert again.error is None
    told += again.value
    assert writer.ask("seal").error is None
    told += writer.ask("append 1").value
    seqs = check(writer, told, path, tmp_path / "after")
    assert writer.ask("read").value == seqs
    assert writer.ask("rebuild").value == seqs[-1]


def test_what_the_database_will_not_take_is_there_when_it_is_open_again(
    writer: Writer, path: Path, tmp_path: Path
) -> None:
    """The journal took the rows, the database failed for good: what was told holds, nothing more is taken
    until it can be opened again, and no number is given twice."""
    writer.ask("append 3")
    writer.ask("seal")
    with writer.failing("sync", "history.duckdb.wal"):
        assert writer.ask("append 2").value == [4, 5]
        assert writer.ask("seal").error is not None
        assert "cannot be opened" in str(writer.ask("append 1").error)
        assert held(writer, path, tmp_path / "while") == [1, 2, 3, 4, 5]
    assert writer.ask("append 1").value == [6]
    assert writer.ask("read").value == [1, 2, 3, 4, 5, 6]
    assert writer.ask("rebuild").value == 6


def test_what_was_in_doubt_is_told_to_nobody_and_settled_once(
    writer: Writer, path: Path, tmp_path: Path
) -> None:
    """The journal could neither be synced nor cut: the rows are there in the end, under their own numbers."""
    writer.ask("append 3")
    with writer.failing("sync", "history.journal"), writer.failing("cut", "history.journal"):
        assert "could not be written" in str(writer.ask("append 2").error)
    assert writer.ask("append 1").value == [6]
    assert writer.ask("read").value == [1, 2, 3, 4, 5, 6] == held(writer, path, tmp_path / "after")
    assert writer.ask("rebuild").value == 6


def test_a_database_without_room_is_read_and_takes_no_more(writer: Writer) -> None:
    """Whoever reads gets what was there when there was room; memory does not fill up with what follows."""
    writer.ask("append 3")
    assert writer.ask("count").value == 3
    with writer.failing("write", "history.duckdb.wal", errno.ENOSPC):
        assert writer.ask("append 2").value == [4, 5]
        assert writer.ask("count").value == 3
        assert writer.ask("read").value == [1, 2, 3, 4, 5]
        assert "could not be written" in str(writer.ask("append 1").error)
    assert writer.ask("append 1").value == [6]
    assert writer.ask("count").value == 6


def test_a_disk_that_refuses_to_write_is_no_damage(writer: Writer, path: Path) -> None:
    """The database is not set aside for it, at a start neither, and no segment is blamed."""
    writer.ask("append 3")
    writer.ask("seal")
    with writer.failing("sync", "history.duckdb.wal"):
        for _ in range(3):
            writer.ask("append 2")
            assert writer.ask("seal").error is not None
    assert writer.ask("append 1").error is None
    assert not list(path.parent.glob("*broken*"))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    with mounted(tmp_path / "small", "16m") as folder:
        yield folder


def test_a_disk_that_fills_up_page_by_page_loses_nothing(shim: Path, small: Path, tmp_path: Path) -> None:
    """A real one: with a few pages of room at a time it is now the journal that has none, now the write-ahead
    log, the segment, its checksum or the checkpoint."""
    path = small / "history.duckdb"
    with Writer(path, shim, tmp_path / "rules") as writer:
        told: list[int] = writer.ask("append 3").value
        ballast, refusals = fill(small), set()
        for round_ in range(12):
            for word in (f"append {APPEND}", "append 1", "seal"):
                answer = writer.ask(word)
                told += answer.value or []
                refusals.add(None if answer.error is None else answer.error.partition(":")[0])
            if round_ % 4 == 0:
                check(writer, told, path, tmp_path / str(round_))
            spare(ballast, 2**12 << (round_ // 2))
        assert {"LogFailed", None} < refusals
        ballast.unlink()
        assert writer.ask(f"append {APPEND}").error is None
        assert writer.ask("seal").error is None
        seqs = check(writer, told, path, tmp_path / "after")
        assert writer.ask("read").value == seqs
    sealed = segments.found(opening.segments_of(path))
    assert segments.sealed_to(sealed) == seqs[-1]
    assert not list(small.glob("*broken*"))
