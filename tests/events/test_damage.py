"""Damage to the files of a history: every acknowledged row is there again, or is named. Never silence."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.events import journal, opening, segments
from daemon.events.codec import Row
from daemon.events.opening import HistoryDamaged
from daemon.events.store import Store
from tests.events.histories import batch, files, flip, kept, kill, rows, write

SEALED, LOOSE = 400, 300
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """One history, copied by each test."""
    path = tmp_path_factory.mktemp("original") / "history.duckdb"
    return path, write(path, sealed=SEALED, loose=LOOSE)


@pytest.fixture
def history(original: tuple[Path, list[Row]], tmp_path: Path) -> tuple[Path, list[Row]]:
    """A copy to damage, and the rows that it must still hold."""
    shutil.copytree(original[0].parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "history.duckdb", original[1]


def check(path: Path, expected: list[Row]) -> None:
    """Open it: exactly these rows, and it takes another one, and opens again."""
    store = Store(path)
    assert kept(store.read(0, 10**6)) == kept(expected)
    more = rows(3, expected[-1].hash, len(expected) + 1)
    store.commit(more)
    store.close()
    again = Store(path)
    assert kept(again.read(0, 10**6)) == kept([*expected, *more])
    again.close()


def wal(path: Path) -> Path:
    """The write-ahead log."""
    return path.with_name(f"{path.name}.wal")


def delete(path: Path) -> None:
    """Gone."""
    path.unlink()


def halve(path: Path) -> None:
    """The end is missing."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero_end(path: Path) -> None:
    """The last third reads as zeros, as after a power cut."""
    content = path.read_bytes()
    keep = len(content) * 2 // 3
    path.write_bytes(content[:keep] + bytes(len(content) - keep))


def zero(path: Path) -> None:
    """All of it reads as zeros."""
    path.write_bytes(bytes(path.stat().st_size))


def tear(path: Path) -> None:
    """The last bytes never arrived."""
    path.write_bytes(path.read_bytes()[:-13])


def flip_middle(path: Path) -> None:
    """One bit in the middle."""
    flip(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [delete, halve, zero_end, zero, tear, flip_middle])
def test_a_damaged_write_ahead_log_loses_nothing(history: tuple[Path, list[Row]], damage: Damage) -> None:
    """DuckDB alone would open some of these in silence, shorter."""
    path, expected = history
    damage(wal(path))
    check(path, expected)


@pytest.mark.parametrize("damage", [delete, halve, zero_end, zero, flip_middle])
def test_a_damaged_database_is_made_anew(history: tuple[Path, list[Row]], damage: Damage) -> None:
    """From segments and journal; what was broken is set aside, not deleted."""
    path, expected = history
    damage(path)
    check(path, expected)


@pytest.mark.parametrize("damage", [delete, halve, zero_end, zero, tear, flip_middle])
def test_a_damaged_journal_loses_nothing(history: tuple[Path, list[Row]], damage: Damage) -> None:
    """The database has the rows."""
    path, expected = history
    damage(opening.journal_of(path))
    check(path, expected)


