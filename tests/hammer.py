"""Many clients that drop and resume while the daemon is killed: `python -m tests.hammer`.

The daemon's web side runs on a real log in a process of its own, which records hundreds of events a second,
is ended by kill -9 and started again. Clients come, go without a word, freeze, and come back with the id that
they heard last. In the end each must have heard every event once and in order, but for previews that a later
one made old news; each must have heard of nothing that the log does not hold; and what each made of it,
at every drop and in the end, must be what the log and the tables say. `make torture` runs the long form.
"""

import argparse
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import duckdb
import httptools
import msgspec
from anyio.abc import SocketStream

from daemon.app import running, stopped_by_signal
from daemon.events import codec, database
from daemon.events.log import Log
from daemon.events.types import Event, JobAccepted, JobReprioritised, PreviewWritten, Recorded
from daemon.projections import frames, rows, tables
from daemon.projections.frames import ENDED, Frame
from daemon.projections.laws import Refused
from daemon.projections.state import State
from daemon.settings import Home
from tests import stories
from tests.projections.test_histories import Line
from tests.serving import PATIENCE, site

OPEN = 30
"""Frames at work at the same time."""
KINDS: list[tuple[Callable[[int, int], Event], int]] = [
    (stories.created, 8), (stories.finished, 2), (stories.deleted, 8), (stories.cancel_requested, 1),
    (stories.cancelled, 2), (stories.failed, 1), (stories.interrupted, 1), (stories.resumed, 4),
    *((partial(stories.previewed, step), 12) for step in (1, 2, 3, 4)),
]  # fmt: skip
"""What happens to a frame, and how often it is tried."""


# The daemon's side.


async def serve(folder: Path, port: int, end: int, rate: float) -> None:
    """Serve the home in `folder`, and record events until there are `end` of them."""
    async with (
        stopped_by_signal() as stop,
        site(folder, port) as served,
        running(tables.run, served.log),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(record, served.log, end, rate)
        await stop.wait()
        tasks.cancel_scope.cancel()


async def record(log: Log[State], end: int, rate: float) -> None:
    """Have so many random events a second happen."""
    dice = random.Random(log.position)
    began, first = time.monotonic(), log.position
    while (
        due := min(end, first + int((time.monotonic() - began) * rate)) - log.position
    ) or log.position < end:
        known = list(log.state.open)
        await log.decide_each([(one_more(dice, known), ()) for _ in range(min(due, 40))])
        await anyio.sleep(0.005)


def one_more(dice: random.Random, known: list[int]) -> Callable[[State], list[Event]]:
    """Decides for something that can happen."""

    def decision(state: State) -> list[Event]:
        for frame in dice.choices(known, k=8) if known else []:
            (make,) = dice.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])
            try:
                event = make(frame, state.frame(frame).job)
                state.check(event)
            except Refused:
                continue
            return [event]
        if len(known) < OPEN:
            return [stories.accepted(state.next_job, state.next_frame, (1,) * dice.randint(1, 3))]
        return []

    return decision


# The clients' side.


class Broken(Exception):
    """What must never happen."""


