"""`safelight sql`: rows as a table, JSON or CSV; a broken query shows its place."""

import csv
import io
import json
import subprocess
import sys

import pytest
from rich.cells import cell_len

from daemon.commands import rows
from daemon.events.codec import KEPT
from daemon.settings import Home
from tests.commands.typing import typed
from tests.history.homes import EACH

COUNT = "SELECT type, count(*) AS n FROM events GROUP BY type ORDER BY type"


def test_a_table_in_a_pipe_is_plain(past: Home) -> None:
    """Columns in line, numbers to the right, no colour, no box, nothing cut."""
    answer = typed(past, "sql", COUNT)
    assert answer.code == 0
    assert answer.lines[:3] == ["type             n", "--------------  --", "FinalWritten     8"]
    assert "\x1b" not in answer.out


def test_rows_for_programs(past: Home) -> None:
    """One array of objects: numbers as numbers, JSON as JSON, times as the API has them, NULL as null."""
    answer = typed(
        past,
        "sql",
        "SELECT seq, ts, frame, data, 'nan'::DOUBLE AS x, hash, 1 AS a, 2 AS a FROM events",
        "--json",
    )
    first = answer.rows[0]
    assert (first["seq"], first["frame"], first["x"], first["a"], first["a_1"]) == (1, None, None, 1, 2)
    assert first["data"]["prompt"]["prompt"] == "a red fox"
    assert first["ts"].endswith("Z")
    assert len(first["hash"]) == 2 * KEPT
    assert len(answer.rows) == 8 * EACH
    assert typed(past, "sql", "SELECT 1 AS one WHERE false", "--json").rows == []


def test_rows_for_spreadsheets(past: Home) -> None:
    """What a reader of CSV gets back is what was there; NULL is nothing, an empty text is quoted."""
    query = "SELECT 'a,\"b\"\nc' AS t, NULL AS n, '' AS e, 1.5 AS x"
    answer = typed(past, "sql", query, "--csv")
    assert list(csv.reader(io.StringIO(answer.out))) == [["t", "n", "e", "x"], ['a,"b"\nc', "", "", "1.5"]]
    assert answer.out.endswith(',,"",1.5\n')


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("SELECT sted FROM frames", "LINE 1: SELECT sted FROM frames\n               ^"),
        ("SELECT id,\nseed +\nFROM frames", "LINE "),
        ("SELECT *\nFROM frame", "LINE 2: FROM frame\n             ^"),
        ("SELECT id,\n 'x'::INT FROM frames", "LINE 2:  'x'::INT FROM frames\n            ^"),
        ("", "the query is empty"),
    ],
)
def test_a_broken_query_shows_its_place(past: Home, query: str, place: str) -> None:
    """In DuckDB's own words, on standard error, with an exit code of its own."""
    answer = typed(past, "sql", query)
    assert (answer.code, answer.out) == (2, "")
    assert place in answer.err


def test_whatever_is_no_question_of_rows_is_answered_too(past: Home) -> None:
    """Several statements, the last one's rows; EXPLAIN; SHOW TABLES."""
    assert typed(past, "sql", "CREATE TEMP TABLE t AS SELECT 7 AS n; SELECT n FROM t;").lines[-1] == "7"
    assert typed(past, "sql", "EXPLAIN SELECT 1").code == 0
    tables = typed(past, "sql", "SHOW TABLES").lines
    assert {"events", "frames", "jobs", "throughput", "preview_written"} <= set(tables)


def test_a_prompt_cannot_command_the_terminal(past: Home) -> None:
    """Its control characters are spelled out, in tables."""
    answer = typed(past, "sql", "SELECT 'a' || chr(27) || '[31m' || chr(10) || 'b' AS prompt")
    assert answer.lines[-1] == r"a\x1b[31m\nb"


def test_a_long_answer_is_shown_as_it_comes(past: Home) -> None:
    """Its first lines are there before the last row has been thought of, in little memory."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30)); "
        "from daemon.__main__ import main; main()"
    )
    query = "SELECT i, repeat('x', 100) AS x FROM range(100000000) AS r(i)"
    command = [sys.executable, "-c", program, "sql", query, "--home", str(past.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for number, line in zip(range(20_000), running.stdout, strict=False):
            if number >= 2:
                assert line.split()[0] == str(number - 2)
        running.stdout.close()  # as `| head` does
        assert running.stderr is not None
        assert running.stderr.read() == ""


def test_a_question_does_not_wait_for_what_it_does_not_need(past: Home) -> None:
    """Neither the web server nor the models' libraries are loaded for it."""
    program = (
        "import sys; from daemon.__main__ import cli; "
        "cli(sys.argv[1:], standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "sql", "SELECT 1", "--home", str(past.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert loaded.isdisjoint({"starlette", "uvicorn", "httpx", "torch", "PIL", "numpy", "watchfiles"})


def test_a_table_on_a_terminal_fits_it() -> None:
    """The widest columns give way; wide characters count for two."""
    names, numbers = ["id", "prompt", "path"], [True, False, False]
    some = [("1", "狐" * 40, "frames/task_1.png"), ("2", None, None)]
    lines = list(rows.as_table(names, numbers, some, 50))
    assert max(map(cell_len, lines)) <= 50
    assert lines[2].startswith(" 1  狐狐")
    assert "…" in lines[2]
    assert lines[3].split() == ["2", "NULL", "NULL"]
    assert json.loads("".join(rows.array(rows.as_objects(["a", "a"], [("1", None)])))) == [
        {"a": 1, "a_1": None}
    ]


def test_json_and_csv_at_once_make_no_sense(past: Home) -> None:
    """It is said in one line."""
    answer = typed(past, "sql", "SELECT 1", "--json", "--csv")
    assert (answer.code, answer.err) == (2, "safelight: choose one of --json and --csv\n")


def test_a_home_without_history_is_one_line(tmp_path: object) -> None:
    """What is missing, and what to do."""
    answer = typed(Home(tmp_path), "sql", "SELECT 1")  # type: ignore[arg-type]
    assert answer.code == 1
    assert answer.err == f"safelight: there is no history in {tmp_path}; is it the right --home?\n"
