"""One demo checkpoint for all tests of the engine, and requests small enough to take no time."""

import os

# Before torch is imported, as the child does it: spinning OpenMP threads crawl on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

from daemon.gpu import demo, sdxl  # noqa: E402


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model's folder."""
    path = tmp_path_factory.mktemp("checkpoints") / "demo"
    demo.build(path)
    return path


@pytest.fixture(scope="session")
def checkpoint(folder: Path) -> sdxl.Checkpoint:
    """The demo model, loaded as the child loads it on a CPU."""
    return sdxl.load(folder, torch.device("cpu"), torch.float32)
