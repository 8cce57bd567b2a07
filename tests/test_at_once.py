"""Clients that one loop tells what is new, those that it cannot, and those that go from one to the other."""

import logging
import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest
from starlette.types import Message

from daemon import server
from daemon.events.log import opened
from daemon.projections import restoring
from daemon.projections.state import State
from daemon.settings import Home
from daemon.sse import Streams
from tests.hammer import Answer
from tests.serving import PATIENCE, SOON, Ended, Site, Stream, append, frozen, heard_up_to, site, thawed

pytestmark = pytest.mark.anyio

RESET = struct.pack("ii", 1, 0)
"""As SO_LINGER: the connection does not end, it breaks."""


async def until(served: Site, condition: Callable[[str], bool]) -> None:
    """Record events until the streams say of themselves what is waited for."""
    with anyio.fail_after(PATIENCE):
        while not condition(repr(served.web.streams)):
            await append(served, 100)
            await anyio.lowlevel.checkpoint()  # recording is shielded: here patience can end


def last_of(data: bytes) -> int:
    """The last event in an answer, which is framed as HTTP wants it and lacks and repeats none."""
    answer = Answer()
    answer.parser.feed_data(data)
    lines = [line for block in answer.blocks() for line in block.decode().splitlines()]
    heard = [int(line.rpartition(".")[2]) for line in lines if line.startswith("id: ")]
    assert heard == list(range(heard[0], heard[-1] + 1))
    return heard[-1]


