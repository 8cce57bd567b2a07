"""The event stream over real sockets: nothing is missed and nothing told twice, whoever comes and goes."""

import random
import re
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest
from msgspec.structs import replace

from daemon import pieces, server, sse
from daemon.events import log as event_log
from daemon.events.codec import Row
from daemon.events.types import Event, JobAccepted, Recorded
from daemon.pieces import REPLAY
from daemon.projections.frames import Frame
from daemon.projections.state import State
from daemon.server import listen
from tests.projections.test_histories import HISTORIES, Line
from tests.serving import PATIENCE, SOON, Ended, Site, Stream, Told, append, frozen, heard_up_to, site
from tests.stories import accepted, created, previewed

pytestmark = pytest.mark.anyio


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
        served.log.ring = type(served.log.ring)(served.log.ring, maxlen=16)
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


@pytest.mark.timeout(2 * PATIENCE)
async def test_a_page_may_reach_beyond_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row is durable a moment before the log says so. Who reads it then waits for the next one like all."""
    async with site(tmp_path) as served:
        await append(served, 3)
        served.log.ring = type(served.log.ring)(served.log.ring, maxlen=1)
        store = served.log._store
        commit, durable, published = store.commit, threading.Event(), threading.Event()

        def held(rows: Sequence[Row]) -> None:
            commit(rows)
            durable.set()
            assert published.wait(PATIENCE)

        monkeypatch.setattr(store, "commit", held)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(append, served, 1)
            await anyio.to_thread.run_sync(durable.wait, PATIENCE)
            async with Stream(served.url, f"{served.log.epoch}.1") as stream:
                assert seqs(await stream.up_to(4)) == [2, 3, 4]
                assert served.log.position == 3
                published.set()
                await append(served, 1)
                assert (await stream.next()).seq == 5


@pytest.mark.parametrize(("query", "heard"), [("", [4, 6, 7]), ("?steps=all", [3, 4, 5, 6, 7])])
async def test_who_is_behind_gets_each_frames_newest_step(
    tmp_path: Path, query: str, heard: list[int]
) -> None:
    """Older steps are left out of one piece, nothing else is, and who wants them all gets them all."""
    async with site(tmp_path) as served:
        await served.log.append(accepted(seeds=(7, 8)))
        await served.log.append(created(1))
        last = f"{served.log.epoch}.2"
        story: list[Event] = [previewed(1), created(2), previewed(2), previewed(3), previewed(1, frame=2)]
        await served.log.decide(lambda _: story)
        async with Stream(served.url, last, query) as stream:
            assert seqs(await stream.up_to(7)) == heard


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_what_is_left_out_changes_no_state(path: Path) -> None:
    """Cut anywhere, the pieces lead to the frames that all events lead to."""
    *lines, _ = path.read_bytes().splitlines()
    events = [msgspec.json.decode(line, type=Line).recorded() for line in lines]
    for cut in range(len(events)):
        told = [event_log.Told(one) for one in events]
        heard = {one.seq for part in (told[:cut], told[cut:]) for one in pieces.coalesced(part)}
        assert folded(one for one in events if one.seq in heard) == folded(events)


def folded(events: Iterable[Recorded]) -> list[Frame]:
    """The frames that these events lead to."""
    state = State()
    for recorded in events:
        state.apply(recorded)
    return [state.frames[number] for number in sorted(state.frames)]


async def test_a_snapshot_serves_all_who_come_while_memory_reaches_back_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what came since behind it; once the ring begins later, a new one is made."""
    monkeypatch.setattr(pieces, "SHARED_FOR", PATIENCE)
    async with site(tmp_path) as served:
        await append(served, 2)
        for position, heard in ((2, []), (3, [3]), (5, [3, 4, 5])):
            await append(served, position - served.log.position)
            async with Stream(served.url) as stream:
                assert (await stream.next()).id == f"{served.log.epoch}.2"
                assert seqs(await stream.up_to(position) if heard else []) == heard
        served.log.ring = type(served.log.ring)(served.log.ring, maxlen=2)
        async with Stream(served.url) as stream:
            assert (await stream.next()).id == f"{served.log.epoch}.5"


