"""`export`, `replay`, `rebuild`, `verify`, `prune`: what they do to files, and what they say."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from daemon.events.codec import EPOCH, Row, unchained
from daemon.settings import Home
from tests.commands.typing import typed
from tests.daemons import Daemon
from tests.history.homes import EACH, picture, record
from tests.stories import accepted, created, previewed

EVENTS = 8 * EACH


def test_an_exported_log_still_proves_itself(past: Home, tmp_path: Path) -> None:
    """JSON Lines hold the very bytes that the hashes were made of."""
    out = tmp_path / "log.jsonl"
    assert typed(past, "export", "--out", str(out)).out == f"{EVENTS} events are in {out}\n"
    rows = []
    for line in out.read_bytes().splitlines():
        told = json.loads(line)
        data = line[line.index(b'"data":') + 7 : line.index(b',"hash"')]
        ts = datetime.fromisoformat(told["ts"]) - EPOCH
        kept = {name: told[name] for name in ("seq", "type", "version", "job", "frame", "cause")}
        digest = bytes.fromhex(told["hash"])
        rows.append(Row(ts=ts // timedelta(microseconds=1), data=data, hash=digest, **kept))
    assert unchained(rows) is None
    assert len(rows) == EVENTS


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_an_export_is_what_was_asked_for(past: Home, tmp_path: Path, suffix: str) -> None:
    """A part of the log, in a format that the file's name says."""
    out = tmp_path / f"it's.{suffix}"
    out.write_text("what was there before")
    words = ["export", "--out", str(out), "--type", "FinalWritten", "--since", "10", "--until", str(4 * EACH)]
    assert json.loads(typed(past, *words, "--json").out) == {"file": str(out), "events": 3}
    reader = {"csv": "read_csv", "parquet": "read_parquet", "jsonl": "read_json"}[suffix]
    found = duckdb.execute(f"SELECT frame, type FROM {reader}(?) ORDER BY seq", (str(out),)).fetchall()
    assert found == [(frame, "FinalWritten") for frame in (2, 3, 4)]


def test_an_export_that_fails_leaves_what_was_there(past: Home, tmp_path: Path) -> None:
    """No half file, and one line that says why."""
    (tmp_path / "folder.jsonl").mkdir()
    answer = typed(past, "export", "--out", str(tmp_path / "folder.jsonl"))
    assert answer.code == 1
    assert answer.err.startswith("safelight: ")
    assert answer.err.count("\n") == 1
    assert list(tmp_path.glob(".*")) == []


def test_the_log_goes_through_a_pipe(past: Home) -> None:
    """Without --out."""
    lines = typed(past, "export", "--frame", "3").lines
    assert [json.loads(line)["frame"] for line in lines] == [3] * (EACH - 1)


def test_the_frames_as_they_were(past: Home) -> None:
    """In the middle of the third picture: two done, one running, no others."""
    rows = typed(past, "replay", "--until", str(2 * EACH + 4), "--json").rows
    assert [(row["id"], row["status"], row["step"]) for row in rows] == [
        (1, "done", 4),
        (2, "done", 4),
        (3, "running", 2),
    ]
    assert typed(past, "replay", "--until", "4").lines[-1].split()[:5] == ["1", "1", "running", "2", "4"]


def test_the_past_in_a_file_of_its_own(past: Home, tmp_path: Path) -> None:
    """Log, tables and views, as of then, and equal to what the tables were at that event."""
    out = tmp_path / "past.duckdb"
    words = ["replay", "--until", str(2 * EACH), "--out", str(out), "--json"]
    assert json.loads(typed(past, *words).out) == {"file": str(out), "position": 2 * EACH}
    with duckdb.connect(out, read_only=True) as connection:
        assert connection.execute("SELECT count(*)::BIGINT, max(seq) FROM events").fetchall() == [(14, 14)]
        assert connection.execute("SELECT id, done FROM jobs ORDER BY id").fetchall() == [(1, 1), (2, 1)]
        assert connection.execute("SELECT count(*)::BIGINT FROM preview_written").fetchall() == [(6,)]
        assert connection.execute("SELECT pictures FROM throughput").fetchall() == [(2,)]
    assert [path.name for path in tmp_path.glob("*past.duckdb*")] == ["past.duckdb"]