async def test_who_has_heard_everything_is_told_at_once(tmp_path: Path) -> None:
    """Nobody's task has to run for it."""
    async with site(tmp_path) as served, Stream(served.url) as stream:
        await stream.next()
        await append(served, 1)
        await stream.up_to(1)
        for number in range(3):
            served.web.streams.tell(b"loading", b'{"number": %d}' % number)
            assert repr(served.web.streams) == "<Streams: 1 open, 1 caught up>"
        assert [(await stream.next()).data["number"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_falls_behind_and_catches_up_misses_nothing(tmp_path: Path, seed: int) -> None:
    """Six clients that read now and then, of little room, are told every event once and in order."""
    dice = random.Random(seed)
    behind = 0
    async with site(tmp_path) as served:
        served.log.ring = type(served.log.ring)(maxlen=1024)
        with ExitStack() as stack:
            clients = [stack.enter_context(frozen(served)) for _ in range(6)]
            taken = [b""] * 6
            for _ in range(20):
                await append(served, dice.randint(1, 800))
                behind += repr(served.web.streams) != "<Streams: 6 open, 6 caught up>"
                for number in dice.sample(range(6), 3):
                    taken[number] += await heard_up_to(clients[number], served.log.position)
            await append(served, 1)
            end = served.log.position
            for number, client in enumerate(clients):
                taken[number] += await heard_up_to(client, end)
    assert behind
    assert [last_of(data) for data in taken] == [end] * 6


async def test_a_client_that_caught_up_is_told_at_once_again(tmp_path: Path) -> None:
    """However often it falls behind."""
    async with site(tmp_path) as served:
        with frozen(served) as client:
            data = b""
            for _ in range(3):
                await until(served, lambda said: said.endswith("1 open, 0 caught up>"))
                data += await heard_up_to(client, served.log.position)
                await append(served, 1)
                data += await heard_up_to(client, served.log.position)
                served.web.streams.tell(b"loading", b"{}")
                assert repr(served.web.streams) == "<Streams: 1 open, 1 caught up>"
        assert last_of(data) == served.log.position


async def test_who_does_not_keep_up_is_left_to_its_own_task_there_and_then(tmp_path: Path) -> None:
    """What comes in the same moment does not pile up for it; of that it hears the newest."""
    async with site(tmp_path) as served:
        with frozen(served) as client:
            await thawed(client, b"event: snapshot")
            await append(served, 1)
            await heard_up_to(client, 1)
            told = 0
            while repr(served.web.streams) == "<Streams: 1 open, 1 caught up>":
                served.web.streams.tell(b"loading", b'"%s"' % (b"x" * 10_000))
                told += 1
                assert told < 100
            for number in range(100):
                served.web.streams.tell(b"loading", b'{"number": %d}' % number)
            data = await thawed(client, b'event: loading\ndata: {"number": 99}\n\n')
            assert data.count(b"event: loading") <= told + 1


async def test_who_goes_is_forgotten(tmp_path: Path) -> None:
    """Without anything being told."""
    async with (
        site(tmp_path) as served,
        Stream(served.url) as first,
        httpx.AsyncClient(timeout=PATIENCE) as client,
    ):
        await first.next()
        async with Stream(served.url) as second:
            await second.next()
        with anyio.fail_after(PATIENCE):
            while "1 open" not in repr(served.web.streams):
                await client.get(f"{served.url}/api/health")
        assert repr(served.web.streams) == "<Streams: 1 open, 1 caught up>"


async def test_who_is_behind_hears_only_the_newest_of_what_is_no_event(tmp_path: Path) -> None:
    """The others hear all of it."""
    async with site(tmp_path) as served:
        with frozen(served) as client:
            await until(served, lambda said: said.endswith("1 open, 0 caught up>"))
            async with Stream(served.url) as stream:
                await stream.next()
                await append(served, 1)
                await stream.up_to(served.log.position)
                for number in range(5):
                    served.web.streams.tell(b"loading", b'{"number": %d}' % number)
                assert [(await stream.next()).data["number"] for _ in range(5)] == [0, 1, 2, 3, 4]
            data = await thawed(client, b'event: loading\ndata: {"number": 4}\n\n')
            assert data.count(b"event: loading") == 1


async def test_a_connection_that_breaks_amid_the_telling_is_nobody_elses_trouble(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others hear everything once; nothing more is written to it, and its place is free."""
    async with site(tmp_path) as served, Stream(served.url) as first:
        await first.next()
        with socket.create_connection(("127.0.0.1", served.port)) as breaking:
            breaking.send(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % served.port)
            await anyio.wait_readable(breaking)
            async with Stream(served.url) as last:
                await last.next()
                await append(served, 1)
                await first.up_to(1)
                await last.up_to(1)
                assert repr(served.web.streams) == "<Streams: 3 open, 3 caught up>"
                breaking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                breaking.close()
                with caplog.at_level(logging.INFO):
                    for number in range(20):  # all before the event loop hears that the connection is gone
                        served.web.streams.tell(b"loading", b'{"number": %d}' % number)
                for stream in (first, last):
                    assert [(await stream.next()).data["number"] for _ in range(20)] == list(range(20))
                await until(served, lambda said: said == "<Streams: 2 open, 2 caught up>")
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_the_end_comes_whole_to_those_who_are_behind_and_those_who_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is behind, and reads, gets what is on its way, then the goodbye; the rest it asks for next time."""
    monkeypatch.setattr(server, "GRACE", PATIENCE)
    data = b""

    async def take(client: socket.socket) -> None:
        nonlocal data
        data = await thawed(client, b"0\r\n\r\n")

    with ExitStack() as stack:
        async with anyio.create_task_group() as tasks:
            async with site(tmp_path) as served:
                client = stack.enter_context(frozen(served))
                await until(served, lambda said: said.endswith("1 open, 0 caught up>"))
                stream = await Stream(served.url).__aenter__()
                await stream.next()
                await append(served, 1)
                await stream.up_to(served.log.position)
                assert repr(served.web.streams) == "<Streams: 2 open, 1 caught up>"
                tasks.start_soon(take, client)
            assert (await stream.next()).kind == "bye"
            with pytest.raises(Ended):
                await stream.next()
            await stream.__aexit__(None, None, None)
    assert 0 < last_of(data.removesuffix(b"0\r\n\r\n")) <= served.log.position
    assert data.endswith(b"event: bye\ndata: {}\n\n\r\n0\r\n\r\n")


async def test_the_end_waits_for_nobody_who_does_not_read(tmp_path: Path) -> None:
    """Those who do hear goodbye all the same."""
    async with anyio.create_task_group() as tasks:
        kinds: list[str] = []

        async def listen(served: Site, ready: anyio.Event) -> None:
            async with Stream(served.url) as stream:
                await stream.next()
                await append(served, 1)
                await stream.up_to(served.log.position)
                ready.set()
                last = await stream.next()
                while last.kind == "message":
                    last = await stream.next()
                kinds.append(last.kind)
                with pytest.raises(Ended):
                    await stream.next()

        with ExitStack() as stack:
            async with site(tmp_path) as served:
                for _ in range(3):
                    stack.enter_context(frozen(served))
                await until(served, lambda said: said.endswith("3 open, 0 caught up>"))
                for _ in range(3):
                    ready = anyio.Event()
                    tasks.start_soon(listen, served, ready)
                    await ready.wait()
                began = time.monotonic()
            took = time.monotonic() - began
    assert kinds == ["bye"] * 3
    assert took < SOON


@pytest.mark.parametrize("apart", [True, False], ids=["asked apart", "asked together"])
async def test_who_asks_behind_a_stream_and_goes_is_forgotten(tmp_path: Path, apart: bool) -> None:
    """uvicorn tells only the newest of a connection's requests that it is gone, and here that never began."""
    async with site(tmp_path) as served:
        head = b" HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % served.port
        asked = [b"GET %s%s" % (path, head) for path in (b"/api/health", b"/api/events", b"/api/health")]
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.setblocking(False)
            if apart:
                client.send(asked[1])
                await thawed(client, b"event: snapshot")
                client.send(asked[2])
            else:
                client.send(b"".join(asked))
                await thawed(client, b"event: snapshot")
            assert repr(served.web.streams).startswith("<Streams: 1 open")
        await until(served, lambda said: said == "<Streams: 0 open, 0 caught up>")


@pytest.mark.parametrize(
    "kind", [b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", b"HTTP/1.0\r\n"], ids=repr
)
async def test_what_is_told_at_once_is_framed_as_the_head_announces(tmp_path: Path, kind: bytes) -> None:
    """By uvicorn, whatever the request asks for: our own chunks go in between its own."""
    async with site(tmp_path) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.send(b"GET /api/events %sHost: 127.0.0.1:%d\r\n\r\n" % (kind, served.port))
            client.setblocking(False)
            data = await thawed(client, b"event: snapshot")
            for number in range(1, 4):
                await append(served, 1)
                data += await thawed(client, b".%d\n" % number)
            served.web.streams.tell(b"loading", b"{}")
            assert repr(served.web.streams) == "<Streams: 1 open, 1 caught up>"
            data += await thawed(client, b"event: loading\ndata: {}\n\n\r\n")
        assert b"\r\ntransfer-encoding: chunked\r\n" in data
        assert last_of(data) == 3


async def test_a_head_of_the_stream_is_all_there_is(tmp_path: Path) -> None:
    """It ends with itself, and the connection serves the next request."""
    async with site(tmp_path) as served:
        end = b" HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % served.port
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.setblocking(False)
            client.send(b"HEAD /api/events" + end)
            assert b"text/event-stream" in await thawed(client, b"\r\n\r\n")
            client.send(b"GET /api/health" + end)
            assert (await thawed(client, b'"position":0')).startswith(b"HTTP/1.1 200 OK")
        assert repr(served.web.streams).startswith("<Streams: 0 open")


async def test_any_server_that_speaks_asgi_will_do(tmp_path: Path) -> None:
    """Without our extension all is told by `send`, in the same words."""
    scope = {"type": "http", "method": "GET", "query_string": b"", "headers": []}
    give, take = anyio.create_memory_object_stream[Message](16)
    never = anyio.Event()

    async def receive() -> Message:
        await never.wait()
        raise AssertionError

    async with opened(Home(tmp_path).history, State(), restoring) as log, anyio.create_task_group() as tasks:
        streams = Streams(log, lambda: b"{}")
        await tasks.start(streams.run)
        tasks.start_soon(streams, scope, receive, give.send)
        assert (await take.receive())["status"] == 200
        assert b"event: snapshot" in (await take.receive())["body"]
        streams.tell(b"loading", b"[]")
        assert (await take.receive())["body"] == b"event: loading\ndata: []\n\n"
        streams.close()
        goodbye = await take.receive()
        assert b"event: bye" in goodbye["body"]
        assert not goodbye["more_body"]
        tasks.cancel_scope.cancel()
