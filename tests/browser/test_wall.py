"""The live wall: pictures develop, can be stopped and moved, and every tab sees the same."""

import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from playwright.sync_api import BrowserContext, Page, Route, expect
from safetensors.torch import save_file

from daemon.samplers import SAMPLERS, SCHEDULERS
from tests.browser.views import LONG, SHORT, begun, card, finish, heard, order, position, step, submit
from tests.daemons import Daemon
from tests.small_model import WIDTHS

PICTURES_UNTIL_FINAL = """() => void (window.seen = new Promise((resolve) => {
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
}))"""
"""Each picture that is laid from now on on the first card, with its pixels as a browser shows them."""
UNHURRIED = """(() => {
  const { setTimeout } = window;
  window.setTimeout = (act, ms, ...given) => setTimeout(act, ms >= 4000 ? 60 * ms : ms, ...given);
})()"""
"""A page that waits a minute for each second in which a person may press a button: to undo, or to be sure."""


@pytest.fixture
def context(context: BrowserContext) -> BrowserContext:
    """However slow the machine is, its hand is quick enough."""
    context.add_init_script(UNHURRIED)
    return context


def test_a_prompt_develops_before_the_eyes(page: Page, daemon: Daemon) -> None:
    """Three different previews of one frame at least, in their order, none from a blob, then the picture."""
    page.evaluate(PICTURES_UNTIL_FINAL)
    (frame,) = submit(daemon, SHORT, steps=200)
    seen: list[dict[str, Any]] = page.evaluate("window.seen")

    previews = [picture for picture in seen if picture["kind"] == "preview"]
    assert len({picture["pixels"] for picture in previews}) >= 3
    assert [picture["step"] for picture in seen] == sorted(picture["step"] for picture in seen)
    assert all(picture["url"].startswith(daemon.url) for picture in seen)
    expect(card(page, frame)).to_have_attribute("data-status", "done")


def test_a_card_tells_step_noise_time_and_device(page: Page, daemon: Daemon) -> None:
    """All of it again after a reload, at once, although the snapshot does not hold it."""
    (frame,) = submit(daemon, LONG)
    shown = begun(page, frame)
    expect(shown.locator(".step")).to_have_text(re.compile(r"^step \d+ of 500$"))
    told = re.compile(r"σ [\d.]+.*about .+ left.*on cpu")
    expect(shown.locator(".pace")).to_have_text(told)
    expect(shown.get_by_role("progressbar")).to_have_attribute("aria-valuemax", "500")

    before, seq = step(shown), position(daemon)
    page.reload()
    expect(begun(page, frame).locator(".pace")).to_have_text(told)
    heard(page, seq)  # a snapshot may be a second old; what came since follows it
    assert step(card(page, frame)) >= before


def test_a_stop_says_so_until_the_event_confirms(page: Page, daemon: Daemon) -> None:
    """While the daemon cannot answer the button waits; then it is stopped, and no final is paid for."""
    (frame,) = submit(daemon, LONG)
    stop = begun(page, frame).locator(".stop")
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        stop.click()
        expect(stop).to_have_text("Stopping…")
        expect(card(page, frame)).not_to_have_attribute("data-status", "cancelled")
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    expect(card(page, frame)).to_have_attribute("data-status", "cancelled")
    end = daemon.wait_for_type("PreviewDeleted", frame=frame)["seq"]
    assert daemon.wait_for_types("FrameCancelled", end)[-1]["data"]["frame"] == frame
    assert all(event["data"]["frame"] != frame for event in daemon.wait_for_types("FinalWritten", end))


def test_the_queue_is_put_in_another_order_and_back(page: Page, daemon: Daemon) -> None:
    """Sooner lets a job pass the one ahead, Undo puts it back; Later lets the one behind pass."""
    (running,) = submit(daemon, LONG)
    (first,) = submit(daemon, SHORT)
    (second,) = submit(daemon, SHORT)
    begun(page, running)
    expect(card(page, second)).to_be_visible()
    assert order(page, "waiting") == [first, second]
    expect(card(page, first).locator(".sooner")).to_be_hidden()

    card(page, second).locator(".sooner").click()
    expect(page.locator("#waiting .card").first).to_have_attribute("data-frame", str(second))
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#waiting .card").first).to_have_attribute("data-frame", str(first))
    card(page, first).locator(".later").click()
    expect(page.locator("#waiting .card").first).to_have_attribute("data-frame", str(second))


def test_a_job_then_the_waiting_then_all_are_stopped(page: Page, daemon: Daemon) -> None:
    """Each button ends what it names and nothing else; those for many ask once more."""
    (running,) = submit(daemon, LONG)
    several = submit(daemon, SHORT, count=2)
    (other,) = submit(daemon, SHORT)
    begun(page, running)
    card(page, several[0]).locator(".stop-job").click()
    for frame in several:
        expect(card(page, frame)).to_have_attribute("data-status", "cancelled")
    expect(card(page, other)).to_have_attribute("data-status", "queued")

    waiting = page.locator("#stop-waiting")
    waiting.click()
    expect(waiting).to_have_text("Really stop?")
    expect(card(page, other)).to_have_attribute("data-status", "queued")
    waiting.click()
    expect(card(page, other)).to_have_attribute("data-status", "cancelled")
    expect(card(page, running)).to_have_attribute("data-status", "running")

    page.locator("#stop-all").dblclick()
    expect(card(page, running)).to_have_attribute("data-status", "cancelled")


