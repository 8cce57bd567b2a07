"""`python docs/screenshots.py`, or `make screenshots`: the pictures of the page in `docs/images/`, made anew.

A daemon in a temporary home develops sample prompts on the demo model, and Chromium looks at it as a person
would: the wall while pictures develop, the history, one picture looked at closely, the wall set back in time,
a comparison, the log, a phone, by dark and by light.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from playwright.sync_api import Browser, Page, expect, sync_playwright

from daemon.samples import SMALL_THEN_LARGE

IMAGES = Path(__file__).parent / "images"
DESK = (1440, 900)
PHONE = (390, 844)
LARGE_AT_ONCE: dict[str, Any] = {"width": 256, "height": 256, "steps": 24, "hires": None}
"""Of those that are looked at while they develop: twice as much is to be seen."""
FINISHED: list[dict[str, Any]] = [
    {"prompt": "a red circle on a blue background", "seed": 7},
    {"prompt": "a large yellow star on a purple background", "seed": 21},
    {
        "prompt": "a sailing boat on the sea at sunset with the sun",
        "seed": 20,
        "count": 2,
        "project": "seas",
        **LARGE_AT_ONCE,
    },
    {"prompt": "a pink heart on a teal background", "seed": 30},
    {"prompt": "trees in the snow by day", "seed": 40, "count": 3, "project": "land"},
    {"prompt": "an orange diamond on a black background", "seed": 50, "count": 3},
    {"prompt": "a white cross on a red background", "seed": 60, "count": 3},
    {
        "prompt": "a house on green hills on a sunny day with the sun",
        "seed": 70,
        "count": 3,
        "project": "land",
    },
    {"prompt": "a cactus in the desert at sunset with the sun", "seed": 80, "count": 2, "project": "land"},
    {"prompt": "two trees on green hills at sunset with the sun", "seed": 90, "count": 2, "project": "land"},
]
DEVELOPING = [
    {
        "prompt": "a sailing boat on the sea at sunset with the sun",
        "seed": 22,
        "steps": 400,
        "project": "seas",
    },
    {"prompt": "a large yellow star on a purple background", "seed": 5, "count": 2, "steps": 60},
    {"prompt": "a pink heart on a teal background", "seed": 4},
]
PATIENCE = 180_000
"""Milliseconds."""
STEP = 60
"""Of the picture that is seen developing."""


def main() -> None:
    """Make all of them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as url,
        sync_playwright() as playwright,
    ):
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        frames = [frame for prompt in FINISHED for frame in submit(url, SMALL_THEN_LARGE | prompt)]
        with looking(browser, url, "#/") as page:
            for frame in frames:
                expect(page.locator(f'[data-frame="{frame}"][data-status=done]')).to_be_attached()
        shoot_the_finished(browser, url, frames)
        developing = [frame for prompt in DEVELOPING for frame in submit(url, prompt)]
        shoot_the_wall(browser, url, developing[0])
        browser.close()


def shoot_the_finished(browser: Browser, url: str, frames: list[int]) -> None:
    """What needs nothing but pictures that are done."""
    shoot(browser, url, "history", "#/history", lambda page: whole(page, ".cell img"))
    shoot(browser, url, "picture", f"#/frame/{frames[2]}", look_closer)
    shoot(browser, url, "compare", f"#/compare/{frames[2]},{frames[3]}", compare)
    shoot(browser, url, "log", "#/log", lambda page: page.locator(".event summary").nth(3).click())
    shoot(browser, url, "time-travel", "#/", go_back)
    shoot(browser, url, "phone-history", "#/history", lambda page: whole(page, ".cell img"), size=PHONE)


def shoot_the_wall(browser: Browser, url: str, frame: int) -> None:
    """While one picture develops, others wait and others are done."""

    def wait(page: Page) -> None:
        shown = page.locator(f'.card[data-frame="{frame}"]')
        expect(shown.locator(".pace")).to_contain_text("left")
        page.wait_for_function(
            "([id, step]) => +document.querySelector(`.card[data-frame='${id}']`).dataset.step > step",
            arg=[frame, STEP],
            timeout=PATIENCE,
        )

    shoot(browser, url, "viewer", "#/", wait)
    shoot(browser, url, "viewer-light", "#/", wait, scheme="light")
    shoot(browser, url, "phone", "#/", wait, size=PHONE)


def look_closer(page: Page) -> None:
    """A picture with its film, one third of the way."""
    expect(page.locator(".strip img").first).to_be_visible()
    page.locator("#frame .film").fill("8")
    expect(page.locator("#frame .film-step")).to_be_visible()


def compare(page: Page) -> None:
    """Two pictures at the same step."""
    expect(page.locator("#columns figure")).to_have_count(2)
    page.locator("#compare-step").fill("10")
    expect(page.locator("#columns .film-step")).to_have_count(2)


def go_back(page: Page) -> None:
    """The wall as it was when half of it was made."""
    slider = page.get_by_label("Moment of the log")
    slider.fill(str(int(slider.get_attribute("max") or 0) * 9 // 20))
    expect(page.locator(".moment")).to_contain_text("event")
    expect(page.locator("#developing .picture").first).to_be_visible()
    whole(page, "#ended .picture")


def whole(page: Page, pictures: str) -> None:
    """Wait until those in sight have come."""
    expect(page.locator(pictures).first).to_be_attached()
    page.wait_for_function(
        """(all) => {
            const inSight = [...document.querySelectorAll(all)].filter((one) => {
                const { top, bottom } = one.getBoundingClientRect();
                return bottom > 0 && top < innerHeight;
            });
            return inSight.every((one) => one.complete && one.naturalWidth > 0);
        }""",
        arg=pictures,
        timeout=PATIENCE,
    )


def shoot(
    browser: Browser,
    url: str,
    name: str,
    address: str,
    prepare: Callable[[Page], object],
    size: tuple[int, int] = DESK,
    scheme: str = "dark",
) -> None:
    """One picture of the page, once `prepare` has brought it there."""
    with looking(browser, url, address, size, scheme) as page:
        prepare(page)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.screenshot(path=IMAGES / f"{name}.png")
        print(IMAGES.name, name, flush=True)


@contextmanager
def looking(
    browser: Browser, url: str, address: str, size: tuple[int, int] = DESK, scheme: str = "dark"
) -> Iterator[Page]:
    """The page in a window of this size."""
    wide, high = size
    context = browser.new_context(
        viewport={"width": wide, "height": high}, color_scheme="light" if scheme == "light" else "dark"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url + address)
    expect(page.locator("#model")).not_to_have_text("–")
    yield page
    context.close()


def submit(url: str, prompt: dict[str, Any]) -> list[int]:
    """Queue a prompt; answers its frames."""
    headers = {"content-type": "application/json"}
    request = Request(f"{url}api/jobs", data=json.dumps(prompt).encode(), headers=headers)
    with urlopen(request) as answer:
        frames: list[int] = json.load(answer)["frames"]
    return frames


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """A daemon, by its address."""
    command = [sys.executable, "-m", "daemon", "up", "--home", str(home), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield next(
            line.removeprefix("watch at ").strip() for line in process.stdout if line.startswith("watch at ")
        )
    finally:
        process.terminate()
        process.stdout.read()
        process.wait()


if __name__ == "__main__":
    main()
