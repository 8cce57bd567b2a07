"""Asking the history: one moment, the right rows, whatever happens to the files meanwhile."""

import random
import shutil
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import anyio
import duckdb
import pytest
from anyio import to_thread

from daemon.events import segments, sums
from daemon.events.opening import HistoryDamaged, HomeInUse, claimed
from daemon.history import alone, copies, reading
from daemon.settings import Home
from tests.events.histories import flip
from tests.history.homes import EACH, made, picture, record, seal, served

COUNT = "SELECT count(*)::BIGINT, max(seq), count(DISTINCT seq)::BIGINT FROM events"
EVENTS = 8 * EACH


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A history of eight pictures in two segments and a tail, copied by each test."""
    return made(tmp_path_factory.mktemp("original") / "home")


@pytest.fixture
def home(original: Home, tmp_path: Path) -> Home:
    """A copy to ask, and to damage. (It has no model: nothing is made here.)"""
    shutil.copytree(original.root, tmp_path / "home")
    return Home(tmp_path / "home")


def ask(home: Home, query: str) -> list[tuple[object, ...]]:
    """The answer as of now."""
    with reading.opened(home) as history:
        return history.connection.execute(query).fetchall()


def test_segments_and_tail_are_one_log(home: Home) -> None:
    """Each event once, and the tables are those of the same moment."""
    assert len(segments.found(home.segments)) == 2
    assert ask(home, COUNT) == [(EVENTS, EVENTS, EVENTS)]
    assert ask(home, "SELECT status, count(*)::BIGINT FROM frames GROUP BY ALL") == [("done", 8)]


async def ask_in_thread(home: Home, query: str) -> list[tuple[object, ...]]:
    """As another process would, while the daemon's loop goes on."""
    return await to_thread.run_sync(ask, home, query)


@pytest.mark.anyio
async def test_a_running_daemon_brings_its_history_up_to_now(home: Home) -> None:
    """What was recorded a moment ago is in the answer, and the lock is not needed."""
    async with served(home) as log:
        for number in (9, 10):
            for event in picture(home, number):
                await log.append(event)
            assert await ask_in_thread(home, COUNT) == [(number * EACH,) * 3]
            assert await ask_in_thread(home, "SELECT max(id) FROM frames WHERE status = 'done'") == [
                (number,)
            ]


@pytest.mark.anyio
async def test_answers_are_of_one_moment_while_the_daemon_writes_and_seals(home: Home) -> None:
    """Events, frames and jobs agree in every answer, and no event is missed or told twice."""
    query = """SELECT count(*) = max(seq), (SELECT count(*) FROM frames WHERE status = 'done')
        = count(*) FILTER (type = 'FinalWritten'), (SELECT max(id) FROM jobs)
        = max(job) FILTER (type = 'JobAccepted') FROM events"""
    answers: list[list[tuple[object, ...]]] = []
    async with served(home) as log, anyio.create_task_group() as tasks:

        async def write() -> None:
            for number in count(9):
                if number >= 40 and len(answers) >= 2:
                    return
                for event in picture(home, number):
                    await log.append(event)
                if number % 10 == 0:
                    # A checkpoint waits for nobody: while a question is answered it is put off.
                    with suppress(duckdb.TransactionException):
                        await log._seal()

        async def keep_asking() -> None:
            while True:
                answers.append(await ask_in_thread(home, query))

        for _ in range(2):
            tasks.start_soon(keep_asking)
        await write()
        answers.append(await ask_in_thread(home, query))
        tasks.cancel_scope.cancel()
    assert len(answers) >= 3
    assert {tuple(answer[0]) for answer in answers} == {(True, True, True)}


def test_a_reading_keeps_what_it_has_opened(home: Home) -> None:
    """Segments merged away and copies replaced under a long question change nothing for it."""
    with reading.opened(home) as history:
        record(home, picture(home, 9))
        for file in home.segments.glob("*.parquet"):
            file.unlink()
        assert history.connection.execute(COUNT).fetchall() == [(EVENTS, EVENTS, EVENTS)]
        assert history.connection.execute("SELECT max(id) FROM frames").fetchall() == [(8,)]


def test_a_merge_leaves_rows_twice_for_a_moment(home: Home) -> None:
    """The wider segment is taken, in our own views and in everyone's."""
    small = [one.path for one in segments.found(home.segments)]
    kept = {path: path.read_bytes() for path in small}
    for path in small:
        path.unlink()
    seal(home)
    for path, content in kept.items():
        path.write_bytes(content)
        sums.enter(home.segments, path.name, sums.of(path))
    assert len(segments.found(home.segments)) == 3
    assert ask(home, COUNT) == [(EVENTS, EVENTS, EVENTS)]
    assert outside(home, COUNT) == str([(EVENTS, EVENTS, EVENTS)])


def outside(home: Home, query: str, cwd: str = "/") -> str:
    """What someone's own DuckDB, in another process and folder, answers over `views.sql`."""
    program = (
        "import duckdb, sys; from pathlib import Path; c = duckdb.connect(); "
        "c.execute(Path(sys.argv[1]).read_text()); print(c.execute(sys.argv[2]).fetchall())"
    )
    command = [sys.executable, "-c", program, str(home.segments / "views.sql"), query]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", ["home", 'it\'s [a] *odd* home "yes" – ü', "100% {home}", "job=7"])
