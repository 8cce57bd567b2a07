"""The web side of a daemon in the test's own process: a real log, real uvicorn, real sockets, no device."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import httpx

from daemon.drops import prepare
from daemon.events.log import Log, opened
from daemon.events.types import DaemonStopped
from daemon.inbox import Inbox
from daemon.pictures import Recent
from daemon.projections import restoring
from daemon.projections.state import State
from daemon.server import listen, serving
from daemon.settings import DEMO, Home, Settings
from daemon.stages import Stages
from daemon.web import Web

PATIENCE = 180.0
"""Seconds after which a wait gives up: far beyond what a slow machine needs."""
SOON = 15.0
"""Seconds that no end may take, on a slow machine either: sooner than the kernel gives up a client that reads
nothing, which is when an end would come that waited for one."""
CHEAP = DaemonStopped(reason="signal")


class Site:
    """What a test may reach of a daemon that serves."""

    def __init__(
        self, log: Log[State], home: Home, recent: Recent, web: Web, inbox: Inbox, stages: Stages, port: int
    ) -> None:
        """`port` is where it listens on 127.0.0.1."""
        self.log = log
        self.home = home
        self.recent = recent
        self.web = web
        self.stages = stages
        self.inbox = inbox
        """Not running unless a test has it run."""
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


@asynccontextmanager
async def site(folder: Path, port: int = 0, token: str | None = None) -> AsyncIterator[Site]:
    """Serve the home in `folder`, as the composition root would, until the block ends."""
    home = Home(folder)
    home.frames.mkdir(parents=True, exist_ok=True)
    prepare(home)
    recent = Recent()
    with listen("127.0.0.1", port) as listener:
        port = listener.getsockname()[1]
        async with opened(home.history, State(), restoring) as log:
            inbox, stages = Inbox(home, log, DEMO), Stages()
            web = Web(log, Settings(home=home), recent, lambda: ["cpu"], lambda: inbox.outlook, stages)
            async with serving(web.application(port, token), web.streams, listener):
                yield Site(log, home, recent, web, inbox, stages, port)


class Ended(Exception):
    """The stream ended as a whole answer, not as a broken connection."""


class Told:
    """One message of a stream."""

    def __init__(self, fields: dict[str, str]) -> None:
        """From the lines of one block."""
        self.id = fields.get("id", "")
        self.kind = fields.get("event", "message")
        self.retry = fields.get("retry")
        self.data: dict[str, Any] = json.loads(fields["data"])

    def __repr__(self) -> str:
        return f"<{self.kind} {self.id}>"

    @property
    def seq(self) -> int:
        """Its place in the log."""
        return int(self.id.rpartition(".")[2])


class Stream:
    """One client of the event stream."""

    def __init__(self, url: str, last: str | None = None, query: str = "") -> None:
        """`last` is what a browser sends as Last-Event-ID."""
        self._client = httpx.AsyncClient(timeout=PATIENCE)
        headers = {} if last is None else {"last-event-id": last}
        self._request = self._client.build_request("GET", f"{url}/api/events{query}", headers=headers)

    async def __aenter__(self) -> Self:
        self._answer = await self._client.send(self._request, stream=True)
        self._lines = self._answer.aiter_lines()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._answer.aclose()
            await self._client.aclose()

    async def next(self) -> Told:
        """The next message. Raises `Ended` once the stream has ended cleanly."""
        fields: dict[str, str] = {}
        with anyio.fail_after(PATIENCE):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line and name:
                    fields[name] = value
                elif "data" in fields:
                    return Told(fields)
        raise Ended

    async def line(self) -> str:
        """The next line as it came, which may be a comment."""
        with anyio.fail_after(PATIENCE):
            return await anext(self._lines)

    async def up_to(self, seq: int) -> list[Told]:
        """The messages up to this event."""
        told = [await self.next()]
        while told[-1].seq < seq:
            told.append(await self.next())
        return told


async def append(site: Site, count: int) -> None:
    """Record so many cheap events."""
    await site.log.decide(lambda _: [CHEAP] * count)


@contextmanager
def frozen(served: Site) -> Iterator[socket.socket]:
    """A client that asks for the stream and takes nothing of it, with little room of its own."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.port))
        client.send(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % served.port)
        client.setblocking(False)
        yield client


async def heard_up_to(client: socket.socket, position: int) -> bytes:
    """What it takes, up to the whole of that event."""
    return await thawed(client, b".%d\n" % position, b"\n\n")


async def thawed(client: socket.socket, end: bytes, then: bytes = b"") -> bytes:
    """What it takes, up to these bytes, and those that are to follow."""
    data = b""
    with anyio.fail_after(PATIENCE):
        while end not in data or then not in data.partition(end)[2]:
            await anyio.wait_readable(client)
            data += client.recv(1 << 16)
    return data
