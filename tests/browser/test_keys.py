"""The page by keyboard, by ear, on a phone, and for whom motion or contrast matters."""

import itertools
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.views import LONG, SHORT, begun, card, finish, open_view, submit
from tests.daemons import Daemon

AXE = Path(__file__).parents[1] / "static" / "node_modules" / "axe-core" / "axe.min.js"
VIOLATIONS = """() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
  violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target}`)))"""
ANIMATED = """() => {
  window.animated = 0;
  const animate = Element.prototype.animate;
  Element.prototype.animate = function (...given) {
    window.animated += 1;
    return animate.apply(this, given);
  };
}"""
"""Counts what the page has move from now on."""
NEWS = """() => {
  window.news = [];
  const region = document.querySelector("[aria-live=polite]");
  const text = Object.getOwnPropertyDescriptor(Node.prototype, "textContent");
  Object.defineProperty(region, "textContent", {
    get() { return text.get.call(this); },
    set(said) {
      window.news.push([performance.now(), said]);
      text.set.call(this, said);
    },
  });
}"""
"""Notes when each thing is said: as it is, since an observer's turn may come a good while later."""


def test_keys_go_from_picture_to_picture_and_stop_one(page: Page, daemon: Daemon) -> None:
    """j takes the first, k goes back, x stops the one that has the focus, Esc leaves it."""
    (done,) = finish(daemon, SHORT, steps=2)
    (running,) = submit(daemon, LONG)
    begun(page, running)
    page.keyboard.press("j")
    expect(card(page, running)).to_be_focused()
    page.keyboard.press("j")
    expect(card(page, done)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(card(page, running)).to_be_focused()
    page.keyboard.press("x")
    expect(card(page, running)).to_have_attribute("data-status", "cancelled")
    expect(card(page, running)).to_be_focused()
    page.keyboard.press("Escape")
    expect(card(page, running)).not_to_be_focused()


def test_arrows_go_between_rows_and_enter_looks_closer(page: Page, daemon: Daemon) -> None:
    """Down and up to the nearest of the next row, however high its cards; Esc comes back to where one was."""
    finish(daemon, {**SHORT, "prompt": "a red fox " * 20}, steps=2)
    finish(daemon, SHORT, steps=2)
    (running,) = submit(daemon, LONG)
    expect(begun(page, running)).to_have_attribute("data-status", "running")
    expect(page.locator("#developing .card")).to_have_count(1)
    page.keyboard.press("j")
    expect(card(page, running)).to_be_focused()
    page.keyboard.press("ArrowDown")
    below = page.locator("#ended .card:focus")
    expect(below).to_have_count(1)
    for each in page.locator("#ended .card").all()[:4]:
        each.focus()
        page.keyboard.press("ArrowUp")
        expect(card(page, running)).to_be_focused()
    page.keyboard.press("ArrowDown")
    frame = below.get_attribute("data-frame")
    page.keyboard.press("Enter")
    expect(page.locator("#frame .title")).to_have_text(f"Frame {frame}")
    page.keyboard.press("Escape")
    expect(card(page, int(frame or 0))).to_be_focused()


def test_dark_and_light_are_the_persons_own(page: Page) -> None:
    """By what the system asks for, with no switch: dark ground under light ink, and the other way round."""
    brightness = """() => ["backgroundColor", "color"].map((name) => {
      const style = getComputedStyle(name === "color" ? document.body : document.documentElement);
      return style[name].match(/[0-9]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
    })"""
    page.emulate_media(color_scheme="dark")
    ground, ink = page.evaluate(brightness)
    assert ground < 100 < 600 < ink
    page.emulate_media(color_scheme="light")
    ground, ink = page.evaluate(brightness)
    assert ink < 100 < 600 < ground


def test_keys_are_letters_while_someone_types(page: Page, daemon: Daemon) -> None:
    """A prompt with an x and a ? in it stops nothing and opens nothing."""
    (running,) = submit(daemon, LONG)
    begun(page, running)
    page.get_by_label("Prompt", exact=True).press_sequentially("x? j/c")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("x? j/c")
    expect(page.locator("#help")).to_be_hidden()
    expect(card(page, running)).to_have_attribute("data-status", "running")


def test_a_new_frame_takes_neither_focus_nor_click(page: Page, daemon: Daemon) -> None:
    """The focus stays on the button through fifty updates and an arrival; a hand on Stop finds it there."""
    (running,) = submit(daemon, LONG)
    shown = begun(page, running)
    stop = shown.locator(".stop")
    stop.focus()
    stop.hover()
    before = stop.bounding_box()
    (first,) = submit(daemon, SHORT, priority=9)
    expect(card(page, first)).to_be_attached()
    then = int(shown.get_attribute("data-step") or 0)
    page.wait_for_function(
        "([id, step]) => +document.querySelector(`[data-frame='${id}']`).dataset.step > step",
        arg=[running, then + 20],
    )
    expect(stop).to_be_focused()
    assert stop.bounding_box() == before


def test_help_shows_every_key_and_slash_searches(page: Page) -> None:
    """? opens the list, Esc closes it; / goes to the history's search field, and leaves its filter."""
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    expect(page.locator("#help dt")).to_have_count(14)
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("/")
    words = page.get_by_label("Words of the prompt")
    expect(words).to_be_focused()
    page.keyboard.type("fox")
    expect(page).to_have_url(re.compile("text=fox"))
    words.blur()
    page.keyboard.press("/")
    expect(words).to_be_focused()
    expect(words).to_have_value("fox")
    page.keyboard.press("Escape")
    expect(page.locator("#wall")).to_be_visible()


def test_the_one_live_region_says_begin_quarters_and_end(page: Page, daemon: Daemon) -> None:
    """And never twice within five seconds, though thirty steps pass in them."""
    expect(page.locator("[aria-live=polite], [role=status], [role=log]")).to_have_count(1)
    page.evaluate(NEWS)
    finish(daemon, SHORT, steps=30)
    expect(page.locator("[aria-live=polite]")).to_have_text(re.compile(r": done\.$"))
    news: list[tuple[float, str]] = page.evaluate("window.news")
    assert all(later - sooner >= 4900 for (sooner, _), (later, _) in itertools.pairwise(news))
    said = " ".join(text for _, text in news)
    assert "begun" in said
    assert "step" not in said


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_no_violation_in_any_view(page: Page, daemon: Daemon, scheme: str) -> None:
    """The wall with every kind of card, history, log, a frame, a comparison, the help."""
    assert AXE.exists(), "run `make page` first"
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    done = finish(daemon, SHORT, steps=3, count=2)
    (running,) = submit(daemon, LONG)
    submit(daemon, SHORT, count=2)
    begun(page, running)
    page.evaluate(AXE.read_text())

    def judge(view: str) -> None:
        assert (view, page.evaluate(VIOLATIONS)) == (view, [])

    judge("wall")
    open_view(page, "History")
    expect(page.locator(f'.cell[data-frame="{done[0]}"]')).to_be_visible()
    judge("history")
    open_view(page, "Log")
    expect(page.locator("#events .event").first).to_be_visible()
    judge("log")
    page.goto(f"{daemon.url}#/frame/{done[0]}")
    expect(page.locator("#frame .parameters")).to_contain_text("sampler")
    judge("frame")
    page.keyboard.press("Escape")
    page.goto(f"{daemon.url}#/compare/{done[0]},{done[1]}")
    expect(page.locator("#columns figure")).to_have_count(2)
    judge("comparison")
    page.keyboard.press("?")
    judge("help")


def test_on_a_phone_nothing_is_wider_than_the_window(page: Page, daemon: Daemon) -> None:
    """At 390 pixels every view scrolls in one direction only."""
    (done,) = finish(daemon, {**SHORT, "prompt": "averyverylongwordthatdoesnotbreak" * 4}, steps=2)
    page.set_viewport_size({"width": 390, "height": 844})
    places = {
        "#/": f'.card[data-frame="{done}"]',
        "#/history": f'.cell[data-frame="{done}"]',
        "#/log": '#events .event[data-type="PreviewDeleted"]',
        f"#/frame/{done}": "#frame .story .event",
        f"#/compare/{done},{done}": "#columns figure",
    }
    for address, content in places.items():
        page.goto(f"{daemon.url}{address}")
        expect(page.locator(content).first).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, address


def test_who_asked_for_no_motion_gets_none(page: Page, daemon: Daemon) -> None:
    """Pictures are exchanged at once; nothing is animated while one develops."""
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(ANIMATED)
    (running,) = submit(daemon, LONG)
    shown = begun(page, running)
    expect(shown.locator(".beneath")).to_be_attached()  # one picture has given way to another
    assert page.evaluate("document.getAnimations().length") == 0
    assert page.evaluate("window.animated") == 0
