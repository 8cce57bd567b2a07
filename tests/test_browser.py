"""The page in a real browser on a real daemon: what a person does there, and what they then see."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.daemons import TIMEOUT, Daemon

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHORT = {"prompt": "a red fox", "steps": 24, "seed": 7}
LONG = {"prompt": "a slow cat", "steps": 400, "seed": 2}
PATIENCE = TIMEOUT * 1000
ANSWERS = ("status of 410", "status of 422")
"""Refusals that belong to the page's work, which browsers report as errors of the network."""

PICTURES_UNTIL_FINAL = """() => new Promise((resolve) => {
  const canvas = document.createElement("canvas");
  const seen = [];
  const look = () => {
    const image = document.querySelector(".card .picture");
    if (!image || !image.naturalWidth || seen.some((one) => one.url === image.src)) return;
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    const { kind, step } = image.dataset;
    seen.push({ url: image.src, kind, step: Number(step), pixels: canvas.toDataURL() });
    if (kind === "final") resolve(seen);
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true });
  document.addEventListener("load", look, true);
  look();
})"""
"""Each picture that is laid on the first card, with its pixels as a browser shows them."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, headless."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("SAFELIGHT_BROWSER_TESTS") == "required":
            pytest.fail("SAFELIGHT_BROWSER_TESTS=required, and there is no chromium on the PATH")
        pytest.skip("there is no chromium on the PATH")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=PATIENCE)
        yield running
        running.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of; asserted empty after the story."""
    return []


@pytest.fixture
def page(browser: Browser, daemon: Daemon, complaints: list[str]) -> Iterator[Page]:
    """The daemon's page, which must not have raised an error or met its own policy by the end."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(answer in message.text for answer in ANSWERS):
            complaints.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(daemon.url)
    expect(page.locator("#model")).to_have_text("demo")
    expect(page.locator("#device")).not_to_have_text("auto")
    yield page
    context.close()
    assert complaints == []


def card(page: Page, frame: int) -> Locator:
    """A frame's card."""
    return page.locator(f'.card[data-frame="{frame}"]')


def step(shown: Locator) -> int:
    """The step that a card tells."""
    return int(shown.get_attribute("data-step") or 0)


def frames(page: Page) -> list[str]:
    """The frames on the wall."""
    ids: list[str] = page.locator(".card").evaluate_all("(all) => all.map((one) => one.dataset.frame).sort()")
    return ids


def begun(page: Page, frame: int) -> Locator:
    """The card of a frame that shows a preview by now."""
    shown = card(page, frame)
    expect(shown.locator(".picture[data-kind=preview]")).to_be_visible()
    return shown


def test_a_dropped_prompt_develops_before_the_eyes(page: Page, daemon: Daemon) -> None:
    """Three different previews of one frame at least, in their order, and then the picture."""
    daemon.drop("fox.json", SHORT)
    seen: list[dict[str, Any]] = page.evaluate(PICTURES_UNTIL_FINAL)

    previews = [picture for picture in seen if picture["kind"] == "preview"]
    assert len({picture["pixels"] for picture in previews}) >= 3
    assert [picture["step"] for picture in seen] == sorted(picture["step"] for picture in seen)
    assert seen[-1]["kind"] == "final"
    expect(card(page, 1)).to_have_attribute("data-status", "done")


def test_stop_stops_the_frame_it_stands_on(page: Page, daemon: Daemon) -> None:
    """The second frame is cancelled, the log says who asked, and no final is paid for."""
    daemon.drop("short.json", {**SHORT, "steps": 2})
    expect(card(page, 1)).to_have_attribute("data-status", "done")
    daemon.drop("long.json", LONG)
    begun(page, 2).get_by_role("button", name="Stop").click()
    expect(card(page, 2)).to_have_attribute("data-status", "cancelled")

    end = daemon.wait_for_type("PreviewDeleted", frame=2)["seq"]
    kinds = [event["type"] for event in history(daemon, end) if event["data"].get("frame") == 2]
    assert kinds.index("CancelRequested") < kinds.index("FrameCancelled")
    assert "FinalWritten" not in kinds
    expect(card(page, 1)).to_have_attribute("data-status", "done")


def history(daemon: Daemon, end: int) -> list[dict[str, Any]]:
    """The log up to `end`."""
    events: list[dict[str, Any]] = []
    for event in daemon.stream():
        events.append(event)
        if event["seq"] == end:
            break
    return events


def test_a_reload_in_the_middle_shows_the_same(page: Page, daemon: Daemon) -> None:
    """The same frames, and no step lost."""
    daemon.drop("two.json", {**LONG, "count": 2})
    before = step(begun(page, 1))
    expect(card(page, 2)).to_have_attribute("data-status", "queued")
    known = frames(page)

    page.reload()
    again = begun(page, 1)
    assert step(again) >= before
    assert frames(page) == known == ["1", "2"]
    expect(again).to_have_attribute("data-status", "running")


def test_a_daemon_that_dies_and_comes_back_is_followed(
    page: Page, daemon: Daemon, complaints: list[str]
) -> None:
    """A banner while it is away; then the frame goes on to its end, without a reload."""
    daemon.drop("fox.json", {**SHORT, "steps": 150})
    begun(page, 1)
    assert daemon.process.stdout is not None
    daemon.kill()
    daemon.process.stdout.close()
    expect(page.locator("#banner")).to_be_visible()
    expect(page.locator("#banner")).to_contain_text("reconnects by itself")

    daemon.arguments = ("--port", daemon.url.rstrip("/").rpartition(":")[2])
    daemon.start()
    expect(page.locator("#banner")).to_be_hidden()
    expect(card(page, 1)).to_have_attribute("data-status", "done")
    expect(card(page, 1)).to_contain_text("attempt 2")
    expect(card(page, 1).locator(".picture[data-kind=final]")).to_be_visible()
    assert frames(page) == ["1"]
    complaints[:] = [text for text in complaints if "net::ERR_" not in text]


def test_the_form_sends_a_prompt_and_shows_its_faults_in_place(page: Page) -> None:
    """A fault stands under the field it names; put right, the prompt becomes a frame."""
    page.get_by_label("Prompt", exact=True).fill("a blue boat")
    page.locator("summary").click()
    page.locator("input[name=steps]").fill("-1")
    page.get_by_role("button", name="Develop").click()
    expect(page.locator("label", has=page.locator("input[name=steps]")).locator(".fault")).to_be_visible()
    expect(page.locator("input[name=steps]")).to_have_attribute("aria-invalid", "true")

    page.locator("input[name=steps]").fill("2")
    page.get_by_role("button", name="Develop").click()
    expect(page.locator("output")).to_have_text("Job 1 is queued: frame 1.")
    expect(page.locator(".fault")).to_have_count(0)
    expect(card(page, 1)).to_have_attribute("data-status", "done")


def test_a_paused_queue_waits_until_it_is_resumed(page: Page, daemon: Daemon) -> None:
    """The page says so, wherever the pause came from, and lets one resume."""
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#paused")).to_have_text("Paused by the page at 127.0.0.1")
    daemon.drop("fox.json", {**SHORT, "steps": 2})
    expect(card(page, 1)).to_have_attribute("data-status", "queued")
    page.get_by_role("button", name="Resume").click()
    expect(card(page, 1)).to_have_attribute("data-status", "done")
    daemon.post("api/queue/pause", {})
    expect(page.locator("#paused")).to_have_text("Paused by 127.0.0.1")
