"""A short hammering in the suite, a long one in `make torture`, each in processes of its own."""

import subprocess
import sys

import pytest


def hammered(*arguments: str) -> str:
    """What a run says at its end."""
    command = [sys.executable, "-m", "tests.hammer", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_short_hammering_finds_nothing() -> None:
    """Each run has another seed."""
    said = hammered("--clients", "12", "--drops", "60", "--kills", "1", "--end", "800")
    assert "60 drops, 1 kills" in said
    assert "no gap, no duplicate, no wrong state" in said


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_sixty_clients_and_five_kills_find_nothing() -> None:
    """400 events a second, 600 drops and resumes."""
    said = hammered()
    assert "600 drops, 5 kills" in said
    assert "no gap, no duplicate, no wrong state" in said
