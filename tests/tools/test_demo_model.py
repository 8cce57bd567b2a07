"""The built-in model paints what a prompt says: judged on combinations that it has never been shown.

The first 40 of the 200 prompts are asked here; `make judge` asks them all.
"""

import json
from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import interpolate

from daemon.settings import BUILT_IN
from tests.tools.demo_judge import judge
from tests.tools.judged import Judged, judged, paint, questions
from tools.demo_model.finish_vae import psnr
from tools.demo_model.latent_rgb import FILE as FACTORS
from tools.demo_model.samples import develop, load
from tools.demo_model.tiny_decoder import FILE as TINY
from tools.demo_model.tiny_decoder import decode, new_decoder
from tools.demo_model.train_vae import pictures

ASKED = 40


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionXLPipeline:
    """The model as diffusers itself loads it, from the folder as it lies in the package."""
    return load(BUILT_IN)


@pytest.fixture(scope="module")
def verdicts(pipeline: StableDiffusionXLPipeline) -> list[Judged]:
    """Forty pictures, judged."""
    return list(judged(pipeline, ASKED))


def test_colours_are_the_asked_ones(verdicts: list[Judged]) -> None:
    """Shape and background have their colours, in every picture."""
    assert [one.prompt for one in verdicts if not (one.background_right and one.colour_right)] == []


def test_shapes_are_the_asked_ones(verdicts: list[Judged]) -> None:
    """Nine shapes in ten are nearest to the outline that was asked for."""
    assert sum(one.shape_right for one in verdicts) >= 0.9 * ASKED


def test_another_seed_is_another_picture(pipeline: StableDiffusionXLPipeline) -> None:
    """The shape stands elsewhere or is of another size, but it is what was asked for."""
    made = paint(pipeline, ["a yellow star on a purple background"] * 4, first=50)
    assert {judge(picture).colour for picture in made} == {"yellow"}
    for one, other in pairwise(made):
        apart = np.abs(one.astype(int) - other).max(axis=2)
        assert (apart > 40).mean() > 0.01


def test_guidance_pulls_towards_the_prompt(pipeline: StableDiffusionXLPipeline) -> None:
    """Unguided and at 9: colours are right at each, and guidance makes no shape worse."""
    unguided, strong = (list(judged(pipeline, 20, cfg_scale=scale)) for scale in (1.0, 9.0))
    for found in (unguided, strong):
        assert sum(one.colour_right for one in found) >= 19
    assert sum(one.shape_right for one in strong) >= sum(one.shape_right for one in unguided)


def test_a_negative_prompt_pushes_away(pipeline: StableDiffusionXLPipeline) -> None:
    """Where the prompt leaves the colour open, naming one keeps it out of the picture."""
    prompts = ["a star on a blue background"] * 12
    free = [judge(picture).colour for picture in paint(pipeline, prompts)]
    common = max(free, key=free.count)
    pushed = [judge(picture).colour for picture in paint(pipeline, prompts, negative=common)]
    assert pushed.count(common) < free.count(common) / 2


@cache
def held_out_latents() -> tuple[Tensor, Tensor]:
    """Latents of scenes that no stage has seen, and the autoencoder's own pictures of them."""
    vae = AutoencoderKL.from_pretrained(BUILT_IN / "vae", torch_dtype=torch.float32).eval()
    with torch.inference_mode():
        scaled = vae.encode(pictures(Random("held out by the tests"), 32, 128)).latent_dist.mean
        scaled = scaled * vae.config.scaling_factor
        return scaled, decode(vae, scaled)


def linear_preview(scaled: Tensor) -> Tensor:
    """The preview by `latent2rgb.json`: one colour for each cell."""
    known = json.loads((BUILT_IN / FACTORS).read_text())
    factors, bias = torch.tensor(known["factors"]), torch.tensor(known["bias"])
    small = torch.einsum("nchw,co->nohw", scaled, factors) + bias[:, None, None]
    return small.clamp(-1, 1)


def test_the_tiny_decoder_paints_like_the_autoencoder() -> None:
    """The file in TAESD's original layout, at 28 dB or better."""
    tiny = new_decoder()
    tiny.load_state_dict(load_file(BUILT_IN / TINY))
    scaled, wanted = held_out_latents()
    with torch.inference_mode():
        assert psnr(tiny(scaled).clamp(0, 1) * 2 - 1, wanted) >= 28


def test_the_linear_preview_has_the_right_colours() -> None:
    """Fifteen numbers come within 21 dB."""
    scaled, wanted = held_out_latents()
    assert psnr(interpolate(linear_preview(scaled), scale_factor=8, mode="nearest"), wanted) >= 21


@torch.inference_mode()
def test_previews_come_nearer_to_the_picture(pipeline: StableDiffusionXLPipeline) -> None:
    """The guess at the clean picture is the nearer the later: after 25, 50, 75 and 100 % of the steps."""
    prompts = [prompt for _, prompt in questions(16)]
    guesses = [clean for _, clean in develop(pipeline, prompts, 128, seed=1, steps=20)]
    final = linear_preview(guesses[-1])
    nearness = [psnr(linear_preview(guesses[step]), final) for step in (4, 9, 14)]
    assert nearness == sorted(nearness)
    assert nearness[0] > 12
