"""The page in Chromium: how soon a step is seen, whether a swap blanks, how soon a long history is there.

The steps are appended to a real log and served by the real routes; only the sampling is left out, which
would take the processor that is measured. The floor under a step is the same picture fetched, decoded and
painted by a page that knows its address already, in turn with ours. Blank frames are looked for in what the
browser really composed, pixel by pixel: in a second half of the steps, since making a JPEG of all that is
composed, thirty times a second, takes the processor that the first half is timed on.
"""

import base64
import io
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio.from_thread
from anyio.from_thread import BlockingPortal
from msgspec.structs import replace
from PIL import Image, ImageStat
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.browser.archive import fill
from tests.serving import Site, site
from tests.stories import accepted, created, previewed

STEPS = 1000
"""Timed, and as many again that are looked at for blanks."""
APART = 33
"""Milliseconds between two steps: thirty a second, more than any GPU makes."""
EACH = 5
"""Steps between two looks at the floor."""
FRAMES = 10_000
FALLS = 200
WINDOW: ViewportSize = {"width": 800, "height": 900}

PAINTED = """(callback) => requestAnimationFrame(() => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => callback(performance.timeOrigin + performance.now());
  port2.postMessage(null);
})"""
"""Calls back once the display frame that is being made has been painted."""
WATCH = f"""() => {{
  const painted = {PAINTED};
  const sheet = document.querySelector(".card .sheet");
  window.seen = {{}};
  new MutationObserver(() => {{
    const step = sheet.querySelector(".picture")?.dataset.step;
    if (!step || step in window.seen) return;
    window.seen[step] = null;
    painted((at) => (window.seen[step] = at));
  }}).observe(sheet, {{ childList: true }});
}}"""
FLOOR = f"""async (url) => {{
  const painted = {PAINTED};
  const begun = performance.timeOrigin + performance.now();
  const image = new Image();
  image.src = url;
  await image.decode();
  document.body.prepend(image);
  const at = await new Promise(painted);
  image.remove();
  return at - begun;
}}"""
FIRST = f"""document.addEventListener("load", ({{ target }}) => {{
  if (window.first || !target.matches?.(".cell img")) return;
  window.first = true;
  ({PAINTED})((at) => (window.first = at - performance.timeOrigin));
}}, true)"""
FALL = f"""async () => {{
  const times = [];
  let last = performance.now();
  for (let fall = 0; fall < {FALLS}; fall += 1) {{
    scrollBy(0, 400);
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }}
  return times.slice(1);
}}"""


def main() -> None:
    """Print all figures."""
    path = shutil.which("chromium")
    if path is None:
        print("there is no chromium on the PATH")
        return
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(site(Path(folder))) as served,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        develop(browser, portal, served)
        portal.call(partial(fill, served.log, Path(folder), FRAMES, first=2))
        remember(browser, served)
        browser.close()


def develop(browser: Browser, portal: BlockingPortal, served: Site) -> None:
    """Steps of one frame, thirty a second, and what the browser shows of them."""
    begin = accepted()
    for event in (replace(begin, prompt=replace(begin.prompt, steps=2 * STEPS)), created()):
        portal.call(served.log.append, event)
    with opened(browser, served, "#/") as page:
        page.locator(".card").wait_for()
        page.evaluate(WATCH)
        time_steps(page, portal, served)
        look_for_blanks(page, portal, served)


def time_steps(page: Page, portal: BlockingPortal, served: Site) -> None:
    """How long after its event each step is seen, and the floor under that."""
    published: dict[int, tuple[float, float]] = {}
    floors: list[float] = []
    for step in range(1, STEPS + 1):
        published[step] = publish(portal, served, step)
        page.wait_for_timeout(APART)
        if step % EACH == 0:
            floors.append(page.evaluate(FLOOR, f"/frames/1/preview?step={step}&floor=1"))
    shown = painted(page)
    floor = statistics.median(floors)
    tell("append → painted", [at - published[step][0] for step, at in shown.items()], floor)
    tell("publish → painted", [at - published[step][1] for step, at in shown.items()], floor)
    tell("floor: fetched, decoded, painted", floors, floor)
    print(f"  steps shown                      {len(shown):8} of {STEPS}")


