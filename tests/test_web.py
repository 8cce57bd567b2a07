"""The routes and their guards over real sockets: who is refused, and what is answered to the others."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from daemon import arrivals, schema
from daemon.address import AGENT
from daemon.answers import MAX_BODY
from daemon.events.types import Event, JobAccepted, QueuePaused, QueueResumed
from daemon.projections import tables
from daemon.projections.state import KEPT
from daemon.samplers import SAMPLERS, SCHEDULERS
from daemon.server import listen
from tests.pictures import graph
from tests.serving import PATIENCE, Site, site
from tests.stories import accepted, created, deleted, finished, previewed

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


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


def assert_policy(answer: httpx.Response) -> None:
    """What every answer carries."""
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"host": "127.0.0.1:1"}, 400),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"sec-fetch-site": "same-origin"}, 201),
        ({"content-type": "application/json; charset=utf-8"}, 201),
    ],
)
async def test_strangers_are_refused(
    client: httpx.AsyncClient, served: Site, headers: dict[str, str], status: int
) -> None:
    """Only the daemon's own page and programs on the machine may change something."""
    answer = await client.post("/api/jobs", content=b'{"prompt": "a fox"}', headers={**JSON, **headers})
    assert answer.status_code == status
    assert served.log.position == (1 if status == 201 else 0)
    assert_policy(answer)


async def test_the_pages_own_origin_passes(client: httpx.AsyncClient, served: Site) -> None:
    """Under each of the daemon's names."""
    for name in (f"127.0.0.1:{served.port}", f"localhost:{served.port}", f"[::1]:{served.port}"):
        answer = await client.get("/api/health", headers={"host": name, "origin": f"http://{name}"})
        assert answer.status_code == 200


