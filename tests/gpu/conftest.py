"""One small checkpoint for all tests of the engine, and requests small enough to take no time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from daemon.gpu import sdxl, wire


@pytest.fixture(scope="session")
def folder(demo_checkpoint: Path) -> Path:
    """The small model's folder."""
    return demo_checkpoint


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Pictures of 64 pixels gain nothing by more, and the machine is not ours alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def plain() -> wire.Begin:
    """A small request."""
    return wire.Begin(
        frame=1, attempt=1, model="demo", prompt="a red circle on a blue background", negative_prompt="",
        width=64, height=64, steps=3, cfg_scale=5.0, seed=7, sampler="euler", scheduler="normal",
        store_every=5.0,
    )  # fmt: skip


@pytest.fixture(scope="session")
def checkpoint(folder: Path) -> sdxl.Checkpoint:
    """The small model, loaded as the child loads it on a CPU."""
    return sdxl.load(folder, torch.device("cpu"), torch.float32)
