"""What the child does when memory runs out in the middle of a frame."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from daemon.gpu import denoise, previews, sdxl, wire, work
from daemon.gpu.orders import Order


@pytest.fixture
def order(plain: wire.Begin, folder: Path) -> Order:
    """A small frame of the demo model."""
    return Order(msgspec.structs.replace(plain, model=str(folder)))


def make(order: Order, shelf: sdxl.Shelf) -> tuple[work.Ending, list[wire.Reply]]:
    """Have the order attempted; answers its ending and what was said on the way."""
    said: list[wire.Reply] = []
    with previews.Encoder(said.append) as encoder:
        return work._attempt(order, shelf, encoder, said.append), said


def running_out(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, times: int) -> None:
    """Have a function of the loop fail as torch does on a full GPU, so many times before it works."""
    works = getattr(module, name)
    left = times

    def fails(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        if left > 0:
            left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return works(*args, **kwargs)

    monkeypatch.setattr(module, name, fails)


@pytest.mark.parametrize("where", ["begin", "_predict", "_decode"])
def test_a_frame_is_tried_once_more_with_what_others_held(
    order: Order, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Wherever memory runs out: other checkpoints leave it, every step is shown once, the picture is made."""
    shelf = sdxl.Shelf(torch.device("cpu"))
    whole, _ = make(order, shelf)
    other = shutil.copytree(folder, tmp_path / "other")
    shelf.load(other)
    running_out(monkeypatch, denoise, where, times=1)
    ending, said = make(order, shelf)
    assert isinstance(whole, wire.Final)
    assert isinstance(ending, wire.Final)
    assert ending.pixels_sha256 == whole.pixels_sha256  # a picture this small is one tile
    assert (shelf.find(other), shelf.find(folder) is None) == (None, False)
    steps = [reply.step for reply in said if isinstance(reply, wire.Preview)]
    assert steps == sorted(set(steps))


def test_a_frame_that_runs_out_twice_fails_with_its_size(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says how large it was and what is free; the next frame is made."""
    shelf = sdxl.Shelf(torch.device("cpu"))
    running_out(monkeypatch, denoise, "_decode", times=2)
    ending, _ = make(order, shelf)
    assert isinstance(ending, wire.Failed)
    assert ending.kind == "out_of_memory"
    assert ending.message.startswith("out of memory making 64 × 64 pixels")
    assert isinstance(make(order, shelf)[0], wire.Final)


def test_another_fault_is_not_tried_again(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is a bug the first time."""
    calls: list[int] = []

    def fails(*args: Any, **kwargs: Any) -> np.ndarray[Any, Any]:
        calls.append(1)
        raise RuntimeError("expected scalar type Half but found Float")

    monkeypatch.setattr(denoise, "_predict", fails)
    ending, _ = make(order, sdxl.Shelf(torch.device("cpu")))
    assert isinstance(ending, wire.Failed)
    assert (ending.kind, len(calls)) == ("internal", 1)
