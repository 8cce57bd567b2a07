"""The second pass, against the two stock pipelines one after the other."""

from pathlib import Path
from typing import Any

import diffusers
import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from daemon.gpu import denoise, formats, hires, images, samplers, sdxl, snapshots, wire
from daemon.prompts import Hires

pytestmark = pytest.mark.usefixtures("one_thread")

library: Any = diffusers
"""The same module: its constructors are untyped."""

SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_sde", "heun", "uni_pc", "ddim")


def ask(plain: wire.Begin, **changes: object) -> wire.Begin:
    """Three steps at 64 × 48, two more at 96 × 72."""
    wanted = {"width": 64, "height": 48, "hires": Hires(scale=1.5, steps=2, strength=0.5), **changes}
    return msgspec.structs.replace(plain, **wanted)


def ours(checkpoint: sdxl.Checkpoint, request: wire.Begin, kept: bool = False) -> formats.Pixels:
    """By our loop, as `work` drives it; if `kept`, stored and put back after every step."""
    state = denoise.begin(checkpoint, request)
    assert state.steps == 5
    while state.step < state.steps:
        if hires.due(state):
            state = hires.second(state, request)
        denoise.step(state)
        if kept:
            data = snapshots.take(state)
            state = denoise.begin(checkpoint, request)
            if snapshots.earlier_steps(data):
                state = hires.blank(state, request)
            snapshots.restore(state, data)
    assert state.step == 5
    return denoise.finish(state)


def theirs(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> formats.Pixels:
    """The stock pipelines, with one generator for both and the picture enlarged between them."""
    generator = torch.Generator("cpu").manual_seed(request.seed)
    picture = None
    for kind in (library.StableDiffusionXLPipeline, library.StableDiffusionXLImg2ImgPipeline):
        pipe = kind(**checkpoint.pipe.components, add_watermarker=False)
        config = checkpoint.pipe.scheduler.config
        pipe.scheduler = samplers.fresh(request.sampler, request.scheduler, config, request.seed)
        pipe.set_progress_bar_config(disable=True)
        common = {"prompt": request.prompt, "guidance_scale": request.cfg_scale, "generator": generator}
        if picture is None:
            size = {"width": request.width, "height": request.height, "num_inference_steps": request.steps}
            picture = pipe(**common, **size).images[0]
        else:
            large = picture.resize((96, 72), Image.Resampling.LANCZOS)
            whole = images.whole_schedule(2, 0.5)
            picture = pipe(**common, image=large, strength=0.5, num_inference_steps=whole).images[0]
    answer: formats.Pixels = np.asarray(picture)
    return answer


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equals_the_two_pipelines(checkpoint: sdxl.Checkpoint, plain: wire.Begin, sampler: str) -> None:
    """Bit for bit, also when it is put back from what was stored after each step of either pass."""
    schedule = "ddim_uniform" if sampler == "ddim" else "karras"
    request = ask(plain, sampler=sampler, scheduler=schedule)
    picture = ours(checkpoint, request)
    assert picture.shape == (72, 96, 3)
    assert np.array_equal(picture, theirs(checkpoint, request))
    assert np.array_equal(picture, ours(checkpoint, request, kept=True))


def test_it_can_follow_an_image(checkpoint: sdxl.Checkpoint, plain: wire.Begin, tmp_path: Path) -> None:
    """What was begun with a picture is gone over as well."""
    Image.new("RGB", (64, 48), "green").save(tmp_path / "it.png")
    request = ask(plain, image=str(tmp_path / "it.png"), strength=0.5)
    picture = ours(checkpoint, request)
    assert picture.shape == (72, 96, 3)
    assert np.array_equal(picture, ours(checkpoint, request, kept=True))


def test_the_noise_levels_of_both_passes_are_told(checkpoint: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """They fall, and fall again from where the strength says."""
    request = ask(plain)
    state = denoise.begin(checkpoint, request)
    for _ in range(3):
        denoise.step(state)
    assert hires.due(state)
    second = hires.second(state, request)
    assert not hires.due(second)
    assert second.spent == tuple(state.sigmas)
    used = second.sigmas[second.skipped :]
    assert len(used) == 3
    assert used[0] < state.sigmas[0] / 2
    assert denoise.step(second).sigma == used[0]
