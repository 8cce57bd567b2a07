"""The built-in model goes the way of any other checkpoint."""

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file

from daemon import samplers as names
from daemon.gpu import denoise, sdxl, wire
from daemon.settings import BUILT_IN
from tests.gpu.test_denoise import ours, theirs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def built_in() -> sdxl.Checkpoint:
    """Loaded as the child loads it on a CPU."""
    return sdxl.load(BUILT_IN, torch.device("cpu"), torch.float32)


def test_it_is_sdxl_in_small(built_in: sdxl.Checkpoint) -> None:
    """Two text encoders of different widths, a text_time UNet that predicts velocities, SDXL's noise."""
    pipe = built_in.pipe
    assert pipe.text_encoder.config.hidden_size != pipe.text_encoder_2.config.hidden_size
    assert pipe.unet.config.addition_embed_type == "text_time"
    assert (pipe.vae.config.latent_channels, pipe.vae_scale_factor) == (4, 8)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert built_in.latent2rgb.bias != (0.0, 0.0, 0.0)


def test_all_of_it_is_smaller_than_16_megabytes() -> None:
    """A package may carry it."""
    assert sum(file.stat().st_size for file in BUILT_IN.rglob("*")) <= 16e6


def test_it_equals_the_pipeline(built_in: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """A checkpoint that predicts velocities: every pixel is the stock pipeline's too."""
    for request in (plain, msgspec.structs.replace(plain, negative_prompt="a star", cfg_scale=3.0)):
        assert np.array_equal(ours(built_in, request), theirs(built_in, request))


@pytest.mark.parametrize("sampler", names.SAMPLERS.values(), ids=names.SAMPLERS)
def test_it_equals_the_pipeline_with_every_sampler(
    built_in: sdxl.Checkpoint, plain: wire.Begin, sampler: names.Sampler
) -> None:
    """Samplers go other ways where velocities are predicted."""
    request = msgspec.structs.replace(plain, sampler=sampler.name, scheduler=sampler.schedulers[0])
    assert np.array_equal(ours(built_in, request), theirs(built_in, request))


def test_half_precision_paints_the_same(built_in: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """In float16, as on a GPU, nothing overflows and the picture stays what it is."""
    request = msgspec.structs.replace(plain, steps=5)
    half = sdxl.load(BUILT_IN, torch.device("cpu"), torch.float16)
    apart = np.abs(ours(half, request).astype(int) - ours(built_in, request))
    assert apart.mean() < 2


def test_the_tiny_decoder_loads_as_taesd(built_in: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """The original keys, each one less in diffusers' own class, and its picture is the autoencoder's."""
    weights = load_file(BUILT_IN / "vae_approx" / "taesdxl_decoder.safetensors")
    assert len(weights) == 67
    tiny: Any = AutoencoderTiny()  # type: ignore[no-untyped-call]  # as it is
    layers = ((int(key.partition(".")[0]) - 1, key.partition(".")[2], key) for key in weights)
    renamed = {f"{layer}.{rest}": weights[key].float() for layer, rest, key in layers}
    tiny.decoder.layers.load_state_dict(renamed)
    state = denoise.begin(built_in, msgspec.structs.replace(plain, width=128, height=128, steps=8))
    seen = [denoise.step(state) for _ in range(state.steps)]
    with torch.inference_mode():
        shown = tiny.decode(seen[-1].latent).sample[0].permute(1, 2, 0)
    picture = torch.from_numpy(denoise.finish(state).astype(np.float32) / 127.5 - 1)
    assert float((shown.clamp(-1, 1) - picture).abs().mean()) < 0.06