@pytest.mark.parametrize("seals", [0, 2])
def test_anyones_own_duckdb_sees_the_same_rows(tmp_path: Path, name: str, seals: int) -> None:
    """Through `views.sql`, from any folder, whatever the home is called and however young it is."""
    home = made(tmp_path / name, range(1, 5), seals=seals)
    everything = (
        "SELECT seq, epoch_us(ts), type, version, job, frame, cause, data, hash FROM events ORDER BY seq"
    )
    steps = "SELECT step, avg(ms) FROM preview_written GROUP BY step ORDER BY step"
    tables = "SELECT frames.id, path, done FROM frames JOIN jobs ON job_id = jobs.id ORDER BY ALL"
    for query in (everything, steps, tables):
        assert str(ask(home, query)) == outside(home, query)
    assert ask(home, COUNT)[0][0] == 4 * EACH


@pytest.mark.anyio
async def test_while_a_daemon_runs_both_count_the_same(home: Home) -> None:
    """The question of the front page: how much of what happened?"""
    query = "SELECT type, count(*)::BIGINT FROM events GROUP BY type ORDER BY ALL"
    async with served(home) as log:
        for event in picture(home, 9):
            await log.append(event)
        answer = await ask_in_thread(home, query)
        assert sum(int(str(count)) for _, count in answer) == log.position
        assert str(answer) == await to_thread.run_sync(outside, home, query)


def test_views_that_were_loaded_before_find_new_segments(home: Home) -> None:
    """A script that stands open for days does not go stale by a seal."""
    ask(home, COUNT)
    script = (home.segments / "views.sql").read_text()
    record(home, picture(home, 9))
    seal(home)
    ask(home, COUNT)
    (home.segments / "views.sql").write_text(script)
    assert outside(home, COUNT) == str([(9 * EACH, 9 * EACH, 9 * EACH)])


EVERY = 6
FLIPS = [
    (kind, number) for kind in ("segment", "tail", "frames", "position", "sums") for number in range(EVERY)
]


def flipped(home: Home, kind: str) -> Path:
    """The file that is to have a bit flipped."""
    if kind == "segment":
        return segments.found(home.segments)[0].path
    names = {
        "tail": "tail.parquet",
        "frames": "frames.parquet",
        "position": "position.json",
        "sums": sums.NAME,
    }
    return home.segments / names[kind]


def test_no_flipped_bit_is_believed(home: Home, tmp_path: Path) -> None:
    """In a segment it is named; in a copy, or in what says how things should be, it is put right or named."""
    everything = (
        "SELECT seq, epoch_us(ts), type, version, job, frame, cause, data, hash FROM events ORDER BY seq"
    )
    right = ask(home, everything)
    chance = random.Random(5)
    said: list[str] = []
    named = {kind: 0 for kind, _ in FLIPS}
    for kind, _ in FLIPS:
        path = flipped(home, kind)
        content = path.read_bytes()
        flip(path, chance.randrange(len(content)))
        try:
            assert ask(home, everything) == right, kind
        except HistoryDamaged as damage:
            named[kind] += 1
            said.append(str(damage))
        flipped(home, kind).parent.joinpath(path.name).write_bytes(content)
    assert named["segment"] == EVERY
    assert all("is not what was sealed; move it out" in one for one in said)
    assert named["tail"] == named["frames"] == named["position"] == 0


def test_a_segment_whose_checksum_is_lost_is_read_by_its_chain(home: Home) -> None:
    """Right ones are believed, changed ones are not."""
    (home.segments / sums.NAME).unlink()
    assert ask(home, COUNT) == [(EVENTS, EVENTS, EVENTS)]
    path = segments.found(home.segments)[0].path
    flip(path, 300)
    with pytest.raises(HistoryDamaged, match="events 1 to 21"):
        ask(home, COUNT)


def test_a_damaged_segment_that_is_moved_away_is_not_missed(home: Home) -> None:
    """As the message says: the database has its events too."""
    path = segments.found(home.segments)[0].path
    flip(path, 300)
    with pytest.raises(HistoryDamaged, match="move it out of that folder and ask again"):
        ask(home, COUNT)
    path.rename(home.root / path.name)
    assert ask(home, COUNT) == [(EVENTS, EVENTS, EVENTS)]
    assert outside(home, COUNT) == str([(EVENTS, EVENTS, EVENTS)])


def test_copies_that_are_up_to_date_are_left_alone(home: Home) -> None:
    """Asking twice writes once."""
    ask(home, COUNT)
    before = {path: path.stat().st_ino for path in home.segments.iterdir()}
    ask(home, COUNT)
    assert {path: path.stat().st_ino for path in home.segments.iterdir()} == before


def test_a_home_without_history_is_not_given_one(tmp_path: Path) -> None:
    """Asking the wrong folder leaves it as it was."""
    with pytest.raises(alone.NoHistory, match="is it the right --home"):
        ask(Home(tmp_path), COUNT)
    assert list(tmp_path.iterdir()) == []


def test_a_history_that_someone_keeps_is_said_to_be_in_use(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that does not answer, say: no guess is made."""
    monkeypatch.setattr(alone, "PATIENCE", 0.2)
    with claimed(home.history), pytest.raises(HomeInUse):
        ask(home, COUNT)


def test_the_position_says_which_event_the_answer_knows(home: Home) -> None:
    """And the files' checksums."""
    with reading.opened(home) as history:
        assert (history.position.position, history.position.tables) == (EVENTS, EVENTS)
    there = copies.read(home.segments)
    assert there is not None
    assert {name: sums.of(home.segments / name) for name in there.files} == there.files
