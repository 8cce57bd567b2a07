"""Time travel: films of pictures, pictures locked to one step, the whole wall as it was; and the log."""

import re

from playwright.sync_api import Page, Route, expect

from daemon.events.types import BY_NAME
from tests.browser.views import (
    LONG,
    SHORT,
    begun,
    card,
    events,
    finish,
    heard,
    kept,
    open_view,
    order,
    position,
    step,
    submit,
)
from tests.daemons import Daemon


def test_a_finished_picture_is_scrubbed_through_by_hand_and_by_keys(page: Page, daemon: Daemon) -> None:
    """The film beneath it shows each kept step; [ and ] go through them, and at the end is the picture."""
    (frame,) = finish(daemon, SHORT, steps=20)
    steps = kept(daemon, frame)
    shown = card(page, frame)
    expect(shown).to_have_attribute("data-status", "done")
    page.keyboard.press("j")
    expect(shown).to_be_focused()
    page.keyboard.press("[")
    film = shown.locator(".film-step")
    expect(film).to_have_attribute("data-step", str(steps[-1]))
    page.keyboard.press("[")
    expect(film).to_have_attribute("data-step", str(steps[-2]))
    expect(shown.locator(".film-said")).to_have_text(re.compile(rf"step {steps[-2]} · σ [\d.]+"))
    shown.locator(".film").fill("0")
    expect(film).to_have_attribute("data-step", str(steps[0]))
    page.keyboard.press("Escape")
    shown.focus()
    page.keyboard.press("Space")
    expect(film).to_have_count(0)


def test_the_film_of_a_running_picture_grows(page: Page, daemon: Daemon) -> None:
    """Looked back at and left again, it shows the steps that came meanwhile; the picture goes on beneath."""
    (frame,) = submit(daemon, LONG)
    shown = begun(page, frame)
    shown.focus()
    page.keyboard.press("[")
    film = shown.locator(".film-step")
    expect(film).to_be_visible()
    first = step(film)
    heard(page, daemon.wait_for_step(first + 3, frame=frame)["seq"])
    daemon.post("api/cancel", {"scope": "all"})
    expect(shown).to_have_attribute("data-status", "cancelled")
    page.keyboard.press("]")
    expect(film).to_have_count(0)
    page.keyboard.press("[")
    expect(film).to_have_attribute("data-step", str(kept(daemon, frame)[-1]))
    assert step(film) > first


def test_looking_back_at_a_running_picture_goes_step_by_step(page: Page, daemon: Daemon) -> None:
    """Though more steps come while its film is on the way: each [ leads further back."""
    (frame,) = submit(daemon, LONG)
    shown = begun(page, frame)
    shown.focus()
    held: list[Route] = []
    page.route(f"**/api/frames/{frame}/strip", lambda route: held.append(route), times=1)
    with page.expect_request(f"**/api/frames/{frame}/strip"):
        page.keyboard.press("[")
    heard(page, daemon.wait_for_step(step(shown) + 2, frame=frame)["seq"])
    held[0].continue_()
    film = shown.locator(".film-step")
    expect(film).to_be_visible()
    first = step(film)
    page.keyboard.press("[")
    expect(film).not_to_have_attribute("data-step", str(first))
    assert step(film) < first


def test_pictures_side_by_side_are_locked_to_one_step(page: Page, daemon: Daemon) -> None:
    """Chosen with c on the wall; one slider moves both, and who kept fewer steps shows its newest."""
    (short,) = finish(daemon, SHORT, steps=10)
    (long,) = finish(daemon, SHORT, steps=20, seed=8)
    expect(card(page, long)).to_have_attribute("data-status", "done")
    for frame in (short, long):
        card(page, frame).focus()
        page.keyboard.press("c")
    page.get_by_role("link", name="Compare", exact=True).click()
    columns = page.locator("#columns figure")
    expect(columns).to_have_count(2)
    page.keyboard.press("[")
    expect(columns.nth(1).locator(".film-step")).to_have_attribute("data-step", str(kept(daemon, long)[-1]))
    expect(columns.nth(0).locator(".film-step")).to_have_attribute("data-step", str(kept(daemon, short)[-1]))
    page.get_by_label("Step of all pictures").fill("6")
    for column, frame in enumerate((short, long)):
        steps = kept(daemon, frame)
        newest = max((step for step in steps if step <= 6), default=steps[0])
        expect(columns.nth(column).locator(".film-step")).to_have_attribute("data-step", str(newest))
    expect(page.locator("#compare-said")).to_have_text("step 6 of 20")


