"""The host runs ahead of a GPU: between a frame's first step and its last nothing waits for it."""

import copy
import dataclasses
from pathlib import Path

import msgspec
import pytest
import torch
from PIL import Image
from torchsde._brownian import brownian_interval  # type: ignore[import-untyped]  # as it is

from daemon import samplers as names
from daemon.gpu import denoise, samplers, sdxl, wire
from daemon.gpu.transfers import unwaited
from tests.gpu import pretended
from tests.gpu.pretended import GPU, OnGpu, Pretended

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brownian_interval, "_randn", pretended.drawn_there(brownian_interval._randn))


@pytest.fixture(scope="module")
def there(checkpoint: sdxl.Checkpoint) -> sdxl.Checkpoint:
    """The small model on it."""
    with Pretended():
        pipe = copy.deepcopy(checkpoint.pipe)
        for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
            pretended.moved(getattr(pipe, name))
    return dataclasses.replace(checkpoint, pipe=pipe, device=GPU)


def waits(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> list[str]:
    """Those of all steps; the frame's beginning may wait."""
    config = checkpoint.pipe.scheduler.config
    samplers.fresh(request.sampler, request.scheduler, config, 1)  # some take long, and longer while watched
    with Pretended() as gpu:
        state = denoise.begin(checkpoint, request)
        assert gpu.waits
        gpu.waits.clear()
        while state.step < state.steps:
            seen = denoise.step(state)
            assert isinstance(seen.latent, OnGpu)
    assert isinstance(state.latent, OnGpu)
    assert state.latent.held.isfinite().all()
    assert state.scheduler.alphas_cumprod.device.type == "cpu"
    return gpu.waits


@pytest.mark.parametrize("sampler", names.SAMPLERS)
def test_no_step_waits(there: sdxl.Checkpoint, plain: wire.Begin, sampler: str) -> None:
    """By any sampler: neither for noise, nor for its coefficients, nor to read a number."""
    request = msgspec.structs.replace(
        plain, sampler=sampler, scheduler=names.SAMPLERS[sampler].schedulers[0], steps=4
    )
    assert waits(there, request) == []


@pytest.mark.parametrize("sampler", ["euler_ancestral", "uni_pc", "ddim", "ddpm", "lcm", "sa_solver"])
def test_no_step_waits_that_began_with_a_picture(
    there: sdxl.Checkpoint, plain: wire.Begin, tmp_path: Path, sampler: str
) -> None:
    """Nor do its tables of noise levels move to the GPU, where each look would be work of its own."""
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    changes = {"image": str(tmp_path / "red.png"), "strength": 0.6, "steps": 4}
    scheduler = names.SAMPLERS[sampler].schedulers[0]
    request = msgspec.structs.replace(plain, sampler=sampler, scheduler=scheduler, **changes)
    assert waits(there, request) == []


def test_waits_are_seen() -> None:
    """What would be waited for without our doing, and no longer is with it."""
    noise = torch.ones(3)
    with Pretended() as gpu:
        there = noise.to(GPU)
        assert bool(there.sum() > 2)
        assert [each.split()[0] for each in gpu.waits] == ["_to_copy", "_local_scalar_dense"]
        gpu.waits.clear()
        with unwaited(GPU):
            again, number = noise.to(GPU), torch.tensor(2.0).to(GPU)
            assert isinstance(again, OnGpu)
            assert (again * number).sum().device == GPU
            assert torch.ones(3, device=GPU).device == GPU
        assert gpu.waits == []
        with pytest.raises(RuntimeError, match="two devices"):
            torch.cat([there, noise])