@pytest.mark.parametrize(
    ("until", "error"), [("999", "the log ends at event 56"), ("2020-01-01", "the log begins at")]
)
def test_a_moment_outside_the_log_is_said(past: Home, until: str, error: str) -> None:
    """Nothing is guessed."""
    answer = typed(past, "replay", "--until", until)
    assert answer.code == 2
    assert error in answer.err


def spoil(home: Home) -> None:
    """A strange hand in the tables."""
    with duckdb.connect(home.history) as connection:
        connection.execute("UPDATE frames SET seed = 99 WHERE id = 2")


def test_tables_that_were_changed_are_made_anew(past: Home) -> None:
    """Told first, then put right."""
    spoil(past)
    told = typed(past, "rebuild", "--dry-run", "--json")
    assert told.code == 1
    assert told.rows == [{"table": "frames", "key": "2", "found": {"seed": 99}, "expected": {"seed": 7}}]
    assert "8 frames, 8 jobs" in typed(past, "rebuild").out
    assert typed(past, "rebuild", "--dry-run").lines == ["the tables are what the log says"]


def test_verify_says_each_thing_in_a_row(past: Home) -> None:
    """And by its exit code."""
    assert typed(past, "verify").code == 0
    (past.frames / "task_3.png").unlink()
    answer = typed(past, "verify")
    assert answer.code == 1
    assert answer.lines[2:] == ["frames/task_3.png  frame 3: it is missing"]
    assert "1 thing is wrong" in answer.err
    assert typed(past, "verify", "--json").rows == [
        {"place": "frames/task_3.png", "what": "frame 3: it is missing"}
    ]


def test_prune_says_first_what_would_go(past: Home) -> None:
    """A dry run deletes nothing; the run itself what it said."""
    words = ["prune", "--before", "2100-01-01"]
    would = typed(past, *words, "--dry-run", "--json")
    assert len(list(past.frames.iterdir())) == 8
    assert [row["frame"] for row in would.rows] == list(range(1, 9))
    assert typed(past, *words, "--project", "another").out == "0 pictures deleted, 0.0 MB\n"
    assert typed(past, *words, "--json").rows == would.rows
    assert list(past.frames.iterdir()) == []
    assert typed(past, "log", "--last", "1").out.count("FinalDeleted") == 1
    assert typed(past, "verify").code == 0


def test_prune_wants_a_time(past: Home) -> None:
    """A bare number could mean anything."""
    answer = typed(past, "prune", "--before", "30")
    assert answer.code == 2
    assert "is no time; say" in answer.err


def test_beside_a_running_daemon(daemon: Daemon) -> None:
    """Each of them asks it: sql, replay, export, rebuild, verify, prune."""
    home = daemon.home
    daemon.drop("cat.json", {"prompt": "a cat", "steps": 2, "width": 64, "height": 64})
    end = daemon.wait_for_type("PreviewDeleted")
    assert typed(home, "sql", "SELECT max(seq) AS n FROM events", "--json").rows[0]["n"] >= end["seq"]
    assert typed(home, "replay", "--until", str(end["seq"]), "--json").rows[0]["status"] == "done"
    assert len(typed(home, "export", "--until", str(end["seq"])).lines) == end["seq"]
    assert "1 frames, 1 jobs" in typed(home, "rebuild").out
    checked = typed(home, "verify")
    assert (checked.code, checked.out) == (0, "")
    assert "not checked: history.duckdb" in checked.err
    assert [row["frame"] for row in typed(home, "prune", "--before", "2100-01-01", "--json").rows] == [1]
    assert daemon.wait_for_type("FinalDeleted")["data"]["why"] == "pruned"
    assert list(home.frames.iterdir()) == []
    assert daemon.stop() == 0
    assert typed(home, "verify").err.endswith("all is as it was recorded\n")


def test_a_start_finishes_and_misses(daemon: Daemon) -> None:
    """A real start looks the pictures over once, in the background."""
    home = daemon.home
    assert daemon.stop() == 0
    record(home, [event for number in (1, 2) for event in picture(home, number)])
    (home.frames / "task_1.png").unlink()
    daemon.start()
    assert daemon.wait_for_type("FileMissing")["data"] == {"frame": 1, "job": 1, "path": "frames/task_1.png"}
    assert daemon.stop() == 0


def test_what_is_open_is_in_the_replay_too(past: Home) -> None:
    """A frame that is still being made."""
    record(past, [accepted(9, 9), created(9, 9), previewed(3, 9, 9)])
    assert typed(past, "replay", "--until", str(EVENTS + 3), "--json").rows[-1]["status"] == "running"
