"""The denoise loop as a step machine on diffusers' own parts: `begin`, `step` … `step`, `finish`.

Between any two steps the state can be looked at, kept or dropped, and nothing is paid for a picture
that nobody wants: only `finish` decodes. Every operation is the one that `StableDiffusionXLPipeline`
makes, in its order, so with the same seed the pixels are equal bit for bit on a CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor

from daemon.gpu import wire
from daemon.gpu.previews import Pixels
from daemon.gpu.sdxl import Checkpoint


@dataclass(kw_only=True)
class Denoise:
    """One picture on its way from noise, between two steps."""

    checkpoint: Checkpoint
    scheduler: Any
    """A diffusers scheduler (half typed), this picture's own: they count steps, and sharing one between
    pictures raises IndexError."""
    cfg_scale: float
    guided: bool
    """Whether each step predicts twice, without and with the prompt."""
    embeds: torch.Tensor
    """n × 77 × c; n is 2 (negative first) when guided, else 1."""
    added: dict[str, torch.Tensor]
    """SDXL's other conditions: the pooled prompt `text_embeds`, and `time_ids` (sizes and crop)."""
    latent: torch.Tensor
    """x_t, 1 × 4 × height/8 × width/8, in the scheduler's scale."""
    step: int = 0
    """Steps made."""

    @property
    def steps(self) -> int:
        """Steps to make in all."""
        return len(self.scheduler.timesteps)


@dataclass(frozen=True)
class Denoised:
    """What a step saw."""

    latent: torch.Tensor
    """The predicted x0, 1 × 4 × height/8 × width/8, model space, float32."""
    sigma: float
    """Noise level at which the step began, in the scheduler's units."""


def begin(checkpoint: Checkpoint, request: wire.Begin) -> Denoise:
    """Encode the prompt and draw the noise.

    A blank negative prompt counts as none: SDXL's own checkpoints then guide away from zeros rather than
    from an encoded empty string (`force_zeros_for_empty_prompt`). A `cfg_scale` of 1 or less is unguided.
    """
    guided = request.cfg_scale > 1
    with torch.inference_mode():
        embeds, pooled = _encode(checkpoint, request, guided)
        scheduler = _scheduler(checkpoint, request.steps)
        return Denoise(
            checkpoint=checkpoint,
            scheduler=scheduler,
            cfg_scale=request.cfg_scale,
            guided=guided,
            embeds=embeds,
            added={"text_embeds": pooled, "time_ids": _time_ids(checkpoint, request, embeds)},
            latent=_noise(checkpoint, request, embeds.dtype) * scheduler.init_noise_sigma,
        )


def step(state: Denoise) -> Denoised:
    """Advance by one sampler step, in place."""
    unet, scheduler = state.checkpoint.pipe.unet, state.scheduler
    timestep, sigma = scheduler.timesteps[state.step], scheduler.sigmas[state.step].item()
    with torch.inference_mode():
        doubled = torch.cat([state.latent] * 2) if state.guided else state.latent
        predicted = unet(
            scheduler.scale_model_input(doubled, timestep),
            timestep,
            encoder_hidden_states=state.embeds,
            added_cond_kwargs=state.added,
            return_dict=False,
        )[0]
        if state.guided:
            without, with_prompt = predicted.chunk(2)
            predicted = without + state.cfg_scale * (with_prompt - without)
        # Euler's pred_original_sample is x0 exactly, for epsilon and v-prediction alike.
        state.latent, denoised = scheduler.step(predicted, timestep, state.latent, return_dict=False)
    state.step += 1
    return Denoised(denoised, sigma)


def finish(state: Denoise) -> Pixels:
    """Decode the latent as it stands: uint8, height × width × 3."""
    pipe = state.checkpoint.pipe
    with torch.inference_mode(), _safe_precision(pipe.vae) as dtype:
        decoded = pipe.vae.decode(_unscaled(pipe.vae, state.latent.to(dtype)), return_dict=False)[0]
        image = pipe.image_processor.postprocess(decoded, output_type="np")[0]
    pixels: Pixels = (image * 255).round().astype("uint8")
    return pixels


def _encode(checkpoint: Checkpoint, request: wire.Begin, guided: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Both text encoders: embeds n × 77 × c and the pooled prompt n × p, negative first when guided."""
    positive, negative, pooled, negative_pooled = checkpoint.pipe.encode_prompt(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or None,
        device=checkpoint.device,
        do_classifier_free_guidance=guided,
    )
    if not guided:
        return positive, pooled
    return torch.cat([negative, positive]), torch.cat([negative_pooled, pooled])


def _time_ids(checkpoint: Checkpoint, request: wire.Begin, embeds: torch.Tensor) -> torch.Tensor:
    """Original size, crop corner and target size (SDXL, arXiv 2307.01952, section 2.2), n × 6."""
    size = (request.height, request.width)
    ids = torch.tensor([[*size, 0, 0, *size]], dtype=embeds.dtype, device=checkpoint.device)
    return ids.repeat(len(embeds), 1)


def _scheduler(checkpoint: Checkpoint, steps: int) -> Any:
    """A fresh one, set to `steps`; making one takes about a millisecond."""
    config = checkpoint.pipe.scheduler.config
    scheduler: Any = EulerDiscreteScheduler.from_config(config)  # type: ignore[no-untyped-call]  # as it is
    scheduler.set_timesteps(steps, device=checkpoint.device)
    scheduler.set_begin_index(0)  # else the first step looks its index up on the device and waits for it
    return scheduler


def _noise(checkpoint: Checkpoint, request: wire.Begin, dtype: torch.dtype) -> torch.Tensor:
    """Unit noise drawn on the CPU whatever the device, so that a seed means one picture everywhere."""
    generator = torch.Generator("cpu").manual_seed(request.seed)
    factor = checkpoint.pipe.vae_scale_factor
    shape = (1, checkpoint.pipe.unet.config.in_channels, request.height // factor, request.width // factor)
    noise: torch.Tensor = randn_tensor(shape, generator=generator, device=checkpoint.device, dtype=dtype)
    return noise


@contextmanager
def _safe_precision(vae: Any) -> Iterator[torch.dtype]:
    """Hold the VAE in float32 where its config says that float16 overflows; gives the dtype to decode in."""
    if vae.dtype != torch.float16 or not vae.config.force_upcast:
        yield vae.dtype
        return
    vae.to(dtype=torch.float32)
    try:
        yield torch.float32
    finally:
        vae.to(dtype=torch.float16)


def _unscaled(vae: Any, latent: torch.Tensor) -> torch.Tensor:
    """From model space to what the VAE decodes; some VAEs also carry per-channel means and deviations."""
    mean, deviation = vae.config.latents_mean, vae.config.latents_std
    factor: float = vae.config.scaling_factor
    if mean is None or deviation is None:
        return latent / factor
    shift = torch.tensor(mean, device=latent.device, dtype=latent.dtype).view(1, 4, 1, 1)
    spread = torch.tensor(deviation, device=latent.device, dtype=latent.dtype).view(1, 4, 1, 1)
    return latent * spread / factor + shift
