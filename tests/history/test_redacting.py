"""Words that are to be forgotten: gone from every file, the chain holds, and no crash leaves half of it."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from msgspec.structs import replace

from daemon import png, reprints
from daemon.events import opening
from daemon.events.redaction import WORD
from daemon.events.types import Event, JobDuplicate, JobRejected
from daemon.faults import whole_fault
from daemon.history import reading, redacting
from daemon.settings import Home
from tests.commands.typing import typed
from tests.daemons import TIMEOUT
from tests.events.histories import files
from tests.history.homes import EACH, made, record, seal, served
from tests.history.test_audit import edited, places, verify
from tests.pictures import pixels, saved
from tests.stories import accepted, cancel_requested, created, deleted, finished, prompt, source

SECRET = "Zyxwvut"
"""In the words of job 9, and nowhere else."""
JOB = 9
FIRST = 8 * EACH + 1
"""The event that accepts it."""
PROMPT = prompt(f'{{"prompt": "{SECRET} at home", "negative_prompt": "no {SECRET}"}}'.encode())
FILE = f'{{"prompt": "{SECRET} at home"}}'.encode()
DROP = replace(source("c9"), name=f"{SECRET}.json", sha256=hashlib.sha256(FILE).hexdigest())


def story(home: Home) -> list[Event]:
    """A job of one picture that carries its words, from a file in `done/`, cancelled too late by somebody."""
    done = finished(JOB, JOB)
    done = replace(done, recipe=replace(done.recipe, prompt=PROMPT))
    content = png.with_texts(saved(), reprints.texts(done.recipe))
    done = replace(done, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    (home.root / done.path).write_bytes(content)
    home.done.mkdir()
    (home.done / f"{SECRET}~2.json").write_bytes(FILE)
    begun = replace(accepted(JOB, JOB), prompt=PROMPT, source=DROP)
    asked = replace(cancel_requested(JOB, JOB), by=f"{SECRET} at the command line")
    return [begun, created(JOB, JOB), asked, done, deleted(JOB, JOB)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The words are in a segment, the journal, the database and one that was set aside, in the copies for
    readers, in the picture, and in the prompt file."""
    home = made(tmp_path_factory.mktemp("original") / "home")
    record(home, story(home))
    seal(home)
    record(home, [JobDuplicate(job=JOB, source=DROP)], killed=True)
    loose = {file: file.read_bytes() for file in files(home.history) if file.exists()}
    reading.bring_up(home)  # which seals as it ends
    for file, content in loose.items():
        file.write_bytes(content)
    shutil.copy(home.history, home.root / "history.broken-1.duckdb")
    return home


@pytest.fixture
def home(original: Home, tmp_path: Path) -> Home:
    """A copy to change."""
    shutil.copytree(original.root, tmp_path / "home")
    return Home(tmp_path / "home")


def tellers(home: Home) -> set[str]:
    """The files of a home in which the words can be read: as bytes, or by whoever opens them."""
    every = [path for path in home.root.rglob("*") if path.is_file()]
    return {str(path.relative_to(home.root)) for path in every if SECRET in f"{path.name} {_read(path)}"}


def _read(path: Path) -> str:
    content = path.read_bytes()
    raw = content.decode("latin-1")
    match path.suffix:
        case ".parquet":
            return raw + str(
                duckdb.execute("SELECT row::VARCHAR FROM read_parquet(?) AS row", [str(path)]).fetchall()
            )
        case ".duckdb":
            with duckdb.connect(path, read_only=True) as connection:
                names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
                tables = [f'SELECT row::VARCHAR FROM "{name}" AS row' for (name,) in names]
                return raw + str([connection.execute(table).fetchall() for table in tables])
        case ".png" if content.startswith(png.SIGNATURE):
            return raw + str(png.texts(content))
        case _:
            return raw


def test_no_file_of_the_home_keeps_the_words(home: Home) -> None:
    """Neither as bytes nor as rows, where they were in nine files of seven kinds; all else is as it was."""
    before = tellers(home)
    assert before >= {"history.duckdb", "history.broken-1.duckdb", "history.journal"}
    assert before >= {f"history/{name}.parquet" for name in ("tail", "frames", "jobs")}
    assert before >= {f"frames/task_{JOB}.png", f"done/{SECRET}~2.json"}
    assert any(name.startswith("history/0000") for name in before)
    columns = "seq, epoch_us(ts), type, job, frame, cause, hash"
    ask = f"SELECT {columns} FROM events WHERE type <> 'EventRedacted' ORDER BY seq"
    rows = asked(home, ask)
    answer = typed(home, "redact", "--job", str(JOB), "--reason", "they asked")
    assert answer.code == 0, answer.err
    assert tellers(home) == set()
    assert asked(home, ask) == rows
    assert tellers(home) == set()
    assert asked(home, f"SELECT prompt, negative_prompt FROM frames WHERE id = {JOB}") == [(WORD, WORD)]
    assert asked(home, f"SELECT prompt, source FROM jobs WHERE id = {JOB}") == [(WORD, WORD)]
    assert asked(home, "SELECT DISTINCT prompt FROM frames WHERE id < 9") == [("a red fox",)]
    assert places(home) == []


