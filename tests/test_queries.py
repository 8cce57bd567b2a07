"""The questions in `docs/queries.md` are asked as they stand."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from daemon.events.types import DaemonStarted, Event, JobRejected
from daemon.faults import Fault
from daemon.history import query, reading
from daemon.settings import Home
from tests.history.homes import made, record
from tests.stories import accepted, cancel_requested, cancelled, created, failed, previewed, source

PAGE = (Path(__file__).parent.parent / "docs" / "queries.md").read_text()
QUESTIONS = re.findall(r"^## (.*?)\n.*?```sql\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Something of everything: finished, stopped and failed pictures, a refused file."""
    home = made(tmp_path_factory.mktemp("asked") / "home", range(1, 7))
    fault = Fault(path="$.stepz", line=1, column=3, excerpt="", message="there is no key stepz")
    stopped: list[Event] = [accepted(7, 7), created(7, 7), previewed(1, 7, 7), previewed(2, 7, 7)]
    more: Sequence[Event] = [
        *stopped, cancel_requested(7, 7), cancelled(7, 7), accepted(8, 8), created(8, 8), failed(8, 8),
        DaemonStarted(version="0", host="h", port=1, pid=1, devices=["cpu"], model="demo"),
        JobRejected(source=source("c99"), faults=[fault]),
    ]  # fmt: skip
    record(home, more)
    return home


def test_there_are_questions() -> None:
    """A page that was written another way must not pass for one that works."""
    assert len(QUESTIONS) >= 15


@pytest.mark.parametrize(("title", "question"), QUESTIONS, ids=[title for title, _ in QUESTIONS])
def test_a_question_is_answered(home: Home, title: str, question: str) -> None:
    """With rows."""
    with reading.opened(home) as history:
        answer = query.as_text(history.connection, question)
        rows = list(answer.rows)
    assert len(rows) >= 1
    assert all(len(row) == len(answer.names) for row in rows)


def test_the_story_of_a_picture_is_whole(home: Home) -> None:
    """The last question on the page goes back to the prompt."""
    with reading.opened(home) as history:
        rows = list(query.as_text(history.connection, QUESTIONS[-1][1]).rows)
    assert [row[2] for row in rows][-1] == "FinalWritten"
