"""A browser for all of these tests, a daemon for each file of them, and a page for each test."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from daemon.settings import Home
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
PATIENCE = TIMEOUT * 1000
ANSWERS = ("status of 404", "status of 410", "status of 422")
"""Refusals that belong to the page's work, which browsers report as errors of the network."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, headless; for these tests alone, as Playwright leaves a loop running in their thread."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("SAFELIGHT_BROWSER_TESTS") == "required":
            pytest.fail("SAFELIGHT_BROWSER_TESTS=required, and there is no chromium on the PATH")
        pytest.skip("there is no chromium on the PATH")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield running
        running.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, demo_checkpoint: Path) -> Iterator[Daemon]:
    """A daemon for a whole file of tests: starting one takes longer than most stories do."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.checkpoints.mkdir(parents=True)
    home.inbox.mkdir()
    (home.checkpoints / "demo").symlink_to(demo_checkpoint)
    with Daemon(home) as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """The file's daemon, with nothing left to do and not paused once the test is over."""
    yield running
    if running.process.poll() is None:
        running.post("api/cancel", {"scope": "all"})
        running.post("api/queue/resume", {})


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of; asserted empty after the story."""
    return []


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of one person: its tabs share cookies, cache and workers."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def tab(context: BrowserContext, daemon: Daemon, complaints: list[str]) -> Callable[[], Page]:
    """Opens one more tab on the daemon's page."""

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(answer in message.text for answer in ANSWERS):
            complaints.append(message.text)

    def open_tab() -> Page:
        page = context.new_page()
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(daemon.url)
        expect(page.locator("#model")).to_have_text("demo")
        return page

    return open_tab


@pytest.fixture
def page(tab: Callable[[], Page], complaints: list[str]) -> Iterator[Page]:
    """The daemon's page, which must not have raised an error or met its own policy by the end."""
    yield tab()
    assert complaints == []