async def test_those_who_come_back_at_many_places_are_not_remembered_at_each(tmp_path: Path) -> None:
    """While nothing happens, nothing else would let go of it."""
    async with site(tmp_path) as served:
        await append(served, 200)
        made = pieces.Pieces(served.log, lambda: b"{}")
        for cursor in range(200):
            assert made.after(cursor, False) is made.after(cursor, False)
        (number,) = re.findall(r"\d+", repr(made))
        assert int(number) <= pieces.PLACES


def wordy(number: int, words: str) -> JobAccepted:
    """A job with much to say."""
    job = accepted(number, number)
    return replace(job, prompt=replace(job.prompt, prompt=words))


async def test_no_piece_is_more_than_one_that_stopped_reading_may_cost(tmp_path: Path) -> None:
    """Four thousand frozen clients would keep what each was given; piece after piece, nothing is left out."""
    async with site(tmp_path) as served:
        words = "many words " * 200
        jobs = [wordy(number, words) for number in range(1, 301)]
        await served.log.decide(lambda _: jobs)
        made = pieces.Pieces(served.log, lambda: b"{}")
        heard: list[int] = []
        cursor = 0
        while cursor < served.log.position:
            piece = made.after(cursor, False)
            assert piece is not None
            assert len(piece.message["body"]) < pieces.ENOUGH + 4 * len(words)
            heard += map(int, re.findall(rb"^id: \w+\.(\d+)$", piece.message["body"], re.M))
            cursor = piece.end
        assert heard == list(range(1, served.log.position + 1))
        async with Stream(served.url, f"{served.log.epoch}.0") as stream:
            assert seqs(await stream.up_to(served.log.position)) == heard


async def test_silence_is_broken_by_a_word_that_a_page_can_hear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nobody in between takes the connection for dead."""
    monkeypatch.setattr(sse, "KEEP_ALIVE", 0.05)
    async with site(tmp_path) as served, Stream(served.url) as stream:
        await stream.next()
        while await stream.line() != "event: alive":
            pass


async def test_who_comes_beyond_the_last_place_is_asked_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a 200: a browser that is refused never comes back. A place that is left is free again."""
    monkeypatch.setattr(sse, "MOST", 1)
    async with site(tmp_path) as served:
        async with Stream(served.url) as first:
            await first.next()
            async with Stream(served.url) as second:
                goodbye = await second.next()
                assert (goodbye.kind, goodbye.retry) == ("bye", str(sse.CROWDED_MS))
                with pytest.raises(Ended):
                    await second.next()
        kind = "bye"
        while kind == "bye":  # until the daemon, too, has noticed that the first one is gone
            async with Stream(served.url) as third:
                kind = (await third.next()).kind
        assert kind == "snapshot"


async def test_a_client_that_stops_reading_holds_nobody_up(tmp_path: Path) -> None:
    """The others hear everything meanwhile; thawed, it misses nothing; frozen again, it delays no end."""
    with ExitStack() as stack:
        async with site(tmp_path) as served:
            client = stack.enter_context(frozen(served))
            async with Stream(served.url) as stream:
                await stream.next()
                for position in range(2000, 6001, 2000):
                    await append(served, 2000)
                    assert (await stream.up_to(position))[-1].seq == position
            ids = re.findall(rb"id: \w+\.(\d+)\n", await heard_up_to(client, 6000))
            assert [int(seq) for seq in ids] == list(range(6001))
            for _ in range(2):
                await append(served, 2000)
            assert repr(served.web.streams).startswith("<Streams: 1 open")
            began = time.monotonic()
        assert time.monotonic() - began < SOON


@pytest.mark.torture
async def test_a_client_that_never_reads_again_is_let_go(tmp_path: Path) -> None:
    """By the kernel, some twenty seconds after it took the last byte; nothing else ever would."""
    async with site(tmp_path) as served:
        with frozen(served), anyio.fail_after(PATIENCE):
            await append(served, 3000)
            assert repr(served.web.streams).startswith("<Streams: 1 open")
            while not repr(served.web.streams).startswith("<Streams: 0 open"):
                await append(served, 1)


def test_connections_inherit_bounds_from_the_listener() -> None:
    """What the kernel may hold for a client, and for how long."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 64 * 1024
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16 * 1024
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000


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


async def test_the_end_is_said_and_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty open streams hear goodbye and end whole, and the end waits for nothing else: none is cut off."""
    monkeypatch.setattr(server, "GRACE", PATIENCE)
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
    assert took < SOON
