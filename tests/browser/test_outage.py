"""The page without its daemon: it says so, keeps what it has, and comes back by itself."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

from playwright.sync_api import Page, expect

from tests.browser.views import LONG, SHORT, begun, card, events, finish, open_view
from tests.daemons import TIMEOUT, Daemon


def test_an_empty_wall_says_how_to_begin(page: Page, daemon: Daemon) -> None:
    """The command that it shows, copied by its button and typed into a shell, makes the first picture."""
    expect(page.get_by_role("heading", name="Nothing in the tray yet")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command: str = page.evaluate("navigator.clipboard.readText()")
    assert command == page.locator("#command").text_content()
    shell = shutil.which("sh")
    assert shell is not None
    subprocess.run([shell, "-c", command], check=True)
    expect(card(page, 1)).to_be_visible()
    expect(page.locator("#empty")).to_be_hidden()


@contextmanager
def refusing(port: int) -> Iterator[Event]:
    """A server that answers 503 to everything, as a proxy does; the event: the stream was asked for."""
    asked = Event()

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)
            if self.path.startswith("/api/events"):
                asked.set()

        def log_message(self, format: str, *args: object) -> None:
            """The test's output stays its own."""

    ThreadingHTTPServer.allow_reuse_address = True
    with ThreadingHTTPServer(("127.0.0.1", port), Refusal) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield asked
        server.shutdown()
        thread.join()


def test_a_daemon_that_dies_and_comes_back_is_followed(
    page: Page, daemon: Daemon, complaints: list[str]
) -> None:
    """A banner with the data's age, the last picture stays; even after a 503, at which a browser gives up."""
    frame = daemon.post("api/jobs", {**SHORT, "steps": 200, "width": 256, "height": 256}).json()["frames"][0]
    shown = begun(page, frame)
    assert daemon.process.stdout is not None
    daemon.kill()
    daemon.process.stdout.close()
    banner = page.locator("#banner")
    expect(banner).to_contain_text(re.compile(r"reconnects by itself.*\d+ s old"))
    assert shown.locator(".picture").evaluate("(image) => image.complete && image.naturalWidth > 0")

    port = daemon.url.rstrip("/").rpartition(":")[2]
    with refusing(int(port)) as asked:
        assert asked.wait(TIMEOUT)
    daemon.arguments = ("--port", port)
    daemon.start()
    expect(banner).to_be_hidden()
    daemon.wait_for_type("FinalWritten", frame=frame)  # as long as it goes on, however long that takes
    expect(card(page, frame)).to_have_attribute("data-status", "done")
    expect(card(page, frame)).to_contain_text("attempt 2")
    expect(card(page, frame).locator(".picture[data-kind=final]")).to_be_visible()
    complaints[:] = [text for text in complaints if "net::ERR_" not in text and "503" not in text]


def test_a_browser_without_shared_workers_follows_by_itself(page: Page, daemon: Daemon) -> None:
    """Chrome on Android has none; the page develops there all the same."""
    page.add_init_script("delete window.SharedWorker")
    page.reload()
    frame = daemon.post("api/jobs", LONG).json()["frames"][0]
    begun(page, frame)
    assert page.evaluate("typeof SharedWorker") == "undefined"


def test_a_daemon_that_is_stopped_without_a_word_is_noticed(page: Page, daemon: Daemon) -> None:
    """Like a network that is gone, or a laptop that slept: the connection looks open, and is silent."""
    page.add_init_script("delete window.SharedWorker")  # whose clock no test can turn
    page.clock.install()
    page.reload()
    banner = page.locator("#banner")
    (frame,) = finish(daemon, SHORT)
    expect(card(page, frame)).to_have_attribute("data-status", "done")
    expect(banner).to_be_hidden()
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        page.clock.fast_forward(60_000)
        expect(banner).to_contain_text("reconnects by itself")
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    expect(banner).to_be_hidden()
    (later,) = finish(daemon, SHORT)
    expect(card(page, later)).to_have_attribute("data-status", "done")


def test_what_happened_in_a_silence_is_in_the_log_afterwards(
    page: Page, daemon: Daemon, complaints: list[str]
) -> None:
    """Whoever comes back is told how things are, and not what led there: the open log asks for that."""
    page.add_init_script("delete window.SharedWorker")  # whose clock no test can turn
    page.clock.install()
    page.reload()
    open_view(page, "Log")
    newest = page.locator("#events .event").first
    expect(newest).to_be_visible()
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        page.context.set_offline(True)  # the stream that is open stays so
        page.clock.fast_forward(60_000)
        expect(page.locator("#banner")).to_contain_text("reconnects by itself")
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    (frame,) = finish(daemon, SHORT, steps=2)
    last = daemon.wait_for_type("PreviewDeleted", frame=frame)
    page.context.set_offline(False)
    expect(newest).to_have_attribute("data-seq", str(last["seq"]))
    complaints[:] = [text for text in complaints if "net::ERR_" not in text]


def test_words_that_are_forgotten_leave_an_open_page(
    page: Page, tab: Callable[[], Page], daemon: Daemon, complaints: list[str]
) -> None:
    """Card, closer look, log and history stop saying them once the daemon is back; the picture stays."""
    secret = {**SHORT, "prompt": "a secret quokka", "negative_prompt": "no wombat"}
    (frame,) = finish(daemon, secret, steps=2)
    job = events(daemon, type="JobAccepted", order="desc", limit=1)[0]["data"]["job"]
    looked, logged, found = tab(), tab(), tab()
    looked.goto(f"{daemon.url}#/frame/{frame}")
    open_view(logged, "Log")
    open_view(found, "History")
    shown = {"#wall": page, "#frame": looked, "#events": logged, "#grid": found}
    places = [each.locator(selector) for selector, each in shown.items()]
    for place in places:
        expect(place).to_contain_text("a secret quokka")

    assert daemon.stop() == 0
    redact = [sys.executable, "-m", "daemon", "redact", "--home", str(daemon.home.root), "--job", str(job)]
    subprocess.run(redact, check=True, capture_output=True)
    daemon.arguments = ("--port", daemon.url.rstrip("/").rpartition(":")[2])
    daemon.start()
    for place in places:
        expect(place).to_contain_text("[redacted]")
        expect(place).not_to_contain_text("quokka")
    for words in ("quokka", "wombat"):
        assert words not in page.locator("#wall").evaluate("(wall) => wall.outerHTML")
    expect(card(page, frame).locator(".picture[data-kind=final]")).to_be_visible()
    complaints[:] = [text for text in complaints if "net::ERR_" not in text]