async def test_two_host_headers_are_refused(served: Site) -> None:
    """Even where one of them is right."""
    host = f"Host: 127.0.0.1:{served.port}\r\n"
    request = f"GET / HTTP/1.1\r\n{host}{host}Connection: close\r\n\r\n"
    with anyio.fail_after(PATIENCE):
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(request.encode())
            assert (await stream.receive()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/", "/static/viewer.js", "/api/log", "/nowhere", "/api/frames/9"])
async def test_every_answer_carries_the_policy(client: httpx.AsyncClient, path: str) -> None:
    """Errors too."""
    assert_policy(await client.get(path))


async def test_a_token_is_asked_for_once(tmp_path: Path) -> None:
    """In the address, then in a cookie; a program sends it as a bearer."""
    async with (
        site(tmp_path, token="s3cret") as served,
        httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as client,
    ):
        refused = await client.get("/api/health")
        assert refused.status_code == 401
        assert_policy(refused)
        assert (await client.get("/?token=wrong")).status_code == 401
        bearer = {"authorization": "Bearer s3cret"}
        assert (await client.get("/api/health", headers=bearer)).status_code == 200
        welcome = await client.get("/?token=s3cret")
        assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
        assert "httponly" in welcome.headers["set-cookie"].lower()
        assert (await client.get("/api/health")).status_code == 200


async def test_a_prompt_becomes_a_job_or_gets_its_faults(client: httpx.AsyncClient, served: Site) -> None:
    """201 with its frames, 422 with what is wrong, 413 for a flood."""
    made = await client.post("/api/jobs", json={"prompt": "a fox", "count": 2})
    assert (made.status_code, made.json()) == (201, {"job": 1, "frames": [1, 2]})
    assert set(served.log.state.frames) == {1, 2}
    faulty = await client.post("/api/jobs", json={"prompt": "a fox", "steps": -1})
    assert faulty.status_code == 422
    assert [fault["path"] for fault in faulty.json()["faults"]] == ["$.steps"]
    flood = await client.post("/api/jobs", json={"prompt": "x" * MAX_BODY})
    assert flood.status_code == 413
    assert served.log.position == 1


async def test_several_prompts_become_several_jobs_or_none(client: httpx.AsyncClient, served: Site) -> None:
    """As in a file: a list, or lines; one fault refuses them all."""
    listed = {"defaults": {"prompt": "a fox"}, "jobs": [{"count": 2}, {}]}
    made = await client.post("/api/jobs", json=listed)
    assert (made.status_code, made.json()) == (
        201,
        {"jobs": [{"job": 1, "frames": [1, 2]}, {"job": 2, "frames": [3]}]},
    )
    for kind in ("application/jsonl", "application/x-ndjson; charset=utf-8"):
        lines = b'{"prompt": "a"}\n{"prompt": "b"}\n'
        made = await client.post("/api/jobs", content=lines, headers={"content-type": kind})
        assert [len(job["frames"]) for job in made.json()["jobs"]] == [1, 1]
    before = served.log.position
    refused = await client.post("/api/jobs", json={"jobs": [{"prompt": "a"}, {"prompt": "b", "steps": -1}]})
    assert refused.status_code == 422
    assert refused.json()["faults"][0]["path"] == "$.jobs[1].steps"
    assert served.log.position == before


async def test_a_key_that_came_before_is_answered_with_its_jobs(
    client: httpx.AsyncClient, served: Site
) -> None:
    """So a program may send again what it got no answer to; a file with the key is a duplicate."""
    several = {"key": "monday", "jobs": [{"prompt": "a fox"}, {"prompt": "a wolf", "count": 2}]}
    for status in (201, 200):
        one = await client.post("/api/jobs", json={"prompt": "a fox", "key": "friday"})
        assert (one.status_code, one.json()) == (status, {"job": 1, "frames": [1]})
        two = await client.post("/api/jobs", json=several)
        jobs = [{"job": 2, "frames": [2]}, {"job": 3, "frames": [3, 4]}]
        assert (two.status_code, two.json()) == (status, {"jobs": jobs})
        await tables.flush(served.log)
    (served.home.inbox / "a.json").write_text('{"prompt": "another", "key": "monday"}')
    async with anyio.create_task_group() as tasks:
        await tasks.start(served.inbox.run)
        await served.log.changed(3)
        tasks.cancel_scope.cancel()
    events = [recorded.event for recorded in await served.log.read(0)]
    assert [type(event).__name__ for event in events] == ["JobAccepted"] * 3 + ["JobDuplicate"]
    assert getattr(events[3], "job", 0) == 2


async def test_what_waits_in_the_inbox_is_told_with_its_reason(
    client: httpx.AsyncClient, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how many entries are ignored."""
    monkeypatch.setattr(arrivals, "QUIET", PATIENCE)  # it must still wait when it is asked for
    (served.home.inbox / "half.json").write_text('{"prompt": "a fo')
    (served.home.inbox / "notes.txt").write_text("")
    async with anyio.create_task_group() as tasks:
        await tasks.start(served.inbox.run)
        await served.inbox.scanned()
        answer = (await client.get("/api/inbox")).json()
        assert answer["position"] == 0
        assert (answer["ignored"], answer["more"]) == (1, 0)
        (waiting,) = answer["waiting"]
        assert waiting["name"] == "half.json"
        assert waiting["why"].startswith("does not parse, rejected at ")
        assert (await client.get("/api/inbox?limit=0")).json()["more"] == 1
        tasks.cancel_scope.cancel()


async def test_what_a_prompt_may_name_is_told(client: httpx.AsyncClient, served: Site) -> None:
    """As it is at that moment."""
    assert (await client.get("/api/stock")).json()["loras"] == []
    served.home.loras.mkdir(parents=True)
    for name in ("one", "two"):
        (served.home.loras / f"{name}.safetensors").write_bytes(b"")
    answer = (await client.get("/api/stock")).json()
    assert (answer["model"], answer["checkpoints"]) == ("demo", ["demo"])
    assert (answer["loras"], answer["embeddings"]) == (["one", "two"], [])
    assert answer["schedulers"] == list(SCHEDULERS)
    assert [each["name"] for each in answer["samplers"]] == list(SAMPLERS)
    assert {"label", "schedulers"} <= answer["samplers"][0].keys()


async def test_the_schema_is_served_for_editors(client: httpx.AsyncClient) -> None:
    """The same that the command prints."""
    answer = await client.get("/schema/prompt.json")
    assert answer.content == schema.text()
    assert answer.headers["content-type"] == "application/schema+json"


async def test_stop_is_answered_by_what_the_frame_is(client: httpx.AsyncClient, served: Site) -> None:
    """Twice is once; an ended frame cannot be stopped, nor one that is not there."""
    await served.log.append(accepted(seeds=(7, 8)))
    await served.log.append(created())
    for _ in range(2):
        assert (await client.post("/api/frames/1/cancel", json={"step": 3})).status_code == 200
    kinds = [type(recorded.event).__name__ for recorded in await served.log.read(2)]
    assert kinds == ["CancelRequested"]
    assert (await client.post("/api/frames/9/cancel", json={})).status_code == 404
    assert (await client.post("/api/frames/1/cancel", json={"stepp": 3})).status_code == 422
    await served.log.append(created(2))
    await served.log.append(finished(2))
    assert (await client.post("/api/frames/2/cancel", json={})).status_code == 409


async def test_a_final_is_there_once_it_is_written(client: httpx.AsyncClient, served: Site) -> None:
    """404 before, the file after, 410 once someone has removed it."""
    begun: list[Event] = [accepted(), created(), previewed(1)]
    await served.log.decide(lambda _: begun)
    assert (await client.get("/frames/1/final")).status_code == 404
    picture = served.home.frames / "task_1.png"
    picture.write_bytes(b"picture")
    await served.log.decide(lambda _: [finished(), deleted()])
    assert (await client.get("/frames/1/final")).content == b"picture"
    picture.unlink()
    assert (await client.get("/frames/1/final")).status_code == 410


async def test_frames_jobs_and_log_come_in_pages(client: httpx.AsyncClient, served: Site) -> None:
    """Frames and jobs newest first, the log oldest first; each page says its position."""

    async def get(path: str) -> dict[str, Any]:
        answer: dict[str, Any] = (await client.get(path)).json()
        assert answer["position"] == 5
        return answer

    for number in range(1, 6):
        await served.log.append(accepted(number, number))
    for name in ("frames", "jobs"):
        assert [row["id"] for row in (await get(f"/api/{name}"))[name]] == [5, 4, 3, 2, 1]
        assert [row["id"] for row in (await get(f"/api/{name}?before=4&limit=2"))[name]] == [3, 2]
    assert [row["seq"] for row in (await get("/api/log?after=1&limit=3"))["events"]] == [2, 3, 4]
    assert (await get("/api/log?after=5"))["events"] == []
    assert (await get("/api/frames/2"))["frame"]["job"] == 2
    assert (await client.get("/api/frames/6")).status_code == 404


async def test_static_files_are_revalidated_and_nothing_else_is_reached(
    client: httpx.AsyncClient, served: Site
) -> None:
    """An unchanged file costs a 304; a path that climbs out of the folder leads nowhere."""
    first = await client.get("/static/viewer.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/static/viewer.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")
    for path in ("../pyproject.toml", "%2e%2e/pyproject.toml", "..%2fpyproject.toml", "%2fetc%2fpasswd"):
        request = f"GET /static/{path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: close\r\n\r\n"
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(request.encode())
            assert (await stream.receive()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("number", ["9" * 5000, "0", "-1", "one", "1e3"])
async def test_a_frame_that_cannot_be_is_not_found(client: httpx.AsyncClient, number: str) -> None:
    """Whatever stands where a frame's number should: 404, never our fault."""
    answers = [
        await client.get(f"/api/frames/{number}"),
        await client.get(f"/frames/{number}/final"),
        await client.post(f"/api/frames/{number}/cancel", json={}),
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 404]


async def test_a_flood_does_not_stop_a_frame(client: httpx.AsyncClient, served: Site) -> None:
    """A request that is too large asks for nothing."""
    await served.log.append(accepted())
    flood = await client.post("/api/frames/1/cancel", json={"step": "x" * MAX_BODY})
    assert flood.status_code == 413
    assert served.log.state.frames[1].status == "queued"


async def test_of_two_servers_on_one_port_the_second_is_told() -> None:
    """At once, and with what to do."""
    with listen("127.0.0.1", 0) as first, pytest.raises(OSError, match="choose another --port"):
        listen("127.0.0.1", first.getsockname()[1])


async def test_what_is_written_goes_out_at_once() -> None:
    """No answer waits for the acknowledgement of what was sent before it (Nagle's algorithm is off)."""
    connected: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted: socket.socket = writer.get_extra_info("socket")
        connected.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listen("127.0.0.1", 0) as listener, anyio.fail_after(PATIENCE):
        async with await asyncio.start_server(hear, sock=listener):
            with socket.create_connection(listener.getsockname()):
                assert await connected


async def test_the_queue_is_paused_and_resumed_by_someone(client: httpx.AsyncClient, served: Site) -> None:
    """Twice is once; the log and the status say who."""
    for _ in range(2):
        assert (await client.post("/api/queue/pause", json={})).status_code == 200
    assert served.log.position == 1
    status = (await client.get("/api/status")).json()
    assert (status["paused_by"], status["position"]) == ("127.0.0.1", 1)
    from_page = {"sec-fetch-site": "same-origin"}
    await client.post("/api/queue/resume", json={}, headers=from_page)
    typed = {"user-agent": f"{AGENT} J%C3%B6rg"}
    await client.post("/api/queue/pause", json={}, headers=typed)
    told = [recorded.event for recorded in await served.log.read(1)]
    assert told == [QueueResumed(by="the page at 127.0.0.1"), QueuePaused(by="Jörg at the command line")]


async def test_a_job_is_cancelled_or_moved_by_its_number(client: httpx.AsyncClient, served: Site) -> None:
    """Each answer names the frames that were asked to stop; what is not there or over is refused."""
    await served.log.append(accepted(seeds=(7, 8)))
    await served.log.append(accepted(2, 3))
    await served.log.append(created())
    moved = await client.post("/api/jobs/2/priority", json={"priority": 5})
    assert (moved.status_code, moved.json()["changed"]) == (200, True)
    assert served.log.state.frames[3].priority == 5
    assert (await client.post("/api/jobs/1/cancel", json={})).json()["frames"] == [1, 2]
    assert (await client.post("/api/jobs/2/cancel", json={})).json()["frames"] == [3]
    refused = [("2/cancel", {}, 409), ("2/priority", {"priority": 1}, 409), ("9/cancel", {}, 404)]
    refused += [("1/priority", {"priority": 9999}, 422), ("1/priority", {}, 422)]
    for path, body, status in refused:
        assert (await client.post(f"/api/jobs/{path}", json=body)).status_code == status


async def test_everything_or_all_that_waits_is_cancelled(client: httpx.AsyncClient, served: Site) -> None:
    """In one decision, and a scope that is none asks for nothing."""
    await served.log.append(accepted(seeds=(7, 8, 9)))
    await served.log.append(created())
    assert (await client.post("/api/cancel", json={"scope": "some"})).status_code == 422
    waiting = await client.post("/api/cancel", json={"scope": "all-but-running"})
    assert waiting.json()["frames"] == [2, 3]
    everything = await client.post("/api/cancel", json={"scope": "all"})
    assert everything.json()["frames"] == [1]
    assert served.log.state.frames[1].status == "stopping"
    assert (await client.post("/api/cancel", json={"scope": "all"})).json()["changed"] is False


async def test_the_same_key_leads_to_the_same_job(client: httpx.AsyncClient, served: Site) -> None:
    """A program that does not know whether it was heard may ask again, also after the claim left memory."""
    answers = []
    for key in ("a", "b", "a"):
        headers = {"idempotency-key": key}
        answers.append(await client.post("/api/jobs", json={"prompt": "a cat", "count": 2}, headers=headers))
    await tables.flush(served.log)
    assert not served.log.state.claims
    answers.append(await client.post("/api/jobs", json={"prompt": "x"}, headers={"idempotency-key": "b"}))
    assert [answer.status_code for answer in answers] == [201, 201, 200, 200]
    assert [answer.json()["job"] for answer in answers] == [1, 2, 1, 2]
    assert answers[3].json()["frames"] == [3, 4]
    assert served.log.position == 2


async def test_pages_reach_back_beyond_memory(client: httpx.AsyncClient, served: Site) -> None:
    """What has left memory comes from the tables, what is newer than they are from memory."""
    total = KEPT + 20
    for number in range(1, total + 1):
        for event in (accepted, created, finished, deleted):
            await served.log.append(event(number, number))
    await tables.flush(served.log)
    await served.log.append(accepted(total + 1, total + 1))
    pages: list[int] = []
    while page := (
        await client.get("/api/frames", params={"limit": 100, **({"before": pages[-1]} if pages else {})})
    ).json()["frames"]:
        pages += [frame["id"] for frame in page]
    assert pages == list(range(total + 1, 0, -1))
    assert (await client.get("/api/frames/3")).json()["frame"]["status"] == "done"
    assert (await client.get("/api/jobs", params={"before": 4})).json()["jobs"][0]["done"] == 1
    assert (await client.post("/api/frames/3/cancel", json={})).json() == {"error": "frame 3 is done already"}
    assert (await client.post("/api/frames/999/cancel", json={})).status_code == 404


async def test_a_comfyui_workflow_is_posted_like_a_prompt(client: httpx.AsyncClient, served: Site) -> None:
    """What it cannot say stays with the job."""
    nodes: dict[str, Any] = graph()
    nodes["5"]["inputs"]["batch_size"] = 2
    answer = await client.post("/api/jobs", json=nodes)
    assert (answer.status_code, answer.json()) == (201, {"job": 1, "frames": [1, 2]})
    (recorded,) = await served.log.read(0)
    assert isinstance(recorded.event, JobAccepted)
    assert any(line.startswith("batch_size: 2 ") for line in recorded.event.source.not_carried)
    nodes["3"]["class_type"] = "KSamplerAdvanced"
    refused = await client.post("/api/jobs", json=nodes)
    assert refused.status_code == 422
    assert "KSamplerAdvanced" in refused.json()["faults"][0]["message"]
