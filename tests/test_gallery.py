"""Pictures over HTTP: exactly the step that was asked for, for ever, or none."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from daemon import strips
from daemon.events.types import Event
from daemon.gpu import formats, thumbnails
from daemon.prompts import Keep
from tests.serving import PATIENCE, Site, site
from tests.stories import accepted, created, deleted, finished, previewed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Site]:
    """A daemon's web side with a frame being made."""
    async with site(tmp_path) as running:
        begun: list[Event] = [accepted(), created(), previewed(1)]
        await running.log.decide(lambda _: begun)
        yield running


@pytest.fixture
async def client(served: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A browser on the same machine."""
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as client:
        yield client


def pixels(step: int, size: int = 64) -> formats.Pixels:
    """A grey that is the step's own."""
    return np.full((size, size * 2, 3), step * 20, np.uint8)


def keep(served: Site, steps: int, *, final: bool = False, what: Keep = "strip") -> None:
    """Have a strip of frame 1, as the child and the daemon make it."""
    path = strips.path_of(served.home.strips, 1)
    strips.begin(path, served.log.epoch, 0)
    kept = [
        thumbnails.of_step(pixels(step), formats.png(pixels(step)), step, 1.5, what)
        for step in range(1, steps + 1)
    ]
    for one in [*kept, thumbnails.of_final(pixels(9, 600), steps, what) if final else None]:
        if one is not None:
            strips.append(path, one)


def shown(answer: httpx.Response) -> tuple[str, tuple[int, int], int]:
    """Format, size, and the step that the picture is of."""
    image = Image.open(io.BytesIO(answer.content))
    return str(image.format), image.size, round(image.convert("L").getpixel((3, 3)) / 20)  # type: ignore[operator]  # grey


async def test_a_steps_picture_is_that_steps_or_none(client: httpx.AsyncClient, served: Site) -> None:
    """New ones from memory, later from the strip, 410 for what was not kept."""
    served.recent.put(1, 1, formats.png(pixels(1)))
    assert shown(await client.get("/frames/1/preview?step=1")) == ("PNG", (128, 64), 1)
    served.recent.drop(1)
    assert (await client.get("/frames/1/preview?step=1")).status_code == 410
    keep(served, 3)
    for step in (1, 2, 3):
        assert shown(await client.get(f"/frames/1/preview?step={step}")) == ("JPEG", (128, 64), step)
        assert shown(await client.get(f"/frames/1/thumbnail?step={step}")) == ("JPEG", (128, 64), step)
    for path in ("preview?step=4", "preview", "thumbnail?step=4"):
        assert (await client.get(f"/frames/1/{path}")).status_code == 410
    assert (await client.get("/frames/2/preview?step=1")).status_code == 410


async def test_pictures_are_kept_by_browsers_for_ever(client: httpx.AsyncClient, served: Site) -> None:
    """With a strong ETag, and never for another log."""
    keep(served, 2)
    first = await client.get(f"/frames/1/preview?step=2&log={served.log.epoch}")
    assert "immutable" in first.headers["cache-control"]
    assert first.headers["etag"].startswith('"')
    again = await client.get("/frames/1/preview?step=2", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.get("/frames/1/preview?step=1")).headers["etag"] != first.headers["etag"]
    for path in ("preview?step=2&log=another", "thumbnail?step=2&log=another"):
        assert (await client.get(f"/frames/1/{path}")).status_code == 410
    assert (await client.get("/api/frames/1/strip?log=another")).json()["steps"] == []


async def test_the_finished_picture_has_a_thumbnail(client: httpx.AsyncClient, served: Site) -> None:
    """Before the end the newest step's, which is asked for each time; without a strip the picture itself."""
    assert (await client.get("/frames/1/thumbnail")).status_code == 404
    served.recent.put(1, 1, formats.png(pixels(1)))
    newest = await client.get("/frames/1/thumbnail")
    assert (shown(newest)[2], newest.headers["cache-control"]) == (1, "no-cache")
    await served.log.decide(lambda _: [finished(), deleted()])
    (served.home.frames / "task_1.png").write_bytes(formats.png(pixels(9, 600)))
    assert shown(await client.get("/frames/1/thumbnail")) == ("PNG", (1200, 600), 9)
    keep(served, 4, final=True)
    assert shown(await client.get("/frames/1/thumbnail")) == ("JPEG", (256, 128), 9)
    whole = await client.get("/frames/1/final")
    unchanged = await client.get("/frames/1/final", headers={"if-none-match": whole.headers["etag"]})
    assert unchanged.status_code == 304


async def test_a_strip_is_told_with_addresses_that_lead_to_its_pictures(
    client: httpx.AsyncClient, served: Site
) -> None:
    """In the order of steps, the finished picture apart."""
    assert (await client.get("/api/frames/1/strip")).json() == {"frame": 1, "steps": [], "final": None}
    keep(served, 3, final=True)
    told = (await client.get("/api/frames/1/strip")).json()
    assert [(one["step"], one["sigma"]) for one in told["steps"]] == [(1, 1.5), (2, 1.5), (3, 1.5)]
    for one in [*told["steps"], told["final"]]:
        answer = await client.get(one["url"])
        assert shown(answer)[1] == (one["width"], one["height"])
        assert len(answer.content) == one["bytes"]
    assert (await client.get("/api/frames/2/strip")).status_code == 404


@pytest.mark.parametrize(("what", "form"), [("strip", "JPEG"), ("all", "PNG"), ("none", None)])
async def test_what_is_kept_is_what_the_prompt_says(
    client: httpx.AsyncClient, served: Site, what: Keep, form: str | None
) -> None:
    """Small pictures, the previews as they were, or nothing."""
    keep(served, 2, final=True, what=what)
    answer = await client.get("/frames/1/preview?step=2")
    assert (shown(answer)[0] if form else answer.status_code) == (form or 410)


@pytest.mark.parametrize("kind", ["webp", "gif"])
async def test_a_development_is_downloaded_as_one_moving_picture(
    client: httpx.AsyncClient, served: Site, kind: str
) -> None:
    """Each step for its time, in the size of the finished picture, which stays longest."""
    assert (await client.get(f"/api/frames/1/animation.{kind}")).status_code == 404
    keep(served, 4, final=True)
    answer = await client.get(f"/api/frames/1/animation.{kind}?ms=100")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == f'attachment; filename="frame-1.{kind}"'
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == (kind.upper(), (256, 128))
    seen, times = [], []
    for number in range(image.n_frames):  # type: ignore[attr-defined]  # a moving picture has it
        image.seek(number)
        seen.append(round(image.convert("L").getpixel((3, 3)) / 20))  # type: ignore[operator]  # grey
        times.append(image.info["duration"])
    assert (seen, times) == ([1, 2, 3, 4, 9], [100, 100, 100, 100, 1500])
