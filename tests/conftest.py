"""What the tests stand on: a home in a temporary folder, a small model built once, real daemons.

`make test` has several processes test at once. Each has folders of its own, and every daemon a port that the
system gives it; what they share is the small model.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as drawing

from daemon.gpu import child
from daemon.settings import Home
from tests.daemons import Daemon

os.environ["HF_HUB_OFFLINE"] = "1"
child.spin_briefly()  # before anything imports torch
# Small pictures gain nothing by a second thread, and it would take a core from whatever else tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# An example that is slow tells of the machine, and hypothesis would call it a fault from 0.2 s on. What
# decides whether a change may go in draws the same examples each time; all other runs look for new ones.
drawing.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
drawing.load_profile("any machine")


@pytest.fixture
def anyio_backend() -> str:
    """anyio's own pytest plugin runs the async tests, on the loop that the daemon uses."""
    return "asyncio"


@pytest.fixture(scope="session")
def demo_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands in for the built-in model: the small random one, once for all testing processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "checkpoints" / "demo"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name("building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go of when the file is closed, as it is by a crash
        if not folder.exists():
            from tests import small_model  # here, so that tests without a model do not wait for torch

            small_model.build(folder.with_suffix(".half"))
            folder.with_suffix(".half").rename(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path, demo_checkpoint: Path) -> Home:
    """A fresh home with a `demo` of its own, the small random model: it is quicker than the built-in one."""
    return furnished(tmp_path / "home", demo_checkpoint)


def furnished(root: Path, demo_checkpoint: Path) -> Home:
    """A home with the small random model as its `demo`, and an inbox."""
    home = Home(root)
    home.checkpoints.mkdir(parents=True)
    home.inbox.mkdir()
    (home.checkpoints / "demo").symlink_to(demo_checkpoint)
    return home


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, demo_checkpoint: Path) -> Iterator[Daemon]:
    """One daemon for the module: its stories look at jobs of their own, and leave it alive."""
    with Daemon(furnished(tmp_path_factory.mktemp("shared") / "home", demo_checkpoint)) as running:
        yield running


@pytest.fixture
def daemon(home: Home) -> Iterator[Daemon]:
    """A running daemon on `home`; killed after the test if it still runs."""
    with Daemon(home) as running:
        yield running