def look_for_blanks(page: Page, portal: BlockingPortal, served: Site) -> None:
    """More steps, and every frame that the browser composes meanwhile."""
    box = page.locator(".card .sheet").bounding_box()
    assert box is not None
    before = len(painted(page))
    with composed(page) as pictures:
        for step in range(STEPS + 1, 2 * STEPS + 1):
            publish(portal, served, step)
            page.wait_for_timeout(APART)
    swaps = len(painted(page)) - before
    looks = [is_blank(data, box) for data in pictures]
    print(f"  blank frames per 1,000 swaps   {1000 * sum(looks) / swaps:8.1f}", end="")
    print(f"     ({sum(looks)} of {len(looks)} composed frames, {swaps} of {STEPS} steps shown)", flush=True)


def painted(page: Page) -> dict[int, float]:
    """When each step was, in milliseconds since 1970."""
    page.wait_for_timeout(10 * APART)  # the last one, too
    seen: dict[str, float | None] = page.evaluate("window.seen")
    return {int(step): at for step, at in seen.items() if at is not None}


def publish(portal: BlockingPortal, served: Site, step: int) -> tuple[float, float]:
    """Put a step's picture where it is served from and its event into the log.

    Answers when, in milliseconds since 1970: before the append, and once it was durable.
    """
    image = Image.frombytes("RGB", (32, 32), random.randbytes(32 * 32 * 3))
    data = io.BytesIO()
    image.save(data, "PNG")
    served.recent.put(1, step, data.getvalue())
    before = time.time()
    portal.call(served.log.append, replace(previewed(step), steps=STEPS))
    return 1000 * before, 1000 * time.time()


@contextmanager
def composed(page: Page) -> Iterator[list[bytes]]:
    """The frames that the browser composes meanwhile, as JPEG."""
    session = page.context.new_cdp_session(page)
    pictures: list[bytes] = []

    def take(frame: dict[str, Any]) -> None:
        pictures.append(base64.b64decode(frame["data"]))
        session.send("Page.screencastFrameAck", {"sessionId": frame["sessionId"]})

    session.on("Page.screencastFrame", take)
    session.send("Page.startScreencast", {"format": "jpeg", "quality": 60, "everyNthFrame": 1})
    page.wait_for_timeout(200)
    yield pictures
    session.send("Page.stopScreencast")


def is_blank(data: bytes, box: Any) -> bool:
    """Whether the middle of the sheet is one colour."""
    image = Image.open(io.BytesIO(data)).convert("L")
    scale = image.width / WINDOW["width"]
    x, y = (box["x"] + box["width"] / 2) * scale, (box["y"] + box["height"] / 2) * scale
    reach = box["width"] * scale / 4
    (spread,) = ImageStat.Stat(
        image.crop((int(x - reach), int(y - reach), int(x + reach), int(y + reach)))
    ).stddev
    return bool(spread < 2)


def remember(browser: Browser, served: Site) -> None:
    """A history of ten thousand frames: its first picture, and a fall through it."""
    firsts, own = [], []
    falls: list[float] = []
    for _ in range(5):
        with opened(browser, served, "#/history", FIRST) as page:
            page.wait_for_function("typeof window.first === 'number'")
            firsts.append(page.evaluate("window.first"))
            own.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            falls = page.evaluate(FALL)
    first, floor = statistics.median(firsts), statistics.median(own)
    print(f"  first picture of {FRAMES:,} frames     {first:8.0f} ms   {first / floor:5.1f} ×")
    print(f"  floor: first paint of the page   {floor:8.0f} ms")
    print(f"  scrolling, a display frame     {statistics.median(falls):8.1f} ms p50", end="")
    print(f"  {statistics.quantiles(falls, n=20)[-1]:8.1f} ms p95")


@contextmanager
def opened(browser: Browser, served: Site, address: str, script: str = "") -> Iterator[Page]:
    """A fresh browser on the page."""
    context = browser.new_context(viewport=WINDOW, bypass_csp=True)
    page = context.new_page()
    page.add_init_script(script)
    page.goto(f"{served.url}/{address}")
    yield page
    context.close()


def tell(name: str, times: list[float], floor: float) -> None:
    """One line: median, 95th percentile, and how many times the floor."""
    middle = statistics.median(times)
    late = statistics.quantiles(times, n=20)[-1]
    print(f"  {name:32} {middle:8.1f} ms p50  {late:8.1f} ms p95   {middle / floor:5.2f} ×", flush=True)
