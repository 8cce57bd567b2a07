"""`status`: the table a person reads, the JSON a program reads, and the time that is left."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.commands import overview
from daemon.commands.overview import Overview
from tests.commands.conftest import SLOW, Type
from tests.daemons import Daemon

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def preview(frame: int, step: int, seconds: float) -> dict[str, Any]:
    """A step's event, so many seconds after noon."""
    ts = (NOON + timedelta(seconds=seconds)).isoformat()
    return {"type": "PreviewWritten", "ts": ts, "data": {"frame": frame, "step": step}}


def frame(number: int, status: str, **more: Any) -> dict[str, Any]:
    """A row of `/api/status`."""
    plain = {"job": 1, "step": 0, "steps": 20, "priority": 0, "prompt": "a fox", "width": 64, "height": 64}
    return {"id": number, "status": status, **plain, **more}


def seen(*frames: dict[str, Any], recent: list[dict[str, Any]] | None = None, **more: Any) -> Overview:
    """A daemon's answers."""
    state: dict[str, Any] = {
        "version": "0.1.0",
        "model": "demo",
        "devices": ["cpu"],
        "loading": [],
        "paused_by": None,
        "failed": [],
    }
    state |= {"frames": list(frames), **more}
    return Overview(url="http://here", state=state, recent=recent or [], inbox=None)


def test_the_pace_is_of_the_last_previews_of_this_attempt() -> None:
    """Steps may be skipped, other frames' do not count, and an attempt before an interruption neither."""
    before = [preview(1, 1, 0), preview(1, 2, 100), preview(1, 9, 200)]
    now = [preview(1, 1, 1000), preview(2, 5, 1001), preview(1, 3, 1004), preview(1, 5, 1008)]
    assert overview.seconds_per_step(1, [*before, *now]) == 2.0
    assert overview.seconds_per_step(2, now) is None
    assert overview.seconds_per_step(1, []) is None


def test_the_queue_takes_what_its_pixels_and_steps_take() -> None:
    """A picture of four times the pixels takes four times as long."""
    running = frame(1, "running", step=5)
    large = frame(2, "queued", width=128, height=128, steps=10)
    told = seen(running, large, recent=[preview(1, 1, 0), preview(1, 5, 8)])
    assert overview.left(told) == {1: 30.0}
    assert overview.left_in_all(told) == pytest.approx(30 + 10 * 2 * 4)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (125, "2:05 min"), (3599.6, "1:00 h"), (12000, "3:20 h")],
)
def test_durations_are_short(seconds: float, words: str) -> None:
    """Two numbers at most."""
    assert overview.duration(seconds) == words


def test_the_table_says_all_at_a_glance(capsys: pytest.CaptureFixture[str]) -> None:
    """Running first, then the queue in its order, the rest counted; markup in a prompt is words."""
    waiting = [frame(number, "queued", prompt="[bold]ten") for number in range(2, 14)]
    waiting[11]["priority"] = 5
    failed = [{**frame(20, "failed", error="no [red]memory"), "finished_at": "2026-11-24T12:00:00Z"}]
    loading = [{"device": "cpu", "what": "loading demo", "done": 0.4262}]
    told = seen(frame(1, "running", step=5), *waiting, paused_by="ann", failed=failed, loading=loading)
    inbox = {"waiting": [{"name": "x.json", "why": "still being written"}], "more": 0, "ignored": 1}
    overview.show(Overview(url=told.url, state=told.state, recent=[], inbox=inbox))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Safelight 0.1.0 at http://here · cpu · model demo"
    assert lines[1] == "cpu: loading demo 43 %"
    assert lines[2].startswith("paused by ann: nothing new begins")
    assert lines[4].split() == ["frame", "job", "step", "left", "prompt"]
    assert lines[5].split() == ["1", "1", "5/20", "–", "runs", "a", "fox"]
    assert lines[6].split() == ["13", "1", "20", "waits", "(+5)", "[bold]ten"]
    assert "… and 2 more wait" in lines
    assert "inbox: x.json waits – still being written" in lines
    assert "inbox: 1 entry is ignored (not a prompt file's name)" in lines
    assert lines[-1].split() == ["2026-11-24", "12:00", "frame", "20:", "no", "[red]memory"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_long_prompt_gives_way_to_the_numbers(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal of any width; in a pipe nothing is cut off, and nothing is coloured."""
    words = "a red fox in the snow under a pale winter moon, " * 5
    told = seen(frame(1, "running", step=5, prompt=words), frame(2, "queued", prompt=words))
    overview.show(told)
    piped = capsys.readouterr().out
    assert piped.count(" ".join(words.split())) == 2
    assert "\x1b" not in piped
    monkeypatch.setattr(overview, "terminal_width", lambda: width)
    overview.show(told)
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["frame", "1", "2"]
    assert lines[1].split()[:6] == ["1", "1", "5/20", "–", "runs", "a"]
    assert all(len(line) <= width for line in lines)
    assert all(line.endswith("…") for line in lines[1:])


def test_the_status_of_a_real_daemon(shared: Daemon, safelight: Type) -> None:
    """While it runs: step of steps, and seconds left once the pace is known."""
    assert 'nothing to do; queue a picture with: safelight submit "a red fox"' in safelight("status").stdout
    safelight("submit", "a slow cat", *SLOW, "--count", "2")
    shared.wait_for_step(5)
    status = json.loads(safelight("status", "--json").stdout)
    running, waiting = status["frames"]
    assert (running["status"], waiting["status"]) == ("running", "queued")
    assert running["seconds_left"] > 0
    assert status["seconds_left"] > running["seconds_left"]
    table = safelight("status").stdout.splitlines()
    assert table[3].split()[-4:] == ["runs", "a", "slow", "cat"]
    assert table[-1].startswith("all done in about ")
    assert safelight("cancel", "--all").returncode == 0