class Wall:
    """What a client makes of what it hears, as the page does."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        """As the snapshot tells it."""
        self.position: int = snapshot["position"]
        told = msgspec.convert(snapshot["frames"], list[Frame])
        self.frames = {frame.id: frame for frame in told}

    def hear(self, recorded: Recorded) -> None:
        """One more event."""
        event, ts = recorded.event, recorded.ts
        self.position = recorded.seq
        match event:
            case JobAccepted():
                self.frames.update((frame.id, frame) for frame in frames.queued(event, ts))
            case JobReprioritised():
                raise AssertionError("not among what happens here")
            case _:
                frame = self.frames.get(getattr(event, "frame", 0))
                if frame is not None:
                    self.frames[frame.id] = frames.evolve(frame, event, ts)  # type: ignore[arg-type]  # has one


@dataclass
class Client:
    """One client, over all of its visits."""

    drops: list[int]
    """Positions at which it drops the connection."""
    dice: random.Random
    wall: Wall | None = None
    last: str = ""
    heard: dict[int, str] = field(default_factory=dict)
    """Hashes by seq."""
    skipped: list[int] = field(default_factory=list)
    looks: list[Wall] = field(default_factory=list)
    """What it had made of it at each drop, and in the end."""
    dropped: int = 0
    snapshots: int = 0
    lost: int = 0

    async def watch(self, port: int, end: int) -> None:
        """Come and go until it has heard everything."""
        while self.wall is None or self.wall.position < end:
            try:
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    await self.visit(stream, port, end)
            except (OSError, anyio.BrokenResourceError, anyio.EndOfStream):
                self.lost += 1  # the daemon is gone
                await anyio.sleep(0.05)
        self.look()

    async def visit(self, stream: SocketStream, port: int, end: int) -> None:
        """Listen until it is time to go."""
        head = f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nLast-Event-ID: {self.last}\r\n\r\n"
        await stream.send(head.encode())
        answer = Answer()
        while True:
            with anyio.fail_after(PATIENCE):
                answer.parser.feed_data(await stream.receive())
            for block in answer.blocks():
                self.hear(block)
                assert self.wall is not None
                if self.drops and self.wall.position >= self.drops[0]:
                    self.drops.pop(0)
                    self.dropped += 1
                    self.look()
                    return
                if self.wall.position >= end:
                    return
            if self.dice.random() < 0.01:
                await anyio.sleep(self.dice.uniform(0, 0.5))

    def hear(self, block: bytes) -> None:
        """One message."""
        told = dict(line.partition(": ")[::2] for line in block.decode().splitlines())
        if told.get("event") == "snapshot":
            self.snapshots += 1
            self.last = told["id"]
            self.wall = Wall(msgspec.json.decode(told["data"]))
        elif "id" in told:
            self.hear_event(told["data"])
            self.last = told["id"]

    def hear_event(self, data: str) -> None:
        """One event, which must be the next one."""
        line = msgspec.json.decode(data, type=Hashed)
        if self.wall is None:
            raise Broken("an event before any snapshot")
        if line.seq <= self.wall.position:
            raise Broken(f"event {line.seq} after event {self.wall.position}")
        self.skipped += range(self.wall.position + 1, line.seq)
        self.heard[line.seq] = line.hash
        self.wall.hear(line.recorded())

    def look(self) -> None:
        """Keep what it has made of it so far."""
        assert self.wall is not None
        seen = Wall({"position": self.wall.position, "frames": []})
        seen.frames = dict(self.wall.frames)
        self.looks.append(seen)


class Hashed(Line):
    """An event as the stream tells it."""

    hash: str = ""


class Answer:
    """An endless answer, block by block."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self._body = b""

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._body += data

    def on_message_complete(self) -> None:
        """Called by the parser."""
        raise Broken("the stream ended though nobody had asked the daemon to end")

    def blocks(self) -> Iterator[bytes]:
        """What has come whole."""
        *whole, self._body = self._body.split(b"\n\n")
        return iter(whole)


# The hammer.


