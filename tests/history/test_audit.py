"""`verify`: every flipped bit, lost file and strange row is found, or does not matter."""

import random
import shutil
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import duckdb
import pytest
from anyio import to_thread

from daemon.events import codec, opening, segments, sums
from daemon.events.store import Store
from daemon.history import alone
from daemon.history.audit import audit
from daemon.history.findings import Audit, Finding
from daemon.projections import rebuilding
from daemon.settings import Home
from tests.events.histories import flip, kill
from tests.history.homes import EACH, made, picture, record, seal, served
from tests.stories import accepted

EVENTS = 8 * EACH


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A history with its pictures, and rows in the write-ahead log, as a kill leaves them."""
    home = made(tmp_path_factory.mktemp("original") / "home")
    leave_in_wal(home)
    return home


def leave_in_wal(home: Home) -> None:
    """Take the files as they are before the database is closed, which would take the write-ahead log in."""
    with duckdb.connect(home.history) as connection:
        connection.execute("CHECKPOINT")
    store = Store(home.history)
    more = made_rows(store)
    store.commit(more)
    store.transfer()
    kill(store, home.history)


def made_rows(store: Store) -> list[Any]:
    """One more job, chained to the log's end."""
    last, head = store.last()
    event = accepted(9, 9)
    return [codec.seal(event, seq=last + 1, ts=codec.EPOCH, cause=None, previous=head)]


@pytest.fixture
def home(original: Home, tmp_path: Path) -> Home:
    """A copy to damage."""
    shutil.copytree(original.root, tmp_path / "home")
    return Home(tmp_path / "home")


