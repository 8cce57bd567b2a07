"""The rows on disk while they are on their way: in the journal, and not yet in the database."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pytest

from daemon.events import journal, opening
from daemon.events.codec import Row
from daemon.events.journal import Journal
from daemon.events.opening import HistoryDamaged
from daemon.events.store import Store
from tests.events.histories import kept, kill, rows

EVERY = rows(12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the history lies."""
    return tmp_path / "history.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """Three rows in the database, three in the journal alone."""
    store = Store(path)
    store.commit(EVERY[:3])
    store.transfer()
    store.commit(EVERY[3:6])
    yield store
    store.close()


def in_journal(path: Path) -> Sequence[Row]:
    """The rows that stand there."""
    found = journal.read(opening.journal_of(path))
    assert found is not None
    assert found.damage is None
    return found.rows


def test_rows_on_their_way_are_read_as_those_that_have_arrived(store: Store) -> None:
    """From any place, as many as are wanted."""
    for after in range(7):
        for limit in range(1, 8):
            assert kept(store.read(after, limit)) == kept(EVERY[after:6][:limit]), (after, limit)
    assert store.last() == (6, EVERY[5].hash)


def test_whoever_reads_beside_the_writer_finds_them(store: Store) -> None:
    """They are transferred first."""
    with store.cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM events").fetchall() == [(6,)]


def test_a_kill_before_the_transfer_loses_nothing(store: Store, path: Path) -> None:
    """The next start takes them in."""
    kill(store, path)
    again = Store(path)
    assert kept(again.read(0, 10)) == kept(EVERY[:6])
    assert again.connection.execute("SELECT count(*) FROM events").fetchall() == [(6,)]
    again.close()


def test_rows_committed_while_the_journal_begins_anew_are_in_the_new_one(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit comes from its own thread between the look at what is left and the new journal."""
    store.transfer()
    store.seal(store.connection, 6)
    read = store.read

    def read_and_be_overtaken(after: int, limit: int) -> list[Row]:
        found = read(after, limit)
        other = threading.Thread(target=store.commit, args=(EVERY[6:9],))
        other.start()
        other.join()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", read_and_be_overtaken)
        store.checkpoint()
    assert in_journal(path) == EVERY[6:9]
    store.commit(EVERY[9:])
    assert in_journal(path) == EVERY[6:]


def test_rows_in_memory_outlive_a_journal_that_is_deleted(store: Store, path: Path) -> None:
    """What was told is put into both files again."""
    opening.journal_of(path).unlink()
    store.reopen()
    assert kept(store.read(0, 10)) == kept(EVERY[:6])
    store.commit(EVERY[6:])
    kill(store, path)
    again = Store(path)
    assert kept(again.read(0, 20)) == kept(EVERY)
    again.close()


def test_rows_that_nothing_holds_any_more_are_named(store: Store, path: Path) -> None:
    """Journal and database went back to an earlier day, and what came between is in no file."""
    store.transfer()
    store.commit(EVERY[6:8])
    opening.journal_of(path).unlink()
    store.connection.execute("DROP TRIGGER events_never_deleted ON events")
    store.connection.execute("DELETE FROM events WHERE seq > 4")
    with pytest.raises(HistoryDamaged, match="events 5 to 6 are in none of the files"):
        store.reopen()


def test_an_opening_that_fails_half_way_can_be_done_again(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read twice, and a database that was made anew still wants its tables."""

    def refuse(path: Path, content: bytes) -> Journal:
        raise OSError(28, "no room")

    store.transfer()
    store.connection.execute("CHECKPOINT")
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("daemon.events.store.Journal", refuse)
        with pytest.raises(OSError, match="no room"):
            store.reopen()
    assert store.broken
    assert kept(store.read(0, 10)) == kept(EVERY[:6])
    with pytest.raises(OSError, match="closed"):
        store.commit(EVERY[6:])
    store.reopen()
    assert store.anew
    assert kept(store.read(0, 10)) == kept(EVERY[:6])


def test_a_database_that_failed_takes_nothing_until_the_writer_opens_it_again(store: Store) -> None:
    """Commits go on meanwhile: the journal is sound."""
    store.connection.execute("INSERT INTO events SELECT * REPLACE (4 AS seq) FROM events WHERE seq = 3")
    with pytest.raises(duckdb.Error, match="Duplicate"):
        store.transfer()
    assert store.broken
    store.commit(EVERY[6:])
    with pytest.raises(duckdb.Error, match="opened again"):
        store.transaction(lambda connection: None)
    store.reopen()
    assert store.anew
    assert kept(store.read(0, 20)) == kept(EVERY)
