"""What the stories do again and again: queue pictures, and find them on the page."""

import re
from typing import Any

import httpx
from playwright.sync_api import Locator, Page, expect

from tests.daemons import TIMEOUT, Daemon

SHORT = {"prompt": "a red fox", "steps": 24, "seed": 7, "width": 64, "height": 64}
LONG = {"prompt": "a slow cat", "steps": 500, "seed": 2}


def submit(daemon: Daemon, prompt: dict[str, Any], **keys: object) -> list[int]:
    """Queue a prompt; answers its frames."""
    answer = daemon.post("api/jobs", {**prompt, **keys})
    assert answer.status_code == 201, answer.text
    frames: list[int] = answer.json()["frames"]
    return frames


def finish(daemon: Daemon, prompt: dict[str, Any], **keys: object) -> list[int]:
    """Queue a prompt and wait until its frames are done."""
    before = position(daemon)
    frames = submit(daemon, prompt, **keys)
    for frame in frames:
        daemon.wait_for_type("PreviewDeleted", before, frame=frame)
    return frames


def position(daemon: Daemon) -> int:
    """The newest event's number: a stream from here on leaves nothing out, however long the log is."""
    seq: int = _asked(daemon, "api/health")["position"]
    return seq


def _asked(daemon: Daemon, path: str, **query: str | int) -> Any:
    """What it answers, however busy the machine is."""
    return httpx.get(f"{daemon.url}{path}", params=query, timeout=TIMEOUT).json()


def heard(page: Page, seq: int) -> None:
    """Wait until the page has painted this event: it hears of each a moment after the log has it."""
    page.wait_for_function("(seq) => +document.querySelector('#past input').max >= seq", arg=seq)


def events(daemon: Daemon, **query: str | int) -> list[dict[str, Any]]:
    """A page of the log."""
    page: list[dict[str, Any]] = _asked(daemon, "api/log", **query)["events"]
    return page


def kept(daemon: Daemon, frame: int) -> list[int]:
    """The steps that its strip has: those that came too fast for their previews are not among them."""
    return [step["step"] for step in _asked(daemon, f"api/frames/{frame}/strip")["steps"]]


def recorded(daemon: Daemon, kind: str, frame: int) -> dict[str, Any]:
    """The data of a frame's newest event of this type."""
    (event,) = events(daemon, type=kind, frame=frame, order="desc", limit=1)
    data: dict[str, Any] = event["data"]
    return data


def card(page: Page, frame: int) -> Locator:
    """A frame's card."""
    return page.locator(f'.card[data-frame="{frame}"]')


def step(shown: Locator) -> int:
    """The step that a card tells."""
    return int(shown.get_attribute("data-step") or 0)


def order(page: Page, row: str) -> list[int]:
    """The frames in a row of the wall, as they hang."""
    ids: list[int] = page.locator(f"#{row} .card").evaluate_all(
        "(all) => all.map((one) => +one.dataset.frame)"
    )
    return ids


def begun(page: Page, frame: int) -> Locator:
    """The card of a frame that shows a preview by now, and hangs where it belongs.

    A picture may lie there a moment before the card is painted, still among those that wait.
    """
    shown = card(page, frame)
    expect(shown.locator(".picture[data-kind=preview]").first).to_be_visible()
    expect(shown).to_have_attribute("data-step", re.compile(r"[1-9]"))
    return shown


def open_view(page: Page, name: str) -> None:
    """Go to another view by the page's own way, and be there: until then keys have the old one's meaning."""
    link = page.get_by_role("navigation").get_by_role("link", name=name, exact=True)
    link.click()
    expect(link).to_have_attribute("aria-current", "page")
