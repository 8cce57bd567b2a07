"""`safelight log`: what happened, filtered, and what happens, through restarts of the daemon."""

import json
import subprocess
import sys

import pytest

from daemon.commands import log
from daemon.settings import Home
from tests.commands.typing import typed
from tests.daemons import Daemon
from tests.history.homes import EACH

EVENTS = 8 * EACH


def test_the_newest_events_or_all_since_a_moment(past: Home) -> None:
    """By number, by time, by age."""
    assert len(typed(past, "log").lines) == 50
    assert len(typed(past, "log", "--last", "3").lines) == 3
    assert len(typed(past, "log", "--since", "1").lines) == EVENTS
    assert len(typed(past, "log", "--since", "1 day").lines) == EVENTS
    assert len(typed(past, "log", "--since", str(EVENTS)).lines) == 1
    assert typed(past, "log", "--since", "2100-01-01").lines == []


def test_a_line_says_when_what_and_about_what(past: Home) -> None:
    """In one line each."""
    line = typed(past, "log", "--frame", "2", "--type", "preview_written", "--last", "1").lines[-1]
    assert "PreviewWritten    frame=2  job=2  step=4" in line


def test_a_rejected_file_is_told_by_its_name_and_its_first_fault() -> None:
    """What else was recorded of it would push both out of the window."""
    source = {"kind": "file", "name": "my fox.json", "sha256": "f" * 64, "claim": "c", "index": 0}
    faults = [{"path": "$.steps", "message": "`steps` must be a whole number"}, {"message": "more"}]
    message = {"ts": "2026-11-25T10:00:00.123456Z", "seq": 7, "type": "JobRejected"}
    line = log.sentence({**message, "data": {"source": source, "faults": faults}})
    assert line == (
        "2026-11-25 10:00:00.123       7  JobRejected       "
        'source="my fox.json"  faults="`steps` must be a whole number (and 1 more)"'
    )


def test_filters_go_together(past: Home) -> None:
    """Type, job and frame; the newest of what is left."""
    rows = typed(past, "log", "--type", "FinalWritten", "--type", "FrameCreated", "--job", "3", "--json").rows
    assert [(row["type"], row["data"]["frame"]) for row in rows] == [("FrameCreated", 3), ("FinalWritten", 3)]
    assert typed(past, "log", "--type", "FinalWritten", "--last", "2", "--json").rows[0]["data"]["job"] == 7


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--type", "FinalWriten"), "there is no event FinalWriten; did you mean FinalWritten?"),
        (("--since", "yesterday"), "'yesterday' is no moment; say an event's number"),
    ],
)
def test_what_is_mistyped_is_said(past: Home, words: tuple[str, ...], error: str) -> None:
    """In one line, with what was probably meant."""
    answer = typed(past, "log", *words)
    assert answer.code == 2
    assert answer.err.startswith(f"safelight: {error}")
    assert answer.err.count("\n") == 1


def test_following_survives_the_daemons_restart(daemon: Daemon) -> None:
    """Nothing is missed and nothing told twice, though the daemon is killed and comes back elsewhere."""
    command = [sys.executable, "-m", "daemon", "log", "--follow", "--json", "--since", "1"]
    command += ["--home", str(daemon.home.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        told = [json.loads(following.stdout.readline())]
        daemon.kill()
        daemon.start()
        daemon.post("/api/jobs".removeprefix("/"), {"prompt": "a cat", "steps": 1, "width": 64, "height": 64})
        while told[-1]["type"] != "PreviewDeleted":
            told.append(json.loads(following.stdout.readline()))
        following.terminate()
        assert following.stderr is not None
        said = following.stderr.read()
    assert [message["seq"] for message in told] == list(range(1, len(told) + 1))
    assert [message["type"] for message in told].count("DaemonStarted") == 2
    assert "no daemon runs now; waiting for it" in said
    assert "the daemon is back" in said
