"""Short forms of what `make torture` and `make fuzz` do at length, in processes of their own."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "arguments", "last"),
    [
        (
            "tests.torture",
            ["--kills", "12", "--files", "210", "--stopped", "1500"],
            "nothing lost, doubled or falsely rejected",
        ),
        ("tests.fuzz", ["--count", "5000"], "refused with their places"),
        ("tests.kills", ["--kills", "6"], "no acknowledged event lost, no gap, no drift"),
    ],
)
def test_the_short_form_finds_nothing(module: str, arguments: list[str], last: str) -> None:
    """Another seed each time; it is printed, and leads to the same files again."""
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert last in ended.stdout


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_two_hundred_kills_of_each_kind_lose_nothing() -> None:
    """A writer that never seals, and one that always does."""
    command = [sys.executable, "-m", "tests.kills", "--kills", "200"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