def quietly(items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
    """No progress bar."""
    yield from items


def verify(home: Home) -> Audit:
    """Look at everything."""
    return audit(home, quietly)


def test_a_sound_history_has_nothing_wrong_and_is_not_touched(home: Home) -> None:
    """Not a byte of it."""
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    result = verify(home)
    assert result.findings == []
    assert result.checked == {
        "segments": 2, "events": EVENTS + 1, "journalled events": 2 * EACH + 1, "tables": 5, "pictures": 8,
    }  # fmt: skip
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def damaged(home: Home, kind: str) -> Path:
    """The file that is to have a bit flipped."""
    match kind:
        case "database":
            return home.history
        case "write-ahead log":
            return home.history.with_name("history.duckdb.wal")
        case "journal":
            return opening.journal_of(home.history)
        case "checksums":
            return home.segments / sums.NAME
        case "picture":
            return min(home.frames.iterdir())
        case _:
            return segments.found(home.segments)[int(kind[-1])].path


@pytest.mark.parametrize(
    ("kind", "count"),
    [("database", 40), ("write-ahead log", 24), ("journal", 24), ("segment 0", 20), ("segment 1", 20),
     ("checksums", 10), ("picture", 10)],
)  # fmt: skip
def test_a_flipped_bit_is_found_or_does_not_matter(
    original: Home, tmp_path: Path, kind: str, count: int
) -> None:
    """Wherever it is: the place is named, or every row of every table reads as before."""
    home = Home(shutil.copytree(original.root, tmp_path / "home"))
    path = damaged(home, kind)
    content = path.read_bytes()
    sound = everything(home) if kind == "database" else ""
    for at in random.Random(kind).sample(range(len(content)), count):
        flip(path, at)
        found = verify(home).findings
        if not found:
            # Unused space between tables: what can be read is the same, and a daemon goes on with it.
            assert kind == "database", at
            assert everything(home) == sound, at
            assert goes_on(home, tmp_path / str(at)), at
        else:
            assert any(names(finding, path) for finding in found), (at, found)
        path.write_bytes(content)


def names(finding: Finding, path: Path) -> bool:
    """Whether a finding leads a person to the file; the write-ahead log is a part of the database."""
    return path.name.removesuffix(".wal") in f"{finding.place}: {finding.what}"


def goes_on(home: Home, copy: Path) -> bool:
    """Whether the next start takes the files as they are, writes on, and leaves a sound history."""
    again = Home(shutil.copytree(home.root, copy))
    record(again, picture(again, 10))
    return verify(again).findings == [] and not list(copy.glob("*broken*"))


def everything(home: Home) -> str:
    """All rows of all tables, as this database has them."""
    with duckdb.connect(home.history, read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return str(
            [
                connection.execute(f'SELECT bit_xor(hash(row)) FROM "{one}" AS row').fetchall()
                for one in tables
            ]
        )


def places(home: Home) -> list[str]:
    """Where something is wrong."""
    return [finding.place for finding in verify(home).findings]


@pytest.mark.parametrize("name", ["history.duckdb", "history.duckdb.wal", "history.journal", "SHA256SUMS"])
def test_a_missing_file_is_missed(home: Home, name: str) -> None:
    """Each of them."""
    path = home.segments / name if name == sums.NAME else home.root / name
    path.unlink()
    assert verify(home).findings != []


def test_a_picture_that_only_the_journal_knows_is_known(home: Home) -> None:
    """A kill between commit and transfer: that much is said, and nothing that follows from it."""
    store = Store(home.history)
    last, head = store.last()
    rows = []
    for number, event in enumerate(picture(home, 10), start=last + 1):
        rows.append(codec.seal(event, seq=number, ts=codec.EPOCH, cause=None, previous=head))
        head = rows[-1].hash
    store.commit(rows)
    kill(store, home.history)
    (finding,) = verify(home).findings
    assert (
        finding.what
        == f"events {last + 1} to {last + EACH} are only in the journal; the next start takes them in"
    )


def test_a_missing_segment_is_named_by_its_events(home: Home) -> None:
    """In the middle of the log."""
    segments.found(home.segments)[0].path.unlink()
    (finding,) = verify(home).findings
    assert finding.what == f"no segment has events 1 to {3 * EACH}"


def test_rows_that_a_changed_one_leaves_unchecked_are_named_and_later_ones_checked(home: Home) -> None:
    """The chain is taken up again at the next whole hash."""
    edited(home, "UPDATE events SET cause = 3 WHERE seq = 5 OR seq = 18 OR seq = 7")
    broken = "its hash does not follow from it and the event before"
    told = [(one.place, one.what) for one in verify(home).findings if "history/" not in one.what]
    assert told == [
        ("event 5", broken),
        ("events", "events 6 to 16 are unchecked: the chain is broken before"),
        ("event 18", broken),
        ("events", "events 19 to 32 are unchecked: the chain is broken before"),
    ]


def test_rows_left_unchecked_before_missing_ones_are_named_too(home: Home) -> None:
    """The chain is broken twice before it is taken up again."""
    edited(home, "UPDATE events SET cause = 3 WHERE seq = 5; DELETE FROM events WHERE seq = 9")
    assert [one.what for one in verify(home).findings if one.place == "events"] == [
        "events 6 to 8 are unchecked: the chain is broken before",
        "event 9 is missing",
        "events 11 to 16 are unchecked: the chain is broken before",
    ]


def test_rows_with_whole_hashes_are_as_good(home: Home) -> None:
    """A history from before rows kept the beginning alone."""
    store = Store(home.history)
    rows = store.read(0, 10**6)
    store.close()
    whole = [(value.hex(), row.seq) for row, value in zip(rows, running(rows), strict=True)]
    edited(home, "SELECT 1")
    with duckdb.connect(home.history) as connection:
        connection.executemany("UPDATE events SET hash = unhex(?) WHERE seq = ?", whole)
    assert [finding for finding in verify(home).findings if "parquet" not in finding.what] == []
    store = Store(home.history)
    assert not store.anew
    assert store.last() == (rows[-1].seq, bytes.fromhex(whole[-1][0]))
    store.close()


def running(rows: Iterable[codec.Row]) -> Iterator[bytes]:
    """The chain's value after each."""
    return islice(accumulate(rows, codec.chain, initial=codec.GENESIS), 1, None)


def edited(home: Home, statement: str) -> None:
    """Change the database behind the daemon's back."""
    with duckdb.connect(home.history) as connection:
        for trigger in ("events_never_changed", "events_never_deleted"):
            connection.execute(f"DROP TRIGGER {trigger} ON events")
        connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE events SET cause = 3 WHERE seq = 5", "event 5"),
        ("UPDATE events SET data = replace(data, 'fox', 'cat')::JSON WHERE seq = 1", "event 1"),
        ("DELETE FROM events WHERE seq = 7", "events"),
        ("UPDATE frames SET seed = 99 WHERE id = 2", "frames 2"),
        ("DELETE FROM jobs WHERE id = 3", "jobs 3"),
        ("INSERT INTO claims SELECT 'strange', 9, 9 FROM range(1)", "claims strange"),
    ],
)
def test_a_row_that_someone_edited_is_named(home: Home, statement: str, place: str) -> None:
    """By its number or key."""
    edited(home, statement)
    assert place in places(home)