def test_a_development_is_downloaded_as_an_animation(page: Page, daemon: Daemon) -> None:
    """As WebP and as GIF, from a closer look at the picture."""
    (frame,) = finish(daemon, SHORT, steps=10)
    heard(page, position(daemon))
    page.goto(f"{daemon.url}#/frame/{frame}")
    for form, begin in (("webp", b"RIFF"), ("gif", b"GIF8")):
        with page.expect_download() as downloading:
            page.locator(f"#frame .{form}").click()
        assert downloading.value.suggested_filename == f"frame-{frame}.{form}"
        assert downloading.value.path().read_bytes().startswith(begin)


def test_the_strip_of_a_closer_look_leads_to_each_step(page: Page, daemon: Daemon) -> None:
    """A press on a small picture shows that step; [ and ] go on from there."""
    (frame,) = finish(daemon, SHORT, steps=10)
    steps = kept(daemon, frame)
    heard(page, position(daemon))  # a closer look is made anew when its picture ends
    page.goto(f"{daemon.url}#/frame/{frame}")
    small = page.locator("#frame .strip button")
    expect(small).to_have_count(len(steps))
    small.nth(1).click()
    film = page.locator("#frame .film-step")
    expect(film).to_have_attribute("data-step", str(steps[1]))
    page.keyboard.press("[")
    expect(film).to_have_attribute("data-step", str(steps[0]))


def test_space_plays_the_whole_wall_through_the_log(page: Page, daemon: Daemon) -> None:
    """From its first event on, until Space again; brackets then go from event to event."""
    finish(daemon, SHORT, steps=10)
    page.keyboard.press("Space")
    moment = page.locator(".moment")
    expect(moment).to_contain_text("event")
    expect(page.locator("#past .play")).to_have_text("Stop")
    page.keyboard.press("Space")
    expect(page.locator("#past .play")).to_have_text("Play")
    page.get_by_label("Moment of the log").fill("5")
    expect(moment).to_contain_text("event 5 of")
    page.locator("#past input").blur()
    page.keyboard.press("]")
    expect(moment).to_contain_text("event 6 of")
    page.keyboard.press("[")
    expect(moment).to_contain_text("event 5 of")