def asked(home: Home, query: str) -> list[tuple[object, ...]]:
    """Through the copies, as `safelight sql` does."""
    with reading.opened(home) as history:
        return history.connection.execute(query).fetchall()


def test_it_is_recorded_who_took_what_and_why(home: Home) -> None:
    """An event for each event; the numbers, seeds and file names that are not a person's stay."""
    answer = typed(home, "redact", "--job", str(JOB), "--reason", "they asked", "--json")
    told = [one["place"] for one in answer.rows]
    assert told == [f"event {FIRST}", f"event {FIRST + 2}", f"event {FIRST + 3}", f"event {FIRST + 5}",
                    f"frames/task_{JOB}.png", f"done/{SECRET}~2.json"]  # fmt: skip
    found = asked(home, "SELECT event, job, reason, fields::VARCHAR FROM event_redacted ORDER BY seq")
    assert found[0] == (FIRST, JOB, "they asked", '["prompt.prompt","prompt.negative_prompt","source.name"]')
    assert [row[0] for row in found] == [FIRST, FIRST + 2, FIRST + 3, FIRST + 5]
    data = asked(home, f"SELECT data::VARCHAR FROM events WHERE seq = {FIRST}")[0][0]
    left = json.loads(str(data))
    assert left["prompt"] | {"prompt": SECRET, "negative_prompt": SECRET} != left["prompt"]
    assert (left["seeds"], left["prompt"]["steps"], left["source"]["claim"]) == ([7], PROMPT.steps, "c9")


def test_a_picture_loses_its_texts_and_not_a_pixel(home: Home) -> None:
    """The log says how the file is from now on, so that verify still holds it to that."""
    path = home.frames / f"task_{JOB}.png"
    before = path.read_bytes()
    typed(home, "redact", "--job", str(JOB))
    assert png.texts(path.read_bytes()) == {}
    assert pixels(path.read_bytes()) == pixels(before)
    assert places(home) == []
    path.write_bytes(before)
    assert places(home) == [f"frames/task_{JOB}.png"]


def test_twice_is_as_good_as_once(home: Home) -> None:
    """Nothing is left to take, and nothing more is recorded."""
    typed(home, "redact", "--job", str(JOB))
    events = asked(home, "SELECT max(seq) FROM events")
    answer = typed(home, "redact", "--job", str(JOB))
    assert (answer.code, answer.out) == (0, "there are no words to forget there\n")
    assert asked(home, "SELECT max(seq) FROM events") == events


def test_more_can_be_taken_later(home: Home) -> None:
    """First who asked, then the rest; the chain still leads to what was recorded at first."""
    typed(home, "redact", "--event", str(FIRST + 2))
    assert places(home) == []
    typed(home, "redact", "--job", str(JOB))
    assert tellers(home) == set()
    assert places(home) == []


def test_a_rehearsal_changes_nothing(home: Home) -> None:
    """But says what would go."""
    before = {path: path.read_bytes() for path in home.root.rglob("*.p*") if path.is_file()}
    answer = typed(home, "redact", "--job", str(JOB), "--dry-run")
    assert f"frames/task_{JOB}.png: its texts" in answer.lines
    assert answer.lines[-1] == "nothing was changed"
    assert {path: path.read_bytes() for path in home.root.rglob("*.p*") if path.is_file()} == before
    assert not redacting.unfinished(home)


def test_a_rejected_file_goes_with_what_was_said_of_it(home: Home) -> None:
    """By the number of its event: it never became a job."""
    home.rejected.mkdir()
    (home.rejected / f"{SECRET}.txt").write_bytes(b"{" + FILE)
    (home.rejected / f"{SECRET}.txt.error.json").write_text(SECRET)
    drop = replace(DROP, claim="c10", sha256=hashlib.sha256(b"{" + FILE).hexdigest())
    record(home, [JobRejected(source=drop, faults=[whole_fault(f"{SECRET} is no key", "Leave it out.")])])
    typed(home, "redact", "--job", str(JOB))
    typed(home, "redact", "--event", str(asked(home, "SELECT max(seq) FROM job_rejected")[0][0]))
    assert tellers(home) == set()
    assert list(home.rejected.iterdir()) == []
    assert places(home) == []


def test_a_job_with_pictures_to_make_keeps_its_words(home: Home) -> None:
    """They would be made of `[redacted]`."""
    record(home, [accepted(10, 10)])
    answer = typed(home, "redact", "--job", "10")
    assert answer.code == 1
    assert answer.err == "safelight: job 10 has not ended; let it end or cancel it first\n"
    assert not redacting.unfinished(home)


