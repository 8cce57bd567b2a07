"""The history: ten thousand pictures at hand, found again, looked at closely, made again."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from daemon.settings import Home
from tests.browser.archive import filled
from tests.browser.views import SHORT, card, finish, heard, open_view, position, recorded
from tests.daemons import Daemon

MANY = 10_000
FALL = """async () => {
  let most = 0;
  for (let fall = 0; fall < 60; fall += 1) {
    scrollBy(0, 700);
    await new Promise(requestAnimationFrame);
    most = Math.max(most, document.querySelectorAll(".cell").length);
  }
  return most;
}"""
"""Scrolls sixty windows down; answers the most cells that there ever were."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, demo_checkpoint: Path) -> Iterator[Daemon]:
    """A daemon that has made ten thousand pictures."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.checkpoints.mkdir(parents=True)
    home.inbox.mkdir()
    (home.checkpoints / "demo").symlink_to(demo_checkpoint)
    filled(home, MANY)
    with Daemon(home) as daemon:
        yield daemon


def test_ten_thousand_pictures_are_a_grid_that_holds_what_is_seen(page: Page) -> None:
    """However far one scrolls there are few cells, and a jump to the very end shows the first picture."""
    open_view(page, "History")
    expect(page.locator("#history-said")).to_have_text(re.compile(r"10,\d{3} pictures"))
    expect(page.locator(".cell img").first).to_be_visible()
    assert page.evaluate(FALL) < 150
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.locator('.cell[data-frame="1"]')).to_be_visible()
    page.locator('.cell[data-frame="1"]').focus()
    page.keyboard.press("k")
    expect(page.locator('.cell[data-frame="2"]')).to_be_focused()
    page.keyboard.press("c")
    expect(page.locator("#tray")).to_contain_text("1 picture chosen")
    expect(page.locator('.cell[data-frame="2"]')).to_be_focused()


def test_pictures_are_found_by_each_filter(page: Page, daemon: Daemon) -> None:
    """Words of the prompt, status, project, model and date; the address keeps them."""
    (frame,) = finish(daemon, {**SHORT, "prompt": "a unique quokka"}, steps=2, project="marsupials")
    open_view(page, "History")
    said = page.locator("#history-said")
    page.get_by_label("Words of the prompt").fill("QUOKKA")
    expect(said).to_have_text("1 picture fits")
    expect(page.locator(".cell")).to_have_attribute("data-frame", str(frame))
    expect(page).to_have_url(re.compile("text=QUOKKA"))
    page.reload()
    expect(said).to_have_text("1 picture fits")
    page.get_by_label("Status").select_option("failed")
    expect(said).to_have_text("No picture fits.")
    page.get_by_role("button", name="Clear").click()
    expect(said).to_have_text(re.compile("10,00"))
    page.get_by_label("Project", exact=True).select_option("marsupials")
    expect(said).to_have_text("1 picture fits")
    page.get_by_label("Model", exact=True).select_option("sketch")
    expect(said).to_have_text("No picture fits.")
    page.get_by_label("Model", exact=True).select_option("demo")
    expect(said).to_have_text("1 picture fits")
    # Each answer differs from the one before, which would else be taken for it.
    page.get_by_label("before").fill("2020-01-01")
    expect(said).to_have_text("No picture fits.")
    page.get_by_label("before").fill("2100-01-01")
    expect(said).to_have_text("1 picture fits")
    page.get_by_label("from").fill("2100-01-01")
    expect(said).to_have_text("No picture fits.")
    page.get_by_label("from").fill("2020-01-01")
    expect(said).to_have_text("1 picture fits")


def test_new_pictures_push_nothing_along(page: Page, daemon: Daemon) -> None:
    """They are told of, and come when asked for."""
    open_view(page, "History")
    first = page.locator('.cell[data-index="0"]')
    expect(first).to_have_attribute("data-frame", re.compile(r"\d+"))
    before = first.get_attribute("data-frame")
    (frame,) = finish(daemon, SHORT, steps=2)
    page.get_by_role("button", name="Show 1 new picture").click()
    expect(page.locator('.cell[data-index="0"]')).to_have_attribute("data-frame", str(frame))
    assert before != str(frame)


def test_a_picture_is_looked_at_copied_and_made_again(page: Page, daemon: Daemon) -> None:
    """All parameters, its own story with hashes; the copied prompt file makes the very same picture."""
    (frame,) = finish(daemon, SHORT, steps=3, count=1, negative_prompt="blurry")
    heard(page, position(daemon))  # a closer look is made anew when its picture ends
    card(page, frame).locator(".open").click()
    shown = page.locator("#frame")
    expect(shown.locator(".parameters")).to_contain_text("64 × 64")
    expect(shown.locator(".negative")).to_have_text("without: blurry")
    story = shown.locator(".story .event")
    expect(story.first).to_have_attribute("data-type", "JobAccepted")
    story.first.locator("summary").click()
    expect(story.first.locator(".whole-hash")).to_have_text(re.compile("hash [0-9a-f]{24}"))

    with page.expect_download() as downloading:
        shown.locator(".download").click()
    assert downloading.value.suggested_filename.endswith(".png")
    shown.locator(".copy").click()
    expect(shown.locator(".copy")).to_have_text("Copied")
    before = position(daemon)
    daemon.drop("again.json", json.loads(page.evaluate("navigator.clipboard.readText()")))
    daemon.wait_for_type("FinalWritten", before, frame=frame + 1)
    shown.locator(".again").click()
    daemon.wait_for_type("FinalWritten", before, frame=frame + 2)
    made = [recorded(daemon, "FinalWritten", number) for number in (frame, frame + 1, frame + 2)]
    assert len({each["pixels_sha256"] for each in made}) == 1

    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()
    expect(card(page, frame).locator(".open")).to_be_focused()