def test_the_wall_goes_back_to_a_moment_and_comes_back(page: Page, daemon: Daemon) -> None:
    """As it was after that event, with the picture of that step; nothing can be asked of the past."""
    (frame,) = finish(daemon, SHORT, steps=20)
    previews = events(daemon, type="PreviewWritten", frame=frame)
    before = previews[len(previews) // 2]
    moment, step = before["seq"], before["data"]["step"]
    (later,) = finish(daemon, SHORT, steps=2)
    expect(card(page, later)).to_have_attribute("data-status", "done")

    page.get_by_label("Moment of the log").fill(str(moment))
    then = card(page, frame)
    expect(then).to_have_attribute("data-status", "running")
    expect(then.locator(".step")).to_have_text(f"step {step} of 20")
    expect(then.locator(".picture")).to_have_attribute("data-step", str(step))
    expect(then.locator(".stop")).to_be_hidden()
    expect(card(page, later)).to_have_count(0)
    expect(page.locator(".moment")).to_contain_text(f"event {moment} of")

    page.get_by_role("button", name="Back to now").click()
    expect(then).to_have_attribute("data-status", "done")
    expect(then.locator(".picture")).to_have_attribute("data-kind", "final")
    expect(card(page, later)).to_be_visible()


def test_a_picture_that_comes_late_does_not_cover_the_past(page: Page, daemon: Daemon) -> None:
    """The finished one, asked for before the wall went back: to where there was none, and to a step."""
    (frame,) = finish(daemon, SHORT, steps=20)
    (accepted,) = events(daemon, type="JobAccepted", order="desc", limit=1)
    preview = events(daemon, type="PreviewWritten", frame=frame)[0]
    held: list[Route] = []
    page.route(f"**/frames/{frame}/final*", lambda route: held.append(route))
    picture = card(page, frame).locator(".picture")

    for moment, status in ((accepted, "queued"), (preview, "running")):
        with page.expect_request(f"**/frames/{frame}/final*"):
            page.reload(wait_until="domcontentloaded")
        page.get_by_label("Moment of the log").fill(str(moment["seq"]))
        expect(card(page, frame)).to_have_attribute("data-status", status)
        held[-1].continue_()
        if status == "queued":
            expect(picture).to_have_count(0)
        else:
            expect(picture).to_have_attribute("data-step", str(preview["data"]["step"]))


def test_what_happens_meanwhile_is_there_on_the_way_back(page: Page, daemon: Daemon) -> None:
    """The past stands still while a new picture begins; Esc brings the present with it."""
    finish(daemon, SHORT, steps=2)
    page.get_by_label("Moment of the log").fill("2")
    expect(page.locator("body")).to_have_class(re.compile("in-past"))
    (frame,) = submit(daemon, LONG)
    heard(page, daemon.wait_for_type("PreviewWritten", frame=frame)["seq"])
    assert frame not in order(page, "developing")
    page.keyboard.press("Escape")
    begun(page, frame)


def test_the_log_comes_as_it_grows_and_is_filtered(page: Page, daemon: Daemon) -> None:
    """Newest first, each event with the hash that the daemon tells, by type and by frame."""
    finish(daemon, SHORT, steps=3)  # a daemon's first may end before it is told what its model's weights are
    (frame,) = finish(daemon, SHORT, steps=3)
    open_view(page, "Log")
    expect(page.get_by_label("Type of event").locator("option")).to_have_text(["any event", *sorted(BY_NAME)])
    newest = page.locator("#events .event").first
    expect(newest).to_have_attribute("data-type", "PreviewDeleted")
    (later,) = finish(daemon, SHORT, steps=3)
    expect(newest.locator(".whom")).to_have_text(f"frame {later}")
    seq = int(newest.get_attribute("data-seq") or 0)  # of what is the newest now: others may follow
    (event,) = events(daemon, after=seq - 1, limit=1)
    row = page.locator(f"#events .event[data-seq='{seq}']")
    expect(row.locator("code")).to_have_attribute("title", event["hash"])

    page.locator("#log-filter [name=frame]").fill(str(frame))
    page.get_by_label("Type of event").select_option("PreviewWritten")
    fitting = events(daemon, type="PreviewWritten", frame=frame)
    expect(page.locator("#events .event")).to_have_count(len(fitting))
    expect(page.locator("#events .words").last).to_contain_text(f"step {fitting[0]['data']['step']} of 3")
    finish(daemon, SHORT, steps=3)
    heard(page, position(daemon))
    expect(page.locator("#events .event")).to_have_count(len(fitting))


def test_the_log_is_searched_in_words_now_and_back(page: Page, daemon: Daemon) -> None:
    """/ goes to the field; what was said long before is found, and joined by what is said from now on."""
    (before,) = finish(daemon, {**SHORT, "prompt": "a shy Okapi"}, steps=2)
    finish(daemon, SHORT, steps=2)
    open_view(page, "Log")
    page.keyboard.press("/")
    expect(page.get_by_label("Words in the event")).to_be_focused()
    page.keyboard.type("okapi shy")
    rows = page.locator("#events .event")
    told = events(daemon, text="okapi shy")
    assert [event["type"] for event in told] == ["JobAccepted", "FinalWritten"]
    expect(rows).to_have_count(2)
    expect(rows.first.locator(".whom")).to_have_text(f"frame {before}")
    expect(page).to_have_url(re.compile("#/log.text=okapi"))

    finish(daemon, SHORT, steps=2)
    finish(daemon, {**SHORT, "prompt": "another shy okapi"}, steps=2)
    expect(rows).to_have_count(4)
    expect(rows.first).to_have_attribute("data-type", "FinalWritten")
    page.reload()
    expect(rows).to_have_count(4)
    page.get_by_label("Words in the event").fill("no such words")
    expect(page.locator("#log-said")).to_have_text("No event fits.")