def test_a_stop_before_the_begin_is_taken_back(page: Page, daemon: Daemon) -> None:
    """Of a frame by u, of a job and of all that wait by Undo: the same prompt, seeds and priority."""
    (running,) = submit(daemon, LONG)
    (one,) = submit(daemon, SHORT, priority=3)
    begun(page, running)

    card(page, one).locator(".stop").click()
    expect(card(page, one)).to_have_attribute("data-status", "cancelled")
    expect(page.locator("#notices")).to_contain_text(f"Frame {one} was stopped before it began.")
    page.keyboard.press("u")
    again = card(page, one + 1)
    expect(again).to_have_attribute("data-status", "queued")
    expect(again.locator(".facts")).to_contain_text("seed 7")
    expect(again.locator(".facts")).to_contain_text("priority 3")
    expect(page.locator("#notices .undo")).to_have_count(0)

    several = submit(daemon, SHORT, count=3)
    card(page, several[0]).locator(".stop-job").click()
    expect(page.locator("#notices")).to_contain_text("3 frames were stopped before they began.")
    page.get_by_role("button", name="Undo").click()
    anew = [card(page, several[2] + number) for number in (1, 2, 3)]
    for seed, each in enumerate(anew, start=7):
        expect(each.locator(".facts")).to_contain_text(f"seed {seed}")
    expect(anew[0].locator(".stop-job")).to_have_text("Stop job (3)")

    page.locator("#stop-waiting").dblclick()
    expect(page.locator("#waiting .card")).to_have_count(0)
    expect(page.locator("#notices")).to_contain_text("4 frames were stopped before they began.")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#waiting .card")).to_have_count(4)
    expect(page.locator("#waiting .card").first.locator(".facts")).to_contain_text("priority 3")


def test_notices_cover_nothing_that_moves(page: Page, daemon: Daemon) -> None:
    """One that comes or goes leaves every card where it was: a click on its way still meets its button."""
    (running,) = submit(daemon, LONG)
    _, second = submit(daemon, SHORT) + submit(daemon, SHORT)
    stop = begun(page, running).locator(".stop")
    expect(card(page, second)).to_be_visible()
    place = "(button) => button.getBoundingClientRect().y + scrollY"
    before = stop.evaluate(place)
    card(page, second).locator(".sooner").click()
    expect(page.locator("#notices .undo")).to_be_visible()
    assert stop.evaluate(place) == before
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#notices .undo")).to_have_count(0)
    assert stop.evaluate(place) == before


def test_a_picture_made_again_from_a_closer_look_is_taken_back_there(page: Page, daemon: Daemon) -> None:
    """The offer to undo lies over the dialog, where it can be seen and pressed."""
    (frame,) = finish(daemon, SHORT, steps=2)
    submit(daemon, LONG)
    page.goto(f"{daemon.url}#/frame/{frame}")
    shown = page.locator("#frame")
    shown.locator(".again").click()
    shown.get_by_role("button", name="Undo").click()
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()
    expect(card(page, frame + 2)).to_have_attribute("data-status", "cancelled")
    expect(page.locator("dialog #notices")).to_have_count(0)


def test_the_form_sends_a_prompt_and_shows_its_faults_in_place(page: Page) -> None:
    """A fault stands under the field it names; put right, the prompt becomes a frame."""
    page.get_by_label("Prompt", exact=True).fill("a blue boat")
    page.locator("#new-prompt summary").click()
    page.locator("input[name=steps]").fill("-1")
    page.get_by_role("button", name="Develop").click()
    expect(page.locator("label", has=page.locator("input[name=steps]")).locator(".fault")).to_be_visible()
    expect(page.locator("input[name=steps]")).to_have_attribute("aria-invalid", "true")

    page.locator("input[name=steps]").fill("2")
    page.get_by_role("button", name="Develop").click()
    expect(page.locator("output")).to_have_text(re.compile(r"Job \d+ is queued: frame \d+\."))
    expect(page.locator(".fault")).to_have_count(0)
    said = page.locator("output").text_content() or ""
    (frame,) = re.findall(r"frame (\d+)", said)
    expect(card(page, int(frame))).to_have_attribute("data-status", "done")


def test_what_is_typed_while_a_prompt_is_sent_is_the_next_one(page: Page) -> None:
    """The field is emptied of what was taken, and of nothing else."""
    asked: list[Route] = []
    page.route("**/api/jobs", lambda route: asked.append(route))
    field = page.get_by_label("Prompt", exact=True)
    field.fill("a blue boat")
    with page.expect_request("**/api/jobs"):
        field.press("Enter")
    field.press("End")
    field.type("a fox")
    asked[0].continue_()
    expect(page.locator("output")).to_have_text(re.compile(r"Job \d+ is queued"))
    expect(field).to_have_value("a fox")


