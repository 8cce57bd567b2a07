"""What was, over HTTP: pages that miss nothing, filters that do what they say, and the wall as it stood."""

import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from daemon import web
from daemon.events.types import Event, JobAccepted
from daemon.history import logpage
from daemon.projections import pages
from tests.hammer import one_more
from tests.serving import PATIENCE, Site, site
from tests.stories import accepted, cancel_requested, cancelled, created, deleted, finished, previewed, prompt

pytestmark = pytest.mark.anyio


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Site]:
    """A daemon's web side on an empty log."""
    async with site(tmp_path) as running:
        yield running


@pytest.fixture
async def client(served: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A program on the same machine."""
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as client:
        yield client


async def ask(client: httpx.AsyncClient, path: str, **query: str | int) -> dict[str, Any]:
    """What a route answers."""
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def job(number: int, **said: str) -> JobAccepted:
    """A job of one frame with the same number, of this prompt."""
    return replace(accepted(number, number), prompt=prompt(msgspec.json.encode({"prompt": "a fox", **said})))


async def test_pages_miss_and_repeat_nothing_while_frames_come(
    client: httpx.AsyncClient, served: Site
) -> None:
    """The keyset holds its place; a jump over some lands where paging would have come to."""
    for number in range(1, 8):
        await served.log.append(accepted(number, number))
    seen: list[int] = []
    query: dict[str, str | int] = {"limit": 3}
    following: int | None = 8
    while following is not None:
        page = await ask(client, "/api/frames", **query)
        seen += [frame["id"] for frame in page["frames"]]
        assert page["position"] == page["total"] == served.log.position
        following = page["next"]
        query["before"] = following or 0
        await served.log.append(accepted(served.log.state.next_job, served.log.state.next_frame))
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    jumped = await ask(client, "/api/frames", before=8, skip=4, limit=2)
    assert ([frame["id"] for frame in jumped["frames"]], jumped["next"]) == ([3, 2], 2)
    assert (await ask(client, "/api/frames", limit=0))["total"] == 10


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "done"}, [2]),
        ({"status": "done,running"}, [3, 2]),
        ({"model": "demo"}, [4, 1]),
        ({"model": "demo,real"}, [4, 3, 2, 1]),
        ({"project": "wolves", "status": "queued"}, [4]),
        ({"text": "FOX"}, [3, 1]),
        ({"text": "ünder snow"}, [4]),
        ({"text": "fox wolf"}, [3]),
        ({"text": "100%"}, []),
        ({"text": "' OR true --"}, []),
        ({"since": "1 h"}, [4, 3, 2, 1]),
        ({"until": "1 h"}, []),
        ({"since": "2026-01-01", "until": "2999-01-01T00:00"}, [4, 3, 2, 1]),
        ({"model": "nowhere"}, []),
    ],
)
async def test_filters_do_what_they_say(
    client: httpx.AsyncClient, served: Site, query: dict[str, str], found: list[int]
) -> None:
    """All of them must fit; the menus' choices are those of all frames."""
    story: list[Event] = [
        job(1),
        job(2, prompt="a wolf", model="real"),
        job(3, negative_prompt="no wolf", model="real", project="wolves"),
        job(4, prompt="Snow, falling; ÜNDER it a w_lf, 100 % white", project="wolves"),
        created(2, 2), finished(2, 2), deleted(2, 2), created(3, 3),
    ]  # fmt: skip
    await served.log.decide(lambda _: story)
    page = await ask(client, "/api/frames", **query)
    assert [frame["id"] for frame in page["frames"]] == found
    assert page["total"] == len(found)
    assert (page["models"], page["projects"]) == (["demo", "real"], ["default", "wolves"])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/frames?status=finished", "there is no status finished; there are queued, running"),
        ("/api/frames?since=yesterday", "'yesterday' is no moment"),
        ("/api/log?type=PreviewWriten", "did you mean PreviewWritten?"),
        ("/api/log?frame=x", "'x' is no frame's number"),
        (f"/api/log?text={'x' * 201}", "at most 200 characters"),
        ("/api/state?at=soon", "'soon' is no moment"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_not_taken_for_none(
    client: httpx.AsyncClient, path: str, words: str
) -> None:
    """422, and what there is."""
    answer = await client.get(path)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


async def test_a_frame_tells_all_about_itself(client: httpx.AsyncClient, served: Site) -> None:
    """Its parameters, its own events with hashes, and a prompt that makes it again."""
    story: list[Event] = [accepted(seeds=(7, 8)), created(1), created(2), previewed(1), finished(1)]
    recorded = await served.log.decide(lambda _: story)
    told = await ask(client, "/api/frames/1")
    assert (told["position"], told["frame"]["status"], told["source"]["name"]) == (5, "done", "fox.json")
    assert [event["seq"] for event in told["events"]] == [1, 2, 4, 5]
    assert [event["hash"] for event in told["events"]] == [recorded[n].hash.hex() for n in (0, 1, 3, 4)]
    assert told["recipe"]["scheduler"] == "EulerDiscreteScheduler"
    again = await client.post("/api/jobs", json=told["again"])
    assert again.status_code == 201, again.text
    made = await ask(client, f"/api/frames/{again.json()['frames'][0]}")
    same = ("prompt", "seed", "width", "height", "steps", "cfg_scale", "sampler", "scheduler", "model")
    assert all(made["frame"][key] == told["frame"][key] for key in same)
    assert (await ask(client, "/api/frames/2"))["recipe"] is None


async def test_the_log_is_filtered_and_paged_both_ways(client: httpx.AsyncClient, served: Site) -> None:
    """Each page says where the next one begins; each event has its place in the chain."""
    await served.log.append(accepted(seeds=(7, 8)))
    for event in (created(1), created(2), previewed(1, 1), previewed(1, 2), previewed(2, 1)):
        await served.log.append(event)

    async def seqs(**query: str | int) -> tuple[list[int], int | None]:
        page = await ask(client, "/api/log", **query)
        return [event["seq"] for event in page["events"]], page["next"]

    assert await seqs(type="PreviewWritten,frame_created", frame=1) == ([2, 4, 6], None)
    assert await seqs(type="PreviewWritten", limit=2) == ([4, 5], 5)
    assert await seqs(type="PreviewWritten", limit=2, after=5) == ([6], None)
    assert await seqs(order="desc", limit=2) == ([6, 5], 5)
    assert await seqs(order="desc", before=5, job=1) == ([4, 3, 2, 1], None)
    first, second = await served.log.read(0, 2)
    shown = (await ask(client, "/api/log", limit=2))["events"]
    assert [event["hash"] for event in shown] == [first.hash.hex(), second.hash.hex()]
    assert len({hashlib.sha256().digest(), first.hash, second.hash}) == 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FOX", [1, 2, 5]),
        ("snow fox", [2]),
        ("übEr", [2]),
        ("100%", [2]),
        ("a_b", [5]),
        ('say"hi', [2]),
        ("cat', 1); --", []),
        ("steps", []),
        ("taesd", []),
        ("latent2rgb", [4]),
        ("previewwritten", [4]),
    ],
)
async def test_the_log_is_searched_for_words(
    client: httpx.AsyncClient, served: Site, text: str, found: list[int]
) -> None:
    """Each word is in the event's type or in what it says, whatever the case, and never in a field's name."""
    told: list[Event] = [
        replace(accepted(1, 1), prompt=prompt(b'{"prompt": "a red Fox"}')),
        replace(accepted(2, 2), prompt=prompt('{"prompt": "100% snow ÜBER a fox, say\\"hi"}'.encode())),
        created(1),
        replace(previewed(1), path="frames/a.png"),
        replace(finished(1), path="frames/a_b.png"),
    ]
    await served.log.decide(lambda _: told)
    assert [event["seq"] for event in (await ask(client, "/api/log", text=text))["events"]] == found


