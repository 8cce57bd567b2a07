"""The event stream over real sockets: nothing is missed and nothing told twice, whoever comes and goes."""

import random
import time
from pathlib import Path

import anyio
import pytest

from daemon.events.types import DaemonStopped
from daemon.sse import REPLAY
from tests.serving import Ended, Site, Stream, Told, site
from tests.stories import accepted, created, previewed

pytestmark = pytest.mark.anyio

CHEAP = DaemonStopped(reason="signal")


async def append(site: Site, count: int) -> None:
    """Record so many cheap events."""
    await site.log.decide(lambda _: [CHEAP] * count)


def seqs(told: list[Told]) -> list[int]:
    """Their places in the log."""
    return [message.seq for message in told]


async def test_a_fresh_client_gets_a_snapshot_and_then_only_what_is_later(tmp_path: Path) -> None:
    """The snapshot is as of its id, and the next event follows it."""
    async with site(tmp_path) as served:
        await served.log.append(accepted())
        await served.log.append(created())
        async with Stream(served.url) as stream:
            first = await stream.next()
            assert (first.kind, first.id) == ("snapshot", f"{served.log.epoch}.2")
            assert first.data["position"] == 2
            assert [frame["status"] for frame in first.data["frames"]] == ["running"]
            await served.log.append(previewed(1))
            later = await stream.next()
            assert (later.kind, later.seq, later.data["type"]) == ("message", 3, "PreviewWritten")


async def test_a_client_that_returns_gets_exactly_what_it_missed(tmp_path: Path) -> None:
    """Once each, from memory."""
    async with site(tmp_path) as served:
        await append(served, 3)
        async with Stream(served.url) as stream:
            last = (await stream.next()).id
        await append(served, 5)
        async with Stream(served.url, last) as stream:
            assert seqs(await stream.up_to(8)) == [4, 5, 6, 7, 8]


async def test_a_client_is_resumed_across_a_restart(tmp_path: Path) -> None:
    """Another server on the same port and log goes on where the first one ended."""
    async with site(tmp_path) as served:
        port = served.port
        await append(served, 2)
        async with Stream(served.url) as stream:
            last = (await stream.next()).id
        await append(served, 3)
    async with site(tmp_path, port) as served:
        await append(served, 1)
        async with Stream(served.url, last) as stream:
            assert seqs(await stream.up_to(6)) == [3, 4, 5, 6]


@pytest.mark.parametrize("last", ["{epoch}.0", "other.5", "{epoch}.999999", "{epoch}.x", "nonsense"])
async def test_a_client_from_elsewhere_gets_a_snapshot(tmp_path: Path, last: str) -> None:
    """Too far behind, of another log, ahead of this one, or nonsense: it begins afresh."""
    async with site(tmp_path) as served:
        await append(served, REPLAY + 1)
        async with Stream(served.url, last.format(epoch=served.log.epoch)) as stream:
            told = await stream.next()
            assert (told.kind, told.seq) == ("snapshot", REPLAY + 1)


async def test_a_client_behind_the_ring_is_served_from_the_log(tmp_path: Path) -> None:
    """What memory no longer holds comes in pages, with no seam."""
    async with site(tmp_path) as served:
        await append(served, 1500)
        served.log.ring = type(served.log.ring)(served.log.ring, maxlen=16)
        async with Stream(served.url, f"{served.log.epoch}.1") as stream:
            assert seqs(await stream.up_to(1500)) == list(range(2, 1501))
            await append(served, 40)
            assert seqs(await stream.up_to(1540)) == list(range(1501, 1541))


async def test_clients_that_come_and_go_miss_nothing(tmp_path: Path) -> None:
    """A small hammer: each client, over all its visits, is told every event once and in order."""
    chance = random.Random(7)
    end = 300
    gathered: list[list[int]] = []

    async def visit(served: Site, stays: list[int]) -> None:
        heard: list[int] = []
        last = f"{served.log.epoch}.0"
        while not heard or heard[-1] < end:
            async with Stream(served.url, last) as stream:
                for _ in range(stays.pop() if stays else end):
                    told = await stream.next()
                    heard.append(told.seq)
                    last = told.id
                    if told.seq == end:
                        break
        gathered.append(heard)

    async with site(tmp_path) as served:
        served.log.ring = type(served.log.ring)(maxlen=16)
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(visit, served, [chance.randint(1, 60) for _ in range(8)])
            while served.log.position < end:
                await append(served, min(chance.randint(1, 9), end - served.log.position))
    assert gathered == [list(range(1, end + 1))] * 6


async def test_the_end_is_said_and_clean(tmp_path: Path) -> None:
    """Twenty open streams hear goodbye and end whole, in about a second at most."""
    async with anyio.create_task_group() as tasks:
        goodbyes: list[Told] = []

        async def listen(url: str, ready: anyio.Event) -> None:
            async with Stream(url) as stream:
                await stream.next()
                ready.set()
                goodbyes.append(await stream.next())
                with pytest.raises(Ended):
                    await stream.next()

        async with site(tmp_path) as served:
            for _ in range(20):
                ready = anyio.Event()
                tasks.start_soon(listen, served.url, ready)
                await ready.wait()
            began = time.monotonic()
        took = time.monotonic() - began
    assert [(told.kind, told.retry) for told in goodbyes] == [("bye", "1000")] * 20
    assert took < 5
