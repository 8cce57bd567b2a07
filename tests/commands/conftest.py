"""The command as a person types it, and a home with a past."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.settings import Home
from tests.daemons import TIMEOUT, Daemon
from tests.history.homes import made

SLOW = ("--steps", "500", "--width", "512", "--height", "512")
"""A picture that is still being made some commands later, though each of them takes its time to begin."""
SAFELIGHT = Path(sys.executable).with_name("safelight")

Typed = subprocess.CompletedProcess[str]
Type = Callable[..., Typed]


def typed(home: Home, *words: str, stdin: str = "") -> Typed:
    """`safelight …` on a home, to its end."""
    command = [str(SAFELIGHT), *words, "--home", str(home.root)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT, check=False)


@pytest.fixture
def safelight(shared: Daemon) -> Type:
    """Type a command for the shared daemon's home."""
    return lambda *words, stdin="": typed(shared.home, *words, stdin=stdin)


@pytest.fixture
def nowhere(tmp_path: Path) -> Home:
    """A home on which no daemon runs."""
    home = Home(tmp_path / "home")
    home.inbox.mkdir(parents=True)
    return home


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Eight pictures, in two segments and a tail."""
    return made(tmp_path_factory.mktemp("commands") / "home")


@pytest.fixture
def past(made_once: Home, tmp_path: Path) -> Home:
    """A copy of it. Its daemon has ended."""
    shutil.copytree(made_once.root, tmp_path / "past")
    return Home(tmp_path / "past")