async def hammer(folder: Path, clients: list[Client], end: int, kills: int, rate: float) -> None:
    """Let them all at it, and kill the daemon so often meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    command = [sys.executable, "-m", "tests.hammer", "--serve", str(folder), "--port", str(port)]
    command += ["--end", str(end), "--rate", str(rate)]
    process = subprocess.Popen(command)
    try:
        async with anyio.create_task_group() as tasks:
            for client in clients:
                tasks.start_soon(client.watch, port, end)
            for kill in range(1, kills + 1):
                while max(client.wall.position if client.wall else 0 for client in clients) < end * kill / (
                    kills + 1
                ):
                    await anyio.sleep(0.02)
                process.kill()
                process.wait()
                process = subprocess.Popen(command)
        process.send_signal(signal.SIGTERM)
        if process.wait(PATIENCE) != 0:
            raise Broken("the daemon did not end cleanly")
    finally:
        process.kill()
        process.wait()


def judge(home: Home, clients: list[Client]) -> None:
    """Hold what they heard and made of it to the log and the tables. Raises `Broken`."""
    with duckdb.connect(home.history, read_only=True) as connection:
        events = [codec.open_row(row) for row in database.stream(connection)]
        found = connection.execute(f"SELECT {rows.selected(Frame)} FROM frames").fetchall()
        table = {frame.id: frame for frame in (rows.read(Frame, one) for one in found)}
    for client in clients:
        judge_heard(client, events)
        whole = client.looks[-1].frames
        if any(table[number] != frame for number, frame in whole.items()):
            raise Broken("a client's last state is not the tables'")
        if {n for n, frame in table.items() if frame.status not in ENDED} - whole.keys():
            raise Broken("a client lacks open frames")
    judge_looks([look for client in clients for look in client.looks], events)


def judge_heard(client: Client, events: list[Recorded]) -> None:
    """Nothing that the log does not hold, and nothing left out but old news."""
    for seq, digest in client.heard.items():
        if events[seq - 1].hash.hex() != digest:
            raise Broken(f"event {seq} is not what a client heard")
    newest: dict[int, int] = {}
    for seq in client.heard:
        event = events[seq - 1].event
        if isinstance(event, PreviewWritten):
            newest[event.frame] = seq
    for seq in client.skipped:
        event = events[seq - 1].event
        if not isinstance(event, PreviewWritten) or newest.get(event.frame, 0) < seq:
            raise Broken(f"a client was not told of event {seq}, a {type(event).__name__}")


def judge_looks(looks: list[Wall], events: list[Recorded]) -> None:
    """At every drop, what was made of it is what the log says of that moment, but for steps still to come."""
    state, position = State(), 0
    for look in sorted(looks, key=lambda look: look.position):
        for recorded in events[position : look.position]:
            state.apply(recorded)
        position = look.position
        for number, frame in look.frames.items():
            now = state.frames[number]
            if msgspec.structs.replace(now, step=frame.step, updated_at=frame.updated_at) != frame:
                raise Broken(f"at event {position} a client saw {frame}, the log {now}")


def main() -> None:
    """One run; the seed is printed."""
    parser = argparse.ArgumentParser()
    for name, default in {
        "clients": 60,
        "drops": 600,
        "kills": 5,
        "end": 10_000,
        "rate": 400,
        "port": 0,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--serve", type=Path)
    asked = parser.parse_args()
    if asked.serve is not None:
        anyio.run(serve, asked.serve, asked.port, asked.end, asked.rate)
        return
    print(f"seed {asked.seed}", flush=True)
    dice = random.Random(asked.seed)
    # Not in the last tenth: whoever is told of several places at once comes to each drop an event later, and
    # all of them are counted.
    places, each = range(1, asked.end * 9 // 10), asked.drops // asked.clients
    clients = [
        Client(sorted(dice.choices(places, k=each)), random.Random(number)) for number in range(asked.clients)
    ]
    with tempfile.TemporaryDirectory(prefix="safelight-") as folder:
        began = time.monotonic()
        anyio.run(hammer, Path(folder), clients, asked.end, asked.kills, asked.rate)
        took = time.monotonic() - began
        judge(Home(Path(folder)), clients)
    drops, lost, snapshots, heard, skipped = (
        sum(numbers)
        for numbers in zip(
            *((c.dropped, c.lost, c.snapshots, len(c.heard), len(c.skipped)) for c in clients), strict=True
        )
    )
    print(
        f"{asked.end} events in {took:.0f} s, {asked.clients} clients, {drops} drops, {asked.kills} kills "
        f"({lost} connections lost or refused), {snapshots} snapshots, {heard} events heard, "
        f"{skipped} old steps left out"
    )
    print("no gap, no duplicate, no wrong state")


if __name__ == "__main__":
    main()