async def test_a_search_looks_through_a_stretch_at_a_time(
    client: httpx.AsyncClient, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may have nothing and still say where to go on; to the end, either way, nothing is left out."""
    monkeypatch.setattr(logpage, "STRETCH", 3)
    await served.log.append(accepted())
    await served.log.append(created())
    for step in range(1, 9):
        await served.log.append(replace(previewed(step), method="taesd" if step in (1, 7) else "latent2rgb"))
    for order, place, expected in (("asc", "after", [3, 9]), ("desc", "before", [9, 3])):
        asked: list[dict[str, Any]] = [await ask(client, "/api/log", text="taesd", order=order, limit=1)]
        while (following := asked[-1]["next"]) is not None:
            query = {"text": "taesd", "order": order, "limit": 1, place: following}
            asked.append(await ask(client, "/api/log", **query))
        assert [event["seq"] for page in asked for event in page["events"]] == expected
        assert len(asked) > 2


async def test_the_wall_of_any_moment_is_what_a_viewer_saw_then(
    client: httpx.AsyncClient, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a random history, with few enough frames kept that old ones leave the wall."""
    monkeypatch.setattr(web, "KEPT", 5)
    monkeypatch.setattr(pages, "KEPT", 5)
    dice = random.Random(3)
    walls: dict[int, dict[str, Any]] = {}
    while served.log.position < 400:
        await served.log.decide(one_more(dice, list(served.log.state.open)))
        walls[served.log.position] = msgspec.json.decode(served.web.snapshot())
    older, timed = 0, False
    for seq in dice.sample(sorted(walls), 25):
        state = await ask(client, "/api/state", at=seq)
        (recorded,) = await served.log.read(seq - 1, 1)
        assert msgspec.convert(state["ts"], type(recorded.ts)) == recorded.ts
        for key in ("position", "frames", "older", "paused_by", "paces"):
            assert state[key] == walls[seq][key], (seq, key)
        older, timed = max(older, state["older"]), timed or bool(state["paces"])
    assert older > 20
    assert timed


async def test_a_moment_can_be_a_time_and_must_have_been(client: httpx.AsyncClient, served: Site) -> None:
    """The last event by then; 404 before the first and after the last."""
    assert (await client.get("/api/state")).status_code == 404
    story: list[Event] = [accepted(), created(), previewed(1), cancel_requested(), cancelled(), deleted()]
    recorded = await served.log.decide(lambda _: story)
    when = recorded[2].ts.isoformat()
    past = await ask(client, "/api/state", at=when)
    assert (past["position"], past["frames"][0]["step"], past["frames"][0]["status"]) == (3, 1, "running")
    assert (await ask(client, "/api/state"))["position"] == 6
    for at in ("7", "2020-01-01", "0"):
        assert (await client.get("/api/state", params={"at": at})).status_code == 404
