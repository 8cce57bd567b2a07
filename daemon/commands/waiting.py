"""Watching pictures from the command line until they end: bars at a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from typing import get_args

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from daemon.client import Client
from daemon.events.types import BY_NAME, JobAccepted
from daemon.projections import frames
from daemon.projections.frames import BEING_MADE, ENDED, Frame, FrameEvent
from daemon.settings import Home

_ABOUT_A_FRAME = {kind.__name__: kind for kind in get_args(FrameEvent)}


def until_ended(daemon: Client, home: Home, after: int, numbers: list[int], *, quiet: bool) -> list[Frame]:
    """The frames once all of them have ended, shown meanwhile. Raises `NotRunning` if the daemon ends first.

    `after` is a position before their jobs. `quiet` leaves standard output alone.
    """
    console = Console(stderr=quiet or not sys.stdout.isatty(), highlight=False)
    bars = _Bars(console, len(numbers)) if console.is_terminal else None
    known: dict[int, Frame] = {}
    with nullcontext() if bars is None else bars.progress:
        for frame in _changes(daemon, after, set(numbers)):
            known[frame.id] = frame
            if bars is not None:
                bars.show(frame)
            if frame.status in ENDED and not quiet:
                _print(sentence(frame, home), bars)
            if sum(each.status in ENDED for each in known.values()) == len(numbers):
                break
    return [known[number] for number in sorted(known)]


def sentence(frame: Frame, home: Home) -> str:
    """How it ended, in a line."""
    if frame.status == "done":
        assert frame.finished_at is not None
        assert frame.created_at is not None
        seconds = (frame.finished_at - frame.created_at).total_seconds()
        return f"frame {frame.id} done in {seconds:.1f} s: {home.root / str(frame.path)}"
    if frame.status == "cancelled":
        return f"frame {frame.id} cancelled after step {frame.step} of {frame.steps}"
    return f"frame {frame.id} failed: {frame.error}"


def _changes(daemon: Client, after: int, numbers: set[int]) -> Iterator[Frame]:
    """Each of the frames, whenever it has changed until its end."""
    known: dict[int, Frame] = {}
    for message in daemon.follow(after):
        kind = BY_NAME.get(message["type"])
        if kind is JobAccepted:
            accepted = msgspec.convert(message["data"], JobAccepted)
            ts = _time(message["ts"])
            new = [frame for frame in frames.queued(accepted, ts) if frame.id in numbers]
        elif message["type"] in _ABOUT_A_FRAME and (frame := known.get(message["data"]["frame"])):
            event = msgspec.convert(message["data"], _ABOUT_A_FRAME[message["type"]])
            new = [] if frame.status in ENDED else [frames.evolve(frame, event, _time(message["ts"]))]
        else:
            new = []
        known.update((frame.id, frame) for frame in new)
        yield from new


def _print(line: str, bars: "_Bars | None") -> None:
    """A line of its own, above the bars where those are on the same screen."""
    if bars is not None and not bars.progress.console.stderr:
        bars.progress.console.print(line, markup=False, soft_wrap=True)
    else:
        print(line, flush=True)


class _Bars:
    """One bar for each picture that is being made, and a line for those that are not."""

    def __init__(self, console: Console, count: int) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[steps]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._count = count
        self._ended: set[int] = set()
        self._tasks: dict[int, TaskID] = {}
        self._whole = self.progress.add_task("waiting", total=None, steps="")

    def show(self, frame: Frame) -> None:
        """Bring the screen up to a frame's state."""
        if frame.status in BEING_MADE:
            task = self._tasks.get(frame.id)
            if task is None:
                name = f"frame {frame.id}"
                task = self._tasks[frame.id] = self.progress.add_task(name, total=frame.steps, steps="")
            words = f"{frame.step}/{frame.steps}" + (" stopping" if frame.status == "stopping" else "")
            self.progress.update(task, completed=frame.step, steps=words)
        elif frame.id in self._tasks:
            self.progress.remove_task(self._tasks.pop(frame.id))
        if frame.status in ENDED:
            self._ended.add(frame.id)
        done = f"{len(self._ended)}/{self._count} pictures" if self._count > 1 else ""
        alone = self._count == 1 and bool(self._tasks)
        self.progress.update(self._whole, steps=done, visible=not alone)
        if self._count > 1:
            self.progress.update(
                self._whole, description="all", total=self._count, completed=len(self._ended)
            )


def _time(text: str) -> datetime:
    return msgspec.convert(text, datetime)