@pytest.mark.anyio
async def test_a_running_daemon_is_to_be_stopped_first(home: Home) -> None:
    """In one line."""
    from anyio import to_thread

    async with served(home):
        answer = await to_thread.run_sync(lambda: typed(home, "redact", "--job", str(JOB)))
    assert answer.code == 1
    assert answer.err.startswith("safelight: the daemon is running; stop it first")


def test_words_taken_out_without_an_event_are_found(home: Home) -> None:
    """The chain alone would hold: whoever edits a row can leave the right digest behind."""
    digest = asked(home, f"SELECT sha256(data::VARCHAR) FROM events WHERE seq = {FIRST}")[0][0]
    forged = f'(\'{{"_redacted":"{digest}",\' || (data::VARCHAR)[2:])::JSON'
    edited(home, f"UPDATE events SET data = {forged} WHERE seq = {FIRST}")
    told = [one.what for one in verify(home).findings if one.place == f"event {FIRST}"]
    assert told[0] == "words were taken out of it, and no event says so"


def test_nothing_else_can_be_put_where_the_words_were(home: Home) -> None:
    """What was left is in the chain too, with the event that says so."""
    typed(home, "redact", "--job", str(JOB))
    edited(
        home,
        f"UPDATE events SET data = replace(data, '\"steps\":24', '\"steps\":25')::JSON WHERE seq = {FIRST}",
    )
    told = [one.what for one in verify(home).findings if one.place == f"event {FIRST}"]
    assert any("it is not what event" in what for what in told)


def test_words_that_come_back_are_found(home: Home) -> None:
    """From an old copy of the files, say."""
    old = Home(shutil.copytree(home.root, home.root.with_name("old")))
    typed(home, "redact", "--job", str(JOB))
    with duckdb.connect(old.history, read_only=True) as connection:
        ((data,),) = connection.execute(f"SELECT data::VARCHAR FROM events WHERE seq = {FIRST}").fetchall()
    edited(home, f"UPDATE events SET data = '{data}'::JSON WHERE seq = {FIRST}")
    told = [one.what for one in verify(home).findings if one.place == f"event {FIRST}"]
    assert any("says that its words are gone, but they are there" in what for what in told)


def test_without_its_database_a_redacted_history_comes_back_from_its_segments(home: Home) -> None:
    """They have lost the words too, and still prove themselves."""
    typed(home, "redact", "--job", str(JOB))
    home.history.unlink()
    assert asked(home, f"SELECT prompt FROM frames WHERE id = {JOB}") == [(WORD,)]
    assert places(home) == []


CUT_OFF = """
import os, sys
from daemon.__main__ import cli

at = int(sys.argv.pop(1))
seen = 0

def die(event, args):
    global seen
    made = event == "open" and args[1] is None and args[2] & os.O_CREAT
    if made or event in ("os.rename", "os.remove"):
        seen += 1
        if seen == at:
            os._exit(99)

sys.addaudithook(die)
cli()
"""


def cut_off(home: Home, at: int) -> bool:
    """Redact in a process that ends just before its `at`-th rename, deletion or making of a file; False if it
    came to its end."""
    command = [sys.executable, "-c", CUT_OFF, str(at), "redact", "--job", str(JOB), "--home", str(home.root)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert ended.returncode in (0, 99), ended.stderr
    return ended.returncode == 99


def check_whole(home: Home) -> None:
    """The next to open the history finds all of the words or none, and nothing wrong."""
    count, told = asked(
        home, "SELECT count(*)::BIGINT, count(*) FILTER (type = 'EventRedacted')::BIGINT FROM events"
    )[0]
    assert told in (0, 4)
    assert count == FIRST + 5 + int(str(told))
    if told:
        assert tellers(home) == set()
    assert places(home) == []


@pytest.mark.parametrize("at", [9, 15, 21, 27])
def test_cut_off_anywhere_it_is_finished_by_whoever_comes_next(home: Home, at: int) -> None:
    """Some of the moments; `make torture` has them all."""
    assert cut_off(home, at)
    check_whole(home)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_cut_off_everywhere_it_is_finished_by_whoever_comes_next(original: Home, tmp_path: Path) -> None:
    """At each rename, deletion and making of a file; twice in a row, too."""
    at, cut = 0, True
    while cut:
        at += 1
        home = Home(shutil.copytree(original.root, tmp_path / str(at)))
        cut = cut_off(home, at)
        if at % 3 == 0:
            cut_off(home, 5)
        check_whole(home)
        shutil.rmtree(home.root)
    assert at > 30


def test_damage_is_not_sealed_anew_with_the_rest(home: Home) -> None:
    """A row that is not what was recorded stops it, and verify still names the row."""
    edited(home, f"UPDATE events SET cause = 3 WHERE seq = {FIRST + 1}")
    answer = typed(home, "redact", "--job", str(JOB))
    assert answer.code == 1
    assert f"event {FIRST + 1} is not what was recorded" in answer.err
    assert f"event {FIRST + 1}" in places(home)
    assert opening.journal_of(home.history).exists()