def test_a_rebuild_puts_edited_tables_right(home: Home) -> None:
    """What verify named is gone afterwards."""
    import anyio

    edited(home, "UPDATE frames SET seed = 99 WHERE id = 2")
    assert places(home) == ["frames 2"]

    async def rebuild() -> None:
        async with alone.log_of(home) as log:
            await rebuilding.rebuild(log)

    anyio.run(rebuild)
    assert places(home) == []


def test_pictures_are_held_to_the_log(home: Home) -> None:
    """Missing, cut, changed, and one that no event names."""
    first, second, third, *_ = sorted(home.frames.iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    third.write_bytes(third.read_bytes().replace(b"p", b"q", 1))
    (home.frames / "task_77.png").write_bytes(b"?")
    (home.frames / "task_9_preview.png").write_bytes(b"a preview is nobody's loss")
    told = {finding.place: finding.what for finding in verify(home).findings}
    assert list(told) == [f"frames/{path.name}" for path in (first, second, third)] + ["frames/task_77.png"]
    assert "is missing" in told[f"frames/{first.name}"]
    assert "the log says" in told[f"frames/{second.name}"]
    assert "not what was written" in told[f"frames/{third.name}"]
    assert "no event names it" in told["frames/task_77.png"]


def test_without_its_database_the_rest_is_still_checked(home: Home) -> None:
    """From segments and journal: pictures too."""
    home.history.write_bytes(b"no database")
    min(home.frames.iterdir()).unlink()
    result = verify(home)
    assert [finding.place for finding in result.findings] == ["history.duckdb", "frames/task_1.png"]
    assert result.checked["events"] == EVENTS + 1


@pytest.mark.anyio
async def test_with_a_daemon_running_what_it_has_open_is_left_alone_and_said(home: Home) -> None:
    """Everything else is checked: a flipped bit in a segment or picture is found."""
    async with served(home) as log:
        result = await to_thread.run_sync(verify, home)
        assert result.findings == []
        assert result.unchecked == [
            "history.duckdb: the daemon has it open; stop the daemon to have it checked too"
        ]
        assert result.checked["events"] == log.position
        flip(min(home.frames.iterdir()), 3)
        result = await to_thread.run_sync(verify, home)
        assert [finding.place for finding in result.findings] == ["frames/task_1.png"]
        flip(segments.found(home.segments)[0].path, 100)
        result = await to_thread.run_sync(verify, home)
        assert any(finding.place.startswith("history/000000000001-") for finding in result.findings)


def test_a_damaged_segment_is_not_merged_into_a_sound_one(tmp_path: Path) -> None:
    """Its damage would be sealed anew, and nothing would ever tell."""
    home = made(tmp_path / "home", range(1, 5), seals=1)
    flip(segments.found(home.segments)[0].path, 100)
    for number in range(5, 5 + segments.MERGE_AT):
        record(home, picture(home, number))
        seal(home)
    assert len(segments.found(home.segments)) > segments.MERGE_AT
    assert any(place.startswith("history/000000000001-") for place in places(home))


def test_many_seals_are_one_log(tmp_path: Path) -> None:
    """Merged segments are as good as the ones that they came from."""
    home = made(tmp_path / "home", range(1, 5), seals=1)
    for number in range(5, 5 + segments.MERGE_AT):
        record(home, picture(home, number))
        seal(home)
    assert len(segments.found(home.segments)) < segments.MERGE_AT
    assert verify(home).findings == []
