"""The page's own tests, which run in node: its folds and words, without a browser."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.daemons import TIMEOUT

TESTS = Path(__file__).parent / "static"


def test_the_pages_own_tests_pass() -> None:
    """`node --test` on everything in `tests/static/`."""
    node = shutil.which("node")
    if node is None:
        if os.environ.get("SAFELIGHT_BROWSER_TESTS") == "required":
            pytest.fail("SAFELIGHT_BROWSER_TESTS=required, and there is no node on the PATH")
        pytest.skip("there is no node on the PATH")
    files = sorted(TESTS.glob("*.test.js"))
    assert files
    ended = subprocess.run(
        [node, "--test", *files], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
