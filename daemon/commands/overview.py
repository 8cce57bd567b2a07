"""What `status` shows: the daemon's answers, with the time that is left worked out, as a table.

The pace of a frame is taken from its own latest previews, so that a frame that was made a second time, or
shares its device, is told by what it does now.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from daemon.commands import rows
from daemon.commands.options import terminal_width

Row = dict[str, Any]
_SHOWN = 10
"""Waiting pictures that are listed; the rest are counted."""
_PACE_OVER = 20
"""Previews over which a frame's pace is taken."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon's answers."""

    url: str
    state: Row
    """Of `/api/status`."""
    recent: list[Row]
    """The newest events of the log."""
    inbox: Row | None
    """Of `/api/inbox`."""


def seconds_per_step(frame: int, recent: list[Row]) -> float | None:
    """How long a running frame's steps take, in seconds, by its last previews; None before there are two."""
    steps: list[tuple[int, datetime]] = []
    for event in reversed(recent):
        if event["type"] != "PreviewWritten" or event["data"]["frame"] != frame:
            continue
        step = event["data"]["step"]
        if len(steps) == _PACE_OVER or (steps and step >= steps[-1][0]):
            break  # enough, or the end of an attempt before this one
        steps.append((step, _time(event["ts"])))
    if len(steps) < 2:
        return None
    (newest, now), (oldest, then) = steps[0], steps[-1]
    return (now - then).total_seconds() / (newest - oldest)


def left(seen: Overview) -> dict[int, float]:
    """Seconds that each running frame still takes, where its pace is known."""
    running = [frame for frame in seen.state["frames"] if frame["status"] == "running"]
    paces = {frame["id"]: seconds_per_step(frame["id"], seen.recent) for frame in running}
    return {
        frame["id"]: pace * (frame["steps"] - frame["step"])
        for frame in running
        if (pace := paces[frame["id"]]) is not None
    }


def left_in_all(seen: Overview) -> float | None:
    """Seconds until the queue is empty, with every waiting picture at the running one's pace per pixel."""
    running = [frame for frame in seen.state["frames"] if frame["status"] == "running"]
    known = [(frame, pace) for frame in running if (pace := seconds_per_step(frame["id"], seen.recent))]
    if not known:
        return None
    per_work: float = sum(pace / (frame["width"] * frame["height"]) for frame, pace in known) / len(known)
    waiting = [frame for frame in seen.state["frames"] if frame["status"] == "queued"]
    work: int = sum(frame["width"] * frame["height"] * frame["steps"] for frame in waiting)
    return (work * per_work + sum(left(seen).values())) / len(known)


def as_json(seen: Overview) -> Row:
    """The same for programs."""
    times = left(seen)
    frames = [{**frame, "seconds_left": times.get(frame["id"])} for frame in seen.state["frames"]]
    everything = {"url": seen.url, **seen.state, "frames": frames, "seconds_left": left_in_all(seen)}
    return {**everything, "inbox": seen.inbox}


def show(seen: Overview) -> None:
    """Print it for a person."""
    console = Console(highlight=False)
    for line in _head(seen):
        console.print(line, markup=False, soft_wrap=True)
    waiting = [frame for frame in seen.state["frames"] if frame["status"] == "queued"]
    waiting.sort(key=lambda frame: (-frame["priority"], frame["id"]))
    made = [frame for frame in seen.state["frames"] if frame["status"] in ("running", "stopping")]
    if made or waiting:
        console.print()
    table = _table(made, waiting[:_SHOWN], left(seen)) if made or waiting else ()
    for line in [*table, *_waiting(seen, waiting), *_inbox(seen.inbox), *_failures(seen.state["failed"])]:
        console.print(line, markup=False, soft_wrap=True)


def _head(seen: Overview) -> list[Text | str]:
    state = seen.state
    devices = ", ".join(name for name in state["devices"] if name != "auto") or "no device yet"
    lines: list[Text | str] = [
        f"Safelight {state['version']} at {seen.url} · {devices} · model {state['model']}"
    ]
    lines += [f"{stage['device']}: {_stage(stage)}" for stage in state["loading"]]
    if state["paused_by"] is not None:
        text = f"paused by {state['paused_by']}: nothing new begins; go on with: safelight resume"
        lines.append(Text(text, style="bold red"))
    if not any(frame["status"] in ("queued", "running", "stopping") for frame in state["frames"]):
        lines.append('nothing to do; queue a picture with: safelight submit "a red fox"')
    return lines


def _stage(stage: Row) -> str:
    """As the page says it: `loading demo 43 %`."""
    done = "" if stage["done"] is None else f" {stage['done'] * 100:.0f} %"
    return f"{stage['what']}{done}"


def _table(made: list[Row], waiting: list[Row], times: dict[int, float]) -> Iterator[Text]:
    """The prompt is the widest column, so it gives way to a narrow terminal; in a pipe nothing does."""
    names = ["frame", "job", "step", "left", "", "prompt"]
    cells = [
        *(
            (*_numbers(frame), f"{frame['step']}/{frame['steps']}", _left(frame, times), *_words(frame))
            for frame in made
        ),
        *((*_numbers(frame), str(frame["steps"]), "", *_words(frame)) for frame in waiting),
    ]
    head, _, *lines = rows.as_table(names, [True] * 4 + [False] * 2, cells, terminal_width())
    yield Text(head, style="dim")
    for number, line in enumerate(lines):
        yield Text(line, style="bold" if number < len(made) else "")


def _left(frame: Row, times: dict[int, float]) -> str:
    return duration(times[frame["id"]]) if frame["id"] in times else "–"


def _numbers(frame: Row) -> tuple[str, str]:
    return str(frame["id"]), str(frame["job"])


def _words(frame: Row) -> tuple[str, str]:
    priority = f" ({frame['priority']:+d})" if frame["priority"] else ""
    name = {"queued": "waits", "running": "runs", "stopping": "stops"}[frame["status"]]
    return f"{name}{priority}", " ".join(frame["prompt"].split())


def _waiting(seen: Overview, waiting: list[Row]) -> list[str]:
    more = len(waiting) - _SHOWN
    seconds = None if seen.state["paused_by"] else left_in_all(seen)
    lines = [f"… and {more} more wait"] if more > 0 else []
    if waiting and seconds is not None:
        lines.append(f"all done in about {duration(seconds)}")
    return lines


def _inbox(inbox: Row | None) -> list[str]:
    if inbox is None:
        return []
    lines = [f"inbox: {file['name']} waits – {file['why']}" for file in inbox["waiting"][:_SHOWN]]
    if (more := len(inbox["waiting"]) + inbox["more"] - _SHOWN) > 0:
        lines.append(f"inbox: … and {more} more files wait")
    if inbox["ignored"]:
        things = "entry is" if inbox["ignored"] == 1 else "entries are"
        lines.append(f"inbox: {inbox['ignored']} {things} ignored (not a prompt file's name)")
    return ["", *lines] if lines else []


def _failures(failed: list[Row]) -> list[str]:
    if not failed:
        return []
    lines = [
        f"  {frame['finished_at'][:16].replace('T', ' ')}  frame {frame['id']}: {frame['error']}"
        for frame in failed
    ]
    return ["", "last failures", *lines]


def duration(seconds: float) -> str:
    """`8 s`, `2:05 min`, `3:20 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def _time(text: str) -> datetime:
    return msgspec.convert(text, datetime)
