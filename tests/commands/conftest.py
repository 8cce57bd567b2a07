"""A home to type commands at."""

import shutil
from pathlib import Path

import pytest

from daemon.settings import Home
from tests.history.homes import made


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Eight pictures, in two segments and a tail."""
    return made(tmp_path_factory.mktemp("commands") / "home")


@pytest.fixture
def past(made_once: Home, tmp_path: Path) -> Home:
    """A copy of it. Its daemon has ended."""
    shutil.copytree(made_once.root, tmp_path / "past")
    return Home(tmp_path / "past")
