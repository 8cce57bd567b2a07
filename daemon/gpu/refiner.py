"""The refiner: another checkpoint takes the last steps (SDXL, arXiv 2307.01952, section 2.5).

The base is done with some noise left, and the refiner goes on from there on the same noise levels, as by
diffusers' `denoising_end` and `denoising_start`. SDXL's own has one text encoder and is told how pretty the
picture is to be in place of its size; any SDXL checkpoint can take its part. The base's VAE decodes.
"""

from dataclasses import replace
from types import SimpleNamespace

import torch

from daemon.gpu import conditioning, denoise, samplers, wire
from daemon.gpu.denoise import Denoise
from daemon.gpu.merging import Merged
from daemon.gpu.sdxl import Checkpoint

PRETTY, PLAIN = 6.0, 2.5
"""Aesthetic scores for the prompt and the negative prompt, as in diffusers, A1111 and ComfyUI."""


def let_go(state: Denoise) -> None:
    """Have a state that is handed over hold no more of its checkpoint than goes on, so that the rest
    can leave memory before the refiner is read.
    """
    pipe = state.checkpoint.pipe
    parts = SimpleNamespace(vae=pipe.vae, image_processor=pipe.image_processor, scheduler=pipe.scheduler)
    state.checkpoint = replace(state.checkpoint, pipe=parts, merged=Merged())  # which knows the weights


def second(state: Denoise, request: wire.Begin, refiner: Checkpoint) -> Denoise:
    """The state before the refiner's first step, of one whose steps are made."""
    begun = blank(state, request, refiner)
    begun.latent = state.latent.to(begun.embeds.dtype)
    return begun


def blank(state: Denoise, request: wire.Begin, refiner: Checkpoint) -> Denoise:
    """The same but for the latent, for one that is put back where it was stored."""
    pipe, base = refiner.pipe, state.checkpoint
    parts = SimpleNamespace(unet=pipe.unet, vae=base.pipe.vae, image_processor=base.pipe.image_processor)
    mine, begun = pipe.scheduler.config, base.pipe.scheduler.config
    scheduler = samplers.fresh(request.sampler, request.scheduler, mine, request.seed, begun)
    scheduler.set_timesteps(denoise.schedule(request))
    done = len(state.times)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(done)
    guided = request.cfg_scale > 1
    with torch.inference_mode():
        words = (request.prompt, request.negative_prompt)
        embeds, pooled = conditioning.encode(refiner, *words, guided, request.embeddings)
        ids = time_ids(refiner, embeds, request.width, request.height)
    return replace(
        state,
        checkpoint=replace(refiner, pipe=parts, latent2rgb=base.latent2rgb),
        scheduler=scheduler,
        guided=guided,
        embeds=embeds,
        added={"text_embeds": pooled, "time_ids": ids},
        times=scheduler.timesteps.to(refiner.device),
        sigmas=samplers.levels(scheduler),
        guidance=None,
        skipped=done,
        spent=tuple(state.sigmas[state.skipped : done]),
        before=state.steps - state.after,
        after=0,
    )


def time_ids(refiner: Checkpoint, embeds: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Original size, crop corner and aesthetic score, n × 5, for a UNet that was trained on them."""
    if not getattr(refiner.pipe.config, "requires_aesthetics_score", False):
        return denoise.time_ids(embeds, width, height)
    scores = [PLAIN, PRETTY][-len(embeds) :]
    rows = [[height, width, 0, 0, score] for score in scores]
    return torch.tensor(rows, dtype=embeds.dtype, device=embeds.device)
