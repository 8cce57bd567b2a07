"""What the page shows of the inbox, in a real browser, of a real web side and inbox, without a device."""

import os
import shutil
from pathlib import Path

import anyio
import pytest
from playwright.async_api import async_playwright, expect

from tests.houses import GOOD, writing
from tests.serving import PATIENCE, site

pytestmark = pytest.mark.anyio


async def test_files_that_wait_are_shown_with_their_reason_and_go_when_they_are_taken(tmp_path: Path) -> None:
    """And how many entries are ignored; with nothing to say, nothing is there."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("SAFELIGHT_BROWSER_TESTS") == "required":
            pytest.fail("SAFELIGHT_BROWSER_TESTS=required, and there is no chromium on the PATH")
        pytest.skip("there is no chromium on the PATH")
    async with site(tmp_path) as shown, async_playwright() as playwright, anyio.create_task_group() as tasks:
        await tasks.start(shown.inbox.run)
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        await page.goto(shown.url)
        await expect(page.locator("#arrivals")).to_be_hidden()
        note = shown.home.inbox / "note.txt"
        note.write_text("no prompt")
        with writing(shown.home.inbox / "<b>.jsonl") as descriptor:
            os.write(descriptor, GOOD)
            await expect(page.locator("#arrivals li")).to_have_text(
                [
                    "<b>.jsonl waits in the inbox – still being written: it is open in another program",
                    "1 entry of the inbox is ignored (not a prompt file's name)",
                ]
            )
            await page.screenshot(path=tmp_path / "arrivals.png")
        await expect(page.locator("#arrivals li")).to_have_text(
            ["1 entry of the inbox is ignored (not a prompt file's name)"]
        )
        note.unlink()
        await expect(page.locator("#arrivals")).to_be_hidden()
        await browser.close()
        tasks.cancel_scope.cancel()
