"""Many pictures and events at once, none that flickers and none that is missed.

The real page on a real log, whose events the test tells.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
from anyio.from_thread import BlockingPortal
from msgspec.structs import replace
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from daemon.events.types import Event
from tests.browser.views import card, open_view
from tests.serving import Site, site
from tests.stories import accepted, created, deleted, finished, previewed

JOBS = {1: (1, 2, 3), 2: (4,), 3: (5, 6)}
"""The frames of each."""
SWAPS = 120
LOOK = """(swaps) => new Promise((resolve) => {
  const sheet = document.querySelector(".sheet");
  const seen = [];
  new MutationObserver(() => {
    const all = [...sheet.querySelectorAll("img")];
    const whole = all.filter((one) => one.complete && one.naturalWidth > 0);
    const top = all.at(-1);
    seen.push({ whole: whole.length === all.length, count: all.length, step: Number(top?.dataset.step) });
    if (top && Number(top.dataset.step) === swaps) resolve(seen);
  }).observe(sheet, { childList: true });
})"""
"""What lies on the sheet after each change of it, until the last step is shown."""


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """A loop in a thread of its own, as Playwright keeps one running in this one."""
    with anyio.from_thread.start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def served(portal: BlockingPortal, tmp_path: Path) -> Iterator[Site]:
    """A daemon's web side on an empty log."""
    with portal.wrap_async_context_manager(site(tmp_path)) as served:
        yield served


@pytest.fixture
def watched(context: BrowserContext, served: Site) -> Page:
    """Its page."""
    page = context.new_page()
    page.goto(served.url)
    expect(page.locator("#queued")).to_have_text("0")
    return page


def show(portal: BlockingPortal, served: Site, step: int, frame: int, job: int) -> None:
    """A step of a frame, as a device would tell it: a picture of one colour, another each time."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (40 * frame, step % 256, 128)).save(data, "PNG")
    served.recent.put(frame, step, data.getvalue())
    portal.call(served.log.append, replace(previewed(step, frame, job), steps=SWAPS))


def test_every_frame_of_every_job_that_is_made_is_seen(
    watched: Page, portal: BlockingPortal, served: Site
) -> None:
    """Each on a card of its own, with its own newest picture; none is only the first of its batch."""
    for job, frames in JOBS.items():
        portal.call(served.log.append, accepted(job, frames[0], tuple(frames)))
        for index, frame in enumerate(frames):
            portal.call(served.log.append, replace(created(frame, job), index=index, seed=frame))
    expect(watched.locator("#developing .card")).to_have_count(6)
    for step in (1, 2):
        for job, frames in JOBS.items():
            for frame in frames:
                show(portal, served, step, frame, job)
    for frame in range(1, 7):
        shown = card(watched, frame).locator(".picture")
        expect(shown).to_have_attribute("src", re.compile(rf"/frames/{frame}/preview\?step=2&"))
        colour = shown.evaluate(
            """(image) => {
              const canvas = document.createElement("canvas").getContext("2d");
              canvas.drawImage(image, 0, 0);
              return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
            }"""
        )
        assert colour == [40 * frame, 2, 128]


def test_no_swap_leaves_the_sheet_bare(watched: Page, portal: BlockingPortal, served: Site) -> None:
    """Whatever lies on it is whole from the first moment; there is always one, and steps only grow."""
    begin = accepted()
    for event in (replace(begin, prompt=replace(begin.prompt, steps=SWAPS)), created()):
        portal.call(served.log.append, event)
    show(portal, served, 1, 1, 1)
    expect(card(watched, 1).locator(".picture")).to_have_attribute("data-step", "1")
    watched.evaluate(f"() => void (window.looked = ({LOOK})({SWAPS}))")
    for step in range(2, SWAPS + 1):
        show(portal, served, step, 1, 1)
    seen: list[dict[str, Any]] = watched.evaluate("window.looked")
    assert all(look["whole"] and 1 <= look["count"] <= 2 for look in seen)
    assert [look["step"] for look in seen] == sorted(look["step"] for look in seen)


def test_who_waits_is_told_for_how_long(watched: Page, portal: BlockingPortal, served: Site) -> None:
    """Apart from what the pictures before still take; nothing before one like them is known."""
    for job in (1, 2, 3):
        portal.call(served.log.append, accepted(job, job))
    portal.call(served.log.append, created())
    expect(card(watched, 3).locator(".pace")).to_have_text("")
    ends: list[Event] = [finished(), deleted(), created(2, 2)]
    for event in [*map(previewed, (1, 2, 3, 4)), *ends]:
        portal.call(served.log.append, event)
    expect(card(watched, 2)).to_have_attribute("data-status", "running")
    expect(card(watched, 3).locator(".pace")).to_have_text(re.compile("^begins (next|in about .+)$"))


def test_the_log_has_what_the_stream_left_out(watched: Page, portal: BlockingPortal, served: Site) -> None:
    """Of steps that commit together the stream tells the last; the log has every one, in order, once."""
    for event in (accepted(), created()):
        portal.call(served.log.append, event)
    open_view(watched, "Log")
    rows = watched.locator("#events .event")
    expect(rows).to_have_count(2)
    for first in (1, 11, 21):
        steps: list[Event] = [replace(previewed(step), steps=SWAPS) for step in range(first, first + 10)]
        portal.call(served.log.decide, lambda _, steps=steps: steps)
    expect(rows).to_have_count(32)
    seqs = rows.evaluate_all("(all) => all.map((one) => Number(one.dataset.seq))")
    assert seqs == list(range(32, 0, -1))
