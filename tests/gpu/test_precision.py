"""The VAE is back in half precision whatever happened meanwhile."""

from pathlib import Path
from typing import Any

import pytest
import torch

from daemon.gpu import sdxl
from daemon.gpu.precision import safe_precision


@pytest.fixture
def vae(folder: Path) -> Any:
    """The small model's, as a GPU holds it."""
    return sdxl.load(folder, torch.device("cpu"), torch.float16).pipe.vae


def test_it_is_in_float32_for_as_long_as_it_is_needed(vae: Any) -> None:
    """Every weight, and every one is float16 again."""
    with safe_precision(vae, upcast=True) as dtype:
        assert dtype == torch.float32
        assert {each.dtype for each in vae.parameters()} == {torch.float32}
    assert {each.dtype for each in vae.parameters()} == {torch.float16}


def test_memory_that_runs_out_half_way_leaves_no_mixture(vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every later picture of the checkpoint would fail with it: its layers would not fit each other."""

    def fails(*args: Any) -> None:
        monkeypatch.undo()
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(vae.decoder.conv_out, "_apply", fails)
    with pytest.raises(torch.OutOfMemoryError), safe_precision(vae, upcast=True):
        pass
    assert {each.dtype for each in vae.parameters()} == {torch.float16}
