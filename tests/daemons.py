"""A real daemon process, and ways to wait for what it does: by its events, never by the clock."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import httpx
import msgspec

from daemon.gpu.stored import Stored
from daemon.settings import Home

TIMEOUT = 300.0
"""Seconds after which a wait gives up: far beyond what a slow machine needs."""

TRIES = 5
"""Frames that are begun until one is struck in the middle."""

Message = dict[str, Any]


class Daemon:
    """`safelight up` on a home, on a free port."""

    def __init__(self, home: Home, *arguments: str) -> None:
        """Started on entering the block."""
        self.home = home
        self.arguments = arguments
        self.said: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "daemon", "up", "--home", str(self.home.root), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *self.arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.url = self.wait_for_line("watch at ").removeprefix("watch at ")

    def wait_for_line(self, start: str) -> str:
        """Read what it says up to the line that begins so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if self.said[-1].startswith(start):
                return self.said[-1]
        raise AssertionError(f"the daemon ended and never said {start!r}:\n" + "\n".join(self.said))

    def drop(self, name: str, content: object) -> Path:
        """Put a file into the inbox as a careful program does: whole, by rename."""
        path = self.home.inbox / name
        text = content if isinstance(content, str) else json.dumps(content)
        temporary = path.with_name(f".{name}.tmp")
        temporary.write_text(text)
        temporary.rename(path)
        return path

    def stream(self, after: int = 0) -> Iterator[Message]:
        """The log's events after `after`, over SSE, as they come."""
        params: dict[str, str | int] = {"after": after, "steps": "all"}
        with httpx.stream("GET", f"{self.url}api/events", params=params, timeout=TIMEOUT) as answer:
            for line in _in_time(answer):
                message = json.loads(line[6:]) if line.startswith("data: ") else {}
                if message and "loading" not in message:
                    yield message

    def wait_for_loading(self, what: str, if_over: Callable[[], object]) -> Message:
        """What the stream says beside the events, up to a device that is busy with this. If the device is
        ready by the time that we listen, `if_over` is to have it begin again.
        """
        over = False
        with httpx.stream("GET", f"{self.url}api/events", timeout=TIMEOUT) as answer:
            for line in _in_time(answer):
                if line.startswith('data: {"loading"'):
                    stages = json.loads(line[6:])["loading"]
                    for stage in stages:
                        if stage["what"] == what:
                            return dict(stage)
                    if not stages and not over:
                        over = True
                        if_over()
        raise AssertionError(f"no device was ever busy with {what}")

    def wait_for(self, wanted: Callable[[Message], bool], after: int = 0) -> Message:
        """The first event after `after` that is wanted."""
        for message in self.stream(after):
            if "type" in message and wanted(message):
                return message
        raise AssertionError("the stream ended before the event came")

    def wait_for_type(self, kind: str, after: int = 0, **fields: object) -> Message:
        """The first event after `after` of this type whose data has these values."""
        return self.wait_for(
            lambda message: message["type"] == kind and fields.items() <= message["data"].items(), after
        )

    def wait_for_step(self, step: int, **fields: object) -> Message:
        """The first preview of this step or, where that one came too fast to be shown, of a later one."""
        return self.wait_for(
            lambda message: (
                message["type"] == "PreviewWritten"
                and message["data"]["step"] >= step
                and fields.items() <= message["data"].items()
            )
        )

    def wait_for_end(self, frame: int, kind: str, after: int) -> Message:
        """The first event after `after` of this type about the frame, or its FinalWritten."""
        return self.wait_for(
            lambda message: message["type"] in (kind, "FinalWritten") and message["data"]["frame"] == frame,
            after,
        )

    def wait_for_types(self, kind: str, up_to: int) -> list[Message]:
        """All events of this type up to a position."""
        events = []
        for message in self.stream():
            if message.get("type") == kind:
                events.append(message)
            if message.get("seq") == up_to:
                break
        return events

    def post(self, path: str, body: object) -> httpx.Response:
        """POST some JSON."""
        return httpx.post(f"{self.url}{path}", json=body, timeout=TIMEOUT)

    def kill(self) -> None:
        """kill -9, and nothing else."""
        self.process.kill()
        self.process.wait(TIMEOUT)

    def stop(self) -> int:
        """Ctrl-C, as a person ends it; answers the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Wait for it to end by itself; answers the exit code."""
        assert self.process.stdout is not None
        self.said += self.process.stdout.read().splitlines()
        return self.process.wait(TIMEOUT)


def dropped(daemon: Daemon, name: str, content: object) -> tuple[int, int]:
    """The job and the first frame that a file became."""
    daemon.drop(name, content)
    accepted = daemon.wait_for(
        lambda message: message["type"] == "JobAccepted" and message["data"]["source"]["name"] == name
    )
    return accepted["data"]["job"], accepted["data"]["first_frame"]


def interrupted(
    daemon: Daemon, name: str, prompt: Message, step: int, strike: Callable[[], object], *, stored: int = 0
) -> tuple[int, Message]:
    """A job's first frame that was struck after a step, once every frame of the job had its state after step
    `stored` or a later one stored, and before its end; with its FrameInterrupted.

    Nobody can say when a stroke falls: a disk that takes a second for one event is enough for the frame to
    be done. Then another one is begun.
    """
    for number in range(TRIES):
        _, frame = dropped(daemon, f"{name}-{number}.json", prompt)
        every = range(frame, frame + prompt.get("count", 1))
        seen = _shown(daemon, frame, step)
        while seen["type"] == "PreviewWritten" and min(_stored(daemon.home, one) for one in every) < stored:
            seen = _shown(daemon, frame, seen["data"]["step"] + 1)
        strike()
        end = daemon.wait_for_end(frame, "FrameInterrupted", after=seen["seq"] - 1)
        if end["type"] == "FrameInterrupted":
            return frame, end
    raise AssertionError(f"{TRIES} frames were done before they were struck")


def _shown(daemon: Daemon, frame: int, step: int) -> Message:
    """The frame's first preview from that step on; its FinalWritten if there is none."""
    return daemon.wait_for(
        lambda message: (
            message["data"].get("frame") == frame
            and (
                message["type"] == "FinalWritten"
                or (message["type"] == "PreviewWritten" and message["data"]["step"] >= step)
            )
        )
    )


def _stored(home: Home, frame: int) -> int:
    """The step after which the frame's state was stored last."""
    try:
        content = (home.frames / f".frame_{frame}.state").read_bytes()
    except FileNotFoundError:
        return 0
    return msgspec.msgpack.decode(content, type=Stored).step


def _in_time(answer: httpx.Response) -> Iterator[str]:
    """Its lines, for as long as a wait may take: the stream itself is never silent for long."""
    ends = time.monotonic() + TIMEOUT
    for line in answer.iter_lines():
        yield line
        assert time.monotonic() < ends, f"nothing that was waited for came in {TIMEOUT} s"


def query(home: Home, sql: str) -> list[tuple[Any, ...]]:
    """Ask the history of a home whose daemon has ended."""
    with duckdb.connect(home.history, read_only=True) as connection:
        return connection.execute(sql).fetchall()