def test_any_flipped_bit_of_the_write_ahead_log_loses_nothing(
    original: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    """Forty places, drawn once."""
    size = wal(original[0]).stat().st_size
    for number, at in enumerate(random.Random(1).sample(range(size), 40)):
        copy = shutil.copytree(original[0].parent, tmp_path / str(number)) / "history.duckdb"
        flip(wal(copy), at)
        check(copy, original[1])


def test_a_lost_segment_is_made_again_from_the_database(history: tuple[Path, list[Row]]) -> None:
    """By the next seal: so the database may be lost after it."""
    path, expected = history
    (segment,) = segments.found(opening.segments_of(path))
    segment.path.unlink()
    Store(path).close()
    path.unlink()
    check(path, expected)


def test_a_segment_and_the_database_lost_are_named_by_rows(history: tuple[Path, list[Row]]) -> None:
    """Neither has them, so nobody has."""
    path, _ = history
    (segment,) = segments.found(opening.segments_of(path))
    segment.path.unlink()
    path.unlink()
    with pytest.raises(HistoryDamaged, match=f"events 1 to {SEALED} are in none of the files"):
        Store(path)


def test_a_damaged_segment_is_named_with_its_rows(history: tuple[Path, list[Row]]) -> None:
    """A bit flipped in the only file that has the rows."""
    path, _ = history
    (segment,) = segments.found(opening.segments_of(path))
    flip(segment.path, segment.path.stat().st_size // 3)
    path.unlink()
    with pytest.raises(HistoryDamaged, match=f"events 1 to {SEALED}: .* is damaged"):
        Store(path)


def test_everything_but_the_segments_gone_is_said_aloud(
    history: tuple[Path, list[Row]], caplog: pytest.LogCaptureFixture
) -> None:
    """What the segments hold is there; that more may have been is not passed over."""
    path, expected = history
    for file in files(path):
        file.unlink()
    check(path, expected[:SEALED])
    assert f"what followed event {SEALED}, if anything did, is lost" in caplog.text


def test_an_edited_row_in_the_database_is_found_and_put_right(history: tuple[Path, list[Row]]) -> None:
    """The chain shows it; the journal has the true row."""
    path, expected = history
    store = Store(path)
    store.connection.execute("DROP TRIGGER events_never_changed ON events")
    store.connection.execute(f"UPDATE events SET cause = 1 WHERE seq = {SEALED + 5}")
    kill(store, path)
    check(path, expected)
    assert list(path.parent.glob("history.broken-*.duckdb"))


def test_an_edited_row_is_not_believed_once_the_journal_is_gone(history: tuple[Path, list[Row]]) -> None:
    """Nobody has the true one: it is named, and nothing is chained to the other."""
    path, _ = history
    store = Store(path)
    store.connection.execute("DROP TRIGGER events_never_changed ON events")
    store.connection.execute(f"UPDATE events SET cause = 1 WHERE seq = {SEALED + 5}")
    kill(store, path)
    opening.journal_of(path).unlink()
    with pytest.raises(HistoryDamaged, match=f"event {SEALED + 5} is not what was recorded"):
        Store(path)


def test_a_torn_checkpoint_loses_nothing(tmp_path: Path) -> None:
    """Two hundred states in which random 4 KiB pieces of what the checkpoint wrote never reached the disk."""
    before_dir, after_dir = tmp_path / "before", tmp_path / "after"
    before_dir.mkdir()
    path = before_dir / "history.duckdb"
    expected = write(path, sealed=SEALED, loose=LOOSE)
    shutil.copytree(before_dir, after_dir)
    # The checkpoint's writes: what the database file is after it, against what it was.
    store = Store(after_dir / path.name)
    cursor = store.cursor()
    store.seal(cursor, len(expected))
    cursor.close()
    journal_before = opening.journal_of(after_dir / path.name).read_bytes()
    store.connection.execute("CHECKPOINT")
    kill(store, after_dir / path.name)
    before, after = path.read_bytes(), (after_dir / path.name).read_bytes()

    state = tmp_path / "state"
    opened_as_they_were = 0
    for seed in range(200):
        shutil.copytree(after_dir, state)
        torn = state / path.name
        torn.write_bytes(_torn(before, after, random.Random(seed)))
        opening.journal_of(torn).write_bytes(journal_before)
        if seed % 2:
            shutil.copy(wal(path), wal(torn))  # the write-ahead log was not cut off yet
        store = Store(torn)
        assert kept(store.read(0, 10**6)) == kept(expected), seed
        store.close()
        opened_as_they_were += not list(state.glob("history.broken-*"))
        shutil.rmtree(state)
    assert opened_as_they_were > 0


def _torn(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """`after`, with a random share of its changed 4 KiB pieces as they were before."""
    torn = bytearray(after)
    share = chance.random()
    for at in range(0, len(after), 4096):
        old = before[at : at + 4096].ljust(len(after[at : at + 4096]), b"\0")
        if after[at : at + 4096] != old and chance.random() < share:
            torn[at : at + 4096] = old
    return bytes(torn)


def test_what_a_crash_left_half_written_is_swept_away(history: tuple[Path, list[Row]]) -> None:
    """Each kill during a seal would leave another file for good."""
    path, expected = history
    left = opening.segments_of(path) / ".000000000401-000000000500.parquet.tmp"
    left.write_bytes(b"half")
    check(path, expected)
    assert not left.exists()


@pytest.mark.parametrize("home", ["home", "home [1]", "*all* of it's {here}", "job=7"])
def test_small_segments_become_one(tmp_path: Path, home: str) -> None:
    """A year of quiet days is not ten thousand files, and nothing is lost in the merge; wherever it lies."""
    path = tmp_path / home / "history.duckdb"
    path.parent.mkdir()
    every = rows(segments.MERGE_AT * 10)
    store = Store(path)
    for at in range(0, len(every), 10):
        batch(store, every[at : at + 10])
        cursor = store.cursor()
        store.seal(cursor, at + 10)
        cursor.close()
        store.checkpoint()
    kill(store, path)
    assert [(one.first, one.last) for one in segments.found(opening.segments_of(path))] == [(1, len(every))]
    path.unlink()
    check(path, every)


def test_a_place_that_duckdb_cannot_use_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """It takes what follows a question mark for a query, and would look for its write-ahead log elsewhere."""
    path = tmp_path / "what?" / "history.duckdb"
    path.parent.mkdir()
    with pytest.raises(OSError, match="question mark"):
        Store(path)
    assert not list(path.parent.iterdir())


def test_a_segment_lost_between_others_is_named_alone(tmp_path: Path) -> None:
    """What the others hold is not called lost."""
    path = tmp_path / "history.duckdb"
    every = rows(30)
    for at in (0, 10, 20):
        store = Store(path)
        batch(store, every[at : at + 10])
        store.close()
    segments.found(opening.segments_of(path))[1].path.unlink()
    path.unlink()
    with pytest.raises(HistoryDamaged, match="events 11 to 20 are in none of the files"):
        Store(path)


def test_a_closed_history_has_everything_sealed(tmp_path: Path) -> None:
    """The next start has nothing to compare, and the segments alone are the whole history."""
    path = tmp_path / "history.duckdb"
    every = rows(20)
    store = Store(path)
    batch(store, every)
    store.close()
    left = journal.read(opening.journal_of(path))
    assert left is not None
    assert (left.base.seq, left.rows) == (20, [])
    assert segments.sealed_to(segments.found(opening.segments_of(path))) == 20


def test_an_older_database_without_a_journal_is_made_anew_from_the_segments(tmp_path: Path) -> None:
    """A backup of the one file that people see is no reason to give numbers out twice."""
    path = tmp_path / "history.duckdb"
    every = rows(20)
    store = Store(path)
    batch(store, every[:5])
    store.close()
    older = path.read_bytes()
    store = Store(path)
    batch(store, every[5:])
    store.close()
    path.write_bytes(older)
    opening.journal_of(path).unlink()
    check(path, every)


def test_a_journal_that_is_not_begun_anew_is_not_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder could not be synced when the new one stood there already: the old one has lost its name."""
    path = tmp_path / "history.duckdb"
    every = rows(20)
    store = Store(path)
    batch(store, every[:10])
    store.seal(store.connection, 10)
    with monkeypatch.context() as patch:
        patch.setattr("daemon.files.sync_folder", _refuse)
        with pytest.raises(OSError, match="fsync"):
            store.checkpoint()
    assert store.broken
    store.reopen()
    batch(store, every[10:])
    kill(store, path)
    wal(path).unlink(missing_ok=True)
    check(path, every)


def _refuse(folder: Path) -> None:
    raise OSError(5, "fsync")