def test_the_form_offers_what_there_is(page: Page, daemon: Daemon) -> None:
    """Files that came meanwhile, the schedulers of the chosen sampler, and what is put into the words."""
    home = daemon.home
    for folder in (home.loras, home.embeddings):
        assert list(folder.iterdir()) == []
    options = page.locator("#new-prompt summary")
    options.click()
    model, sampler, scheduler = (
        page.locator(f"#new-prompt [name={name}]") for name in ("model", "sampler", "scheduler")
    )
    expect(model.locator("option")).to_have_text(["default: demo", "demo"])
    expect(scheduler.locator("option")).to_have_count(1 + len(SCHEDULERS))
    expect(page.locator("[data-adds=lora]")).to_be_hidden()
    sampler.select_option(label="DDIM")
    expect(scheduler.locator("option")).to_have_text(["default", *SAMPLERS["ddim"].schedulers])
    fitting = SAMPLERS["ddim"].schedulers[-1]
    scheduler.select_option(fitting)

    learned = {"clip_l": torch.ones(1, WIDTHS[0]), "clip_g": torch.ones(1, WIDTHS[1])}
    save_file(learned, home.embeddings / "soft.safetensors")
    options.click()
    options.click()
    words = page.get_by_label("Prompt", exact=True)
    words.fill("a blue boat,")
    page.locator("[data-adds=embedding]").select_option("soft")
    expect(words).to_have_value("a blue boat, embedding:soft")
    expect(page.locator("[data-adds=embedding]")).to_have_value("")
    page.locator("input[name=steps]").fill("2")
    page.locator("input[name=project]").fill("boats")
    page.get_by_role("button", name="Develop").click()
    expect(page.locator("output")).to_have_text(re.compile(r"Job \d+ is queued"))
    (frame,) = re.findall(r"frame (\d+)", page.locator("output").text_content() or "")
    asked = {"prompt": "a blue boat, embedding:soft", "sampler": "ddim", "scheduler": fitting}
    made = daemon.wait_for_type("FinalWritten", frame=int(frame))["data"]["recipe"]["prompt"]
    assert {key: made[key] for key in (*asked, "project")} == {**asked, "project": "boats"}


def test_a_prompt_that_was_sent_is_taken_back(page: Page, daemon: Daemon) -> None:
    """By Undo or its key; while someone types, u is a letter."""
    (running,) = submit(daemon, LONG)
    begun(page, running)
    field = page.get_by_label("Prompt", exact=True)
    field.fill("a blue boat")
    field.press("Enter")
    sent = card(page, running + 1)
    expect(sent).to_have_attribute("data-status", "queued")
    expect(field).to_have_value("")  # the card may come before the answer, which empties the field
    field.press("u")
    expect(field).to_have_value("u")
    expect(sent).to_have_attribute("data-status", "queued")
    sent.focus()
    page.keyboard.press("u")
    expect(sent).to_have_attribute("data-status", "cancelled")


def test_a_paused_queue_waits_until_it_is_resumed(page: Page, daemon: Daemon) -> None:
    """The page says so, wherever the pause came from, and lets one resume."""
    submit(daemon, LONG)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#paused")).to_have_text("Paused by the page at 127.0.0.1")
    (frame,) = submit(daemon, SHORT, steps=2)
    daemon.post("api/cancel", {"scope": "all"})
    (frame,) = submit(daemon, SHORT, steps=2)
    expect(card(page, frame)).to_have_attribute("data-status", "queued")
    page.get_by_role("button", name="Resume").click()
    expect(card(page, frame)).to_have_attribute("data-status", "done")
    daemon.post("api/queue/pause", {})
    expect(page.locator("#paused")).to_have_text("Paused by 127.0.0.1")


def test_a_stopped_picture_is_made_again(page: Page, daemon: Daemon) -> None:
    """As another job with the same seed, which can be taken back."""
    (frame,) = submit(daemon, LONG)
    begun(page, frame).locator(".stop").click()
    card(page, frame).locator(".again").click()
    again = card(page, frame + 1)
    expect(again).to_contain_text("seed 2")
    page.get_by_role("button", name="Undo").click()
    expect(again).to_have_attribute("data-status", "cancelled")


def test_more_tabs_than_a_browser_has_connections_see_the_same(
    page: Page, tab: Callable[[], Page], daemon: Daemon
) -> None:
    """Six streams would use up all that a browser opens to one address; the eighth tab still develops."""
    (frame,) = finish(daemon, SHORT, steps=2)
    tabs = [tab() for _ in range(7)]
    (later,) = submit(daemon, SHORT, steps=2)
    for each in [page, *tabs]:
        expect(card(each, frame)).to_have_attribute("data-status", "done")
        expect(card(each, later)).to_have_attribute("data-status", "done")
