"""`python -m bench.streaming KIND FOLDER`: one of the servers, until it is ended."""

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import anyio
import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from daemon.app import stopped_by_signal
from daemon.events.log import Log
from daemon.events.types import Event
from daemon.projections import tables
from daemon.projections.state import State
from daemon.server import listen
from tests.serving import site
from tests.stories import accepted, created, deleted, finished, previewed

EVENT = "x" * 345
"""With what is around it, as long as our own event: 366 bytes on the wire."""


async def told(answers: Mapping[str, Callable[[str], Awaitable[object]]]) -> None:
    """Do what the lines of standard input say, and answer each."""
    while True:
        await anyio.wait_readable(sys.stdin)
        word, _, rest = sys.stdin.readline().strip().partition(" ")
        print(await answers[word](rest), flush=True)


async def cpu(_: str) -> float:
    """Seconds computed so far."""
    return time.process_time()


async def ours(folder: Path) -> None:
    """The daemon's web side on a real log, without a device, ended as the daemon ends."""
    async with stopped_by_signal() as stop, site(folder) as served, anyio.create_task_group() as tasks:
        log = served.log
        steps = iter(range(1, 10**9))

        async def tell(_: str) -> str:
            began = time.perf_counter()
            await log.append(previewed(next(steps)))
            return f"{began} {time.perf_counter()}"

        async def frames(count: str) -> int:
            await fill(log, int(count))
            return len(served.web.snapshot())

        await log.decide(lambda _: [accepted(), created()])
        print(served.port, flush=True)
        await tasks.start(tables.run, log)
        tasks.start_soon(told, {"tell": tell, "cpu": cpu, "frames": frames})
        await stop.wait()
        tasks.cancel_scope.cancel()


async def fill(log: Log[State], count: int) -> None:
    """So many finished frames."""

    def story(number: int, _: State) -> list[Event]:
        begin: list[Event] = [accepted(number, number), created(number, number)]
        return [*begin, finished(number, number), deleted(number, number)]

    for number in range(2, count + 2):
        await log.decide(partial(story, number))


class Feed:
    """Events in memory, and a bell."""

    def __init__(self) -> None:
        self.position = 0
        self.bell = anyio.Event()

    async def tell(self, _: str) -> str:
        """One more."""
        began = time.perf_counter()
        self.position += 1
        self.bell.set()
        self.bell = anyio.Event()
        return f"{began} {began}"

    async def follow(self) -> AsyncIterator[int]:
        """Their numbers, as they come."""
        cursor = self.position
        while True:
            while cursor < self.position:
                cursor += 1
                yield cursor
            await self.bell.wait()


async def by_hand(feed: Feed, request: Request) -> Response:
    """What one writes on Starlette's own StreamingResponse."""

    async def body() -> AsyncIterator[bytes]:
        yield b": hello\n\n"
        async for number in feed.follow():
            yield b"id: %d\ndata: %s\n\n" % (number, EVENT.encode())

    return StreamingResponse(body(), media_type="text/event-stream")


async def by_library(feed: Feed, request: Request) -> Response:
    """What sse-starlette's readme shows."""

    async def body() -> AsyncIterator[dict[str, str]]:
        yield {"comment": "hello"}
        async for number in feed.follow():
            yield {"id": str(number), "data": EVENT}

    response: Response = EventSourceResponse(body(), sep="\n")
    return response


async def theirs(respond: Callable[[Feed, Request], Awaitable[Response]]) -> None:
    """One of the two under uvicorn, run as uvicorn is."""
    feed = Feed()

    async def endpoint(request: Request) -> Response:
        return await respond(feed, request)

    application = Starlette(routes=[Route("/api/events", endpoint)])
    config = uvicorn.Config(application, http="httptools", lifespan="off", log_config=None, access_log=False)
    with listen("127.0.0.1", 0) as listener:
        print(listener.getsockname()[1], flush=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(told, {"tell": feed.tell, "cpu": cpu})
            await uvicorn.Server(config).serve(sockets=[listener])
            tasks.cancel_scope.cancel()


def main() -> None:
    """Serve."""
    kind, folder = sys.argv[1:]
    if kind == "safelight":
        anyio.run(ours, Path(folder))
    else:
        anyio.run(theirs, {"starlette": by_hand, "sse-starlette": by_library}[kind])


main()
