"""The second pass: a finished picture, enlarged, is begun with once more at its new size.

Enlarged as a picture (Lanczos), not as a latent: a latent that is interpolated decodes to mush and needs a
strength that makes another picture of it; pixels stay sharp at strengths that keep it. It is what a person
would do by hand with `image` and `strength`, but for the noise, which goes on where the first pass ended.
"""

from dataclasses import replace

import torch
from PIL import Image

from daemon.gpu import denoise, images, samplers, wire
from daemon.gpu.denoise import Denoise
from daemon.prompts import Hires, enlarged


def due(state: Denoise) -> bool:
    """Whether the first pass has ended and another is to come."""
    return state.after > 0 and state.step == state.steps - state.after


def second(state: Denoise, request: wire.Begin, tiled: bool = False) -> Denoise:
    """The state of the second pass before its first step, of a first one that has ended. `tiled` takes less
    memory for the pictures.
    """
    assert request.hires is not None
    picture = Image.fromarray(denoise.decode(state.checkpoint, state.latent, tiled))
    large = picture.resize(_size(request, request.hires), Image.Resampling.LANCZOS)
    with torch.inference_mode():
        clean = images.encode(state.checkpoint, large, state.embeds.dtype, state.generator, tiled)
        begun = blank(state, request)
        begun.latent = images.noised(begun.scheduler, clean, begun.skipped, state.generator)
    return begun


def blank(state: Denoise, request: wire.Begin) -> Denoise:
    """The same but for the latent, for one that is put back where it was stored."""
    hires, embeds = request.hires, state.embeds
    assert hires is not None
    config = state.checkpoint.pipe.scheduler.config
    scheduler = samplers.fresh(request.sampler, request.scheduler, config, request.seed)
    whole = images.whole_schedule(hires.steps, hires.strength)
    scheduler.set_timesteps(whole)
    return replace(
        state,
        scheduler=scheduler,
        times=scheduler.timesteps.to(state.checkpoint.device),
        sigmas=samplers.levels(scheduler),
        added={**state.added, "time_ids": denoise.time_ids(embeds, *_size(request, hires))},
        skipped=(whole - hires.steps) * scheduler.order,
        spent=tuple(state.sigmas[state.skipped :]),
        before=request.steps,
        after=0,
    )


def _size(request: wire.Begin, hires: Hires) -> tuple[int, int]:
    return enlarged(request.width, hires.scale), enlarged(request.height, hires.scale)
