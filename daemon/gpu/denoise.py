"""The denoise loop as a step machine on diffusers' own parts: `begin`, `step` … `step`, `finish`.

Between any two steps the state can be looked at, kept or dropped, and nothing is paid for a picture
that nobody wants: only `finish` decodes. Every operation is the one that `StableDiffusionXLPipeline`
makes, in its order, so with the same seed the pixels are equal bit for bit on a CPU.

Pictures that are made together share the call of the UNet and nothing else: each has its own scheduler,
noise and place in its schedule, so it can leave, be stored and go on alone between any two steps.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from daemon.gpu import conditioning, images, samplers, wire
from daemon.gpu.formats import Pixels
from daemon.gpu.precision import in_tiles, safe_precision
from daemon.gpu.sdxl import Checkpoint
from daemon.gpu.transfers import unwaited


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
    """n × 77·k × c, as `conditioning.encode` gives them; n is 2 (negative first) when guided, else 1."""
    added: dict[str, torch.Tensor]
    """SDXL's other conditions: the pooled prompt `text_embeds`, and `time_ids` (sizes and crop)."""
    latent: torch.Tensor
    """x_t, 1 × 4 × height/8 × width/8, in the scheduler's scale."""
    times: torch.Tensor
    """The scheduler's timesteps on the device, without those of a refiner. The scheduler itself keeps them on
    the CPU: some classes look noise levels up by timestep, and would wait for the device at each step."""
    sigmas: list[float]
    """As `samplers.levels` gives them."""
    generator: torch.Generator
    """Drew the first noise, and draws that of each step."""
    denoised: torch.Tensor | None = None
    """The last step's x0, float32."""
    guidance: torch.Tensor | None = None
    """For a UNet that was distilled to be told its guidance (LCM's): an embedding of `cfg_scale`, 1 × c."""
    skipped: int = 0
    """Calls of the UNet at the schedule's beginning that an image to begin with saves."""
    image_sha256: str | None = None
    """Of that image's file."""
    before: int = 0
    """Steps of an earlier pass, which led to the picture that this one began with."""
    after: int = 0
    """Steps of a later pass, for which `hires` or `refiner` makes another state of this one."""
    spent: tuple[float, ...] = ()
    """The earlier pass's `sigmas`."""
    step: int = 0
    """Steps made, as a person counts them: samplers of second order call the UNet twice but in the last."""
    batch: int = 1
    """The most pictures that a call of the UNet was for, this one included."""

    @property
    def steps(self) -> int:
        """Steps to make in all."""
        order: int = self.scheduler.order
        return self.before - (-(len(self.times) - self.skipped) // order) + self.after

    @property
    def calls(self) -> range:
        """The calls of the UNet, as its schedule counts them, that the next step makes."""
        order: int = self.scheduler.order
        first = self.skipped + (self.step - self.before) * order
        return range(first, min(first + order, len(self.times)))


@dataclass(frozen=True)
class Call:
    """What one picture asks the UNet."""

    state: Denoise
    scaled: torch.Tensor
    """The latent in the UNet's own scale."""
    number: int
    """In the picture's schedule."""


Predict = Callable[[Sequence[Call]], list[torch.Tensor]]
"""What the UNet says to each, led by its prompt."""


@dataclass(frozen=True)
class Denoised:
    """What a step saw."""

    latent: torch.Tensor
    """The predicted x0, 1 × 4 × height/8 × width/8, model space, float32."""
    sigma: float
    """Noise level at which the step began, in the scheduler's units."""


def begin(checkpoint: Checkpoint, request: wire.Begin, tiled: bool = False) -> Denoise:
    """Encode the prompt and draw the noise, or put it on the image. A `cfg_scale` of 1 or less is unguided.

    `tiled` is for the image, as in `decode`. Raises `images.BadImage` and `embeddings.BadEmbedding`.
    """
    distilled: int | None = checkpoint.pipe.unet.config.time_cond_proj_dim
    guided = request.cfg_scale > 1 and distilled is None
    generator = torch.Generator("cpu").manual_seed(request.seed)
    config = checkpoint.pipe.scheduler.config
    with torch.inference_mode():
        words = (request.prompt, request.negative_prompt)
        embeds, pooled = conditioning.encode(checkpoint, *words, guided, request.embeddings)
        scheduler = samplers.fresh(request.sampler, request.scheduler, config, request.seed)
        scheduler.set_timesteps(schedule(request))
        latent, skipped, digest = _origin(checkpoint, request, scheduler, embeds.dtype, generator, tiled)
        return Denoise(
            checkpoint=checkpoint,
            scheduler=scheduler,
            cfg_scale=request.cfg_scale,
            guided=guided,
            embeds=embeds,
            added={"text_embeds": pooled, "time_ids": time_ids(embeds, request.width, request.height)},
            latent=latent,
            times=_own(request, scheduler, skipped).to(checkpoint.device),
            sigmas=samplers.levels(scheduler),
            generator=generator,
            guidance=None
            if distilled is None
            else _guidance(checkpoint, request.cfg_scale, distilled, latent),
            skipped=skipped,
            after=_left_to_others(request),
            image_sha256=digest,
        )


def _guidance(checkpoint: Checkpoint, cfg_scale: float, channels: int, latent: torch.Tensor) -> torch.Tensor:
    """What a guidance-distilled UNet is told instead of being asked twice (Meng et al. 2022, 2210.03142)."""
    scale = torch.tensor(cfg_scale - 1).repeat(1)
    made: torch.Tensor = checkpoint.pipe.get_guidance_scale_embedding(scale, embedding_dim=channels)
    return made.to(device=checkpoint.device, dtype=latent.dtype)


def schedule(request: wire.Begin) -> int:
    """Steps of the whole schedule, of which those that were asked for are the last."""
    return request.steps if request.image is None else images.whole_schedule(request.steps, request.strength)


def _left_to_others(request: wire.Begin) -> int:
    """Steps of a later pass."""
    later = request.hires or request.refiner
    return 0 if later is None else later.steps


def _own(request: wire.Begin, scheduler: Any, skipped: int) -> torch.Tensor:
    """The scheduler's timesteps, but for those that are left to a refiner."""
    times: torch.Tensor = scheduler.timesteps
    if request.refiner is None:
        return times
    return times[: skipped + (request.steps - request.refiner.steps) * scheduler.order]


def _origin(
    checkpoint: Checkpoint,
    request: wire.Begin,
    scheduler: Any,
    dtype: torch.dtype,
    generator: torch.Generator,
    tiled: bool,
) -> tuple[torch.Tensor, int, str | None]:
    """The latent before the first step, the calls that are skipped, and the SHA-256 of the image's file."""
    if request.image is None:
        return _noise(checkpoint, request, dtype, generator) * scheduler.init_noise_sigma, 0, None
    image, digest = images.read(Path(request.image), request.width, request.height)
    clean = images.encode(checkpoint, image, dtype, generator, tiled)
    skipped = (schedule(request) - request.steps) * scheduler.order
    return images.noised(scheduler, clean, skipped, generator), skipped, digest


def step(state: Denoise) -> Denoised:
    """Advance by one step, in place."""
    return step_together([state])[0]


def alike(state: Denoise) -> object:
    """What must be equal in pictures for them to share a call of the UNet: checkpoint, size, and as many
    tokens. Prompts of more chunks stay among themselves: filling the others up with empty ones, which the
    UNet looks at too, would make other pictures of them.
    """
    embeds = state.embeds.shape[1:]
    return id(state.checkpoint), state.latent.shape, embeds, state.guidance is None


def step_together(states: Sequence[Denoise], ask: Predict | None = None) -> list[Denoised]:
    """Advance each by one step, in place. They are `alike`, but may stand anywhere in their schedules.

    `ask` is `predict`, or leads to it.
    """
    numbers = [state.calls for state in states]
    with torch.inference_mode():
        for place in range(max(map(len, numbers), default=0)):
            due = [
                (state, its[place]) for state, its in zip(states, numbers, strict=True) if place < len(its)
            ]
            calls = [_scaled(state, number) for state, number in due]
            for call, answer in zip(calls, (ask or predict)(calls), strict=True):
                call.state.denoised = _advance(call, answer)
    return [_seen(state, its[0]) for state, its in zip(states, numbers, strict=True)]


def _seen(state: Denoise, first: int) -> Denoised:
    assert state.denoised is not None
    state.step += 1
    return Denoised(state.denoised, state.sigmas[first])


def _scaled(state: Denoise, number: int) -> Call:
    scheduler = state.scheduler
    return Call(state, scheduler.scale_model_input(state.latent, scheduler.timesteps[number]), number)


def _advance(call: Call, predicted: torch.Tensor) -> torch.Tensor:
    """What the sampler makes of the UNet's answer; answers x0 as that call predicts it."""
    state, scheduler, before = call.state, call.state.scheduler, call.state.latent
    timestep = scheduler.timesteps[call.number]
    random = {"generator": state.generator} if _draws(scheduler) else {}
    with unwaited(before.device):
        answer: tuple[torch.Tensor, ...] = scheduler.step(
            predicted, timestep, before, **random, return_dict=False
        )
    state.latent = answer[0]
    if len(answer) > 1:
        return answer[1].float()
    sigma = scheduler.sigmas[call.number]
    return _x0(scheduler.config.prediction_type, sigma, before.float(), predicted.float())


def predict(calls: Sequence[Call]) -> list[torch.Tensor]:
    """One call of the UNet for all of them; what it says to each, led by its prompt."""
    states = [call.state for call in calls]
    rows = [len(state.embeds) for state in states]
    each = [call for call, count in zip(calls, rows, strict=True) for _ in range(count)]
    checkpoint = states[0].checkpoint
    # Some samplers answer in float32 whatever the UNet is in.
    scaled = [call.scaled.to(checkpoint.dtype) for call in each]
    times = [call.state.times[call.number] for call in each]
    guidance = [state.guidance for state in states if state.guidance is not None]
    predicted: torch.Tensor = checkpoint.pipe.unet(
        _joined(scaled),
        times[0] if len(calls) == 1 else torch.stack(times),
        timestep_cond=_joined(guidance) if guidance else None,
        encoder_hidden_states=_joined([state.embeds for state in states]),
        added_cond_kwargs={
            name: _joined([state.added[name] for state in states]) for name in states[0].added
        },
        return_dict=False,
    )[0]
    for state in states:
        state.batch = max(state.batch, len(states))
    return [_led(state, part) for state, part in zip(states, torch.split(predicted, rows), strict=True)]


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _led(state: Denoise, predicted: torch.Tensor) -> torch.Tensor:
    """Away from what is predicted without the prompt, by `cfg_scale` (Ho and Salimans 2022, 2207.12598)."""
    if not state.guided:
        return predicted
    without, with_prompt = predicted.chunk(2)
    return without + state.cfg_scale * (with_prompt - without)


def _draws(scheduler: Any) -> bool:
    """Whether the sampler takes fresh noise at each step."""
    return "generator" in inspect.signature(scheduler.step).parameters


def _x0(kind: str, sigma: torch.Tensor, sample: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """x0 for schedulers that do not give it. They hold the sample as α · x0 + σα · ε with α = 1/√(σ² + 1)
    (Lu et al. 2022, arXiv 2211.01095, section 2); v is α · ε − σα · x0 (Salimans and Ho 2022, appendix D).
    """
    if kind == "sample":
        return predicted
    alpha = 1 / (sigma**2 + 1) ** 0.5
    if kind == "v_prediction":
        return alpha * sample - sigma * alpha * predicted
    return (sample - sigma * alpha * predicted) / alpha


def finish(state: Denoise, tiled: bool = False) -> Pixels:
    """Decode the latent as it stands after the last step: uint8, height × width × 3."""
    return decode(state.checkpoint, state.latent, tiled)


def decode(checkpoint: Checkpoint, latent: torch.Tensor, tiled: bool = False) -> Pixels:
    """The picture of a latent in model space (1 × 4 × h × w): uint8, 8h × 8w × 3.

    `tiled` takes less memory and blends tiles where they meet. Raises `NotFinite` for a latent of NaN.
    """
    pipe = checkpoint.pipe
    with torch.inference_mode(), in_tiles(pipe.vae, tiled):
        with safe_precision(pipe.vae, pipe.vae.config.force_upcast) as dtype:
            decoded = _decode(pipe.vae, latent.to(dtype))
        if not decoded.isfinite().all() and dtype == torch.float16:
            # The VAE's config denies that float16 overflows, and it did.
            with safe_precision(pipe.vae, upcast=True) as dtype:
                decoded = _decode(pipe.vae, latent.to(dtype))
        if not decoded.isfinite().all():
            raise NotFinite("the picture came out as NaN: the checkpoint overflows with these settings")
        image = pipe.image_processor.postprocess(decoded, output_type="pt")[0].permute(1, 2, 0).float()
        # As the pipeline does it in numpy; on a GPU it takes no time, and a quarter is to be fetched.
        pixels: Pixels = (image * 255).round().to(torch.uint8).contiguous().cpu().numpy()
        return pixels


class NotFinite(Exception):
    """What came out is no picture."""


def _decode(vae: Any, latent: torch.Tensor) -> torch.Tensor:
    decoded: torch.Tensor = vae.decode(_unscaled(vae, latent), return_dict=False)[0]
    return decoded


def time_ids(embeds: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Original size, crop corner and target size (SDXL, arXiv 2307.01952, section 2.2), n × 6."""
    size = (height, width)
    ids = torch.tensor([[*size, 0, 0, *size]], dtype=embeds.dtype, device=embeds.device)
    return ids.repeat(len(embeds), 1)


def _noise(
    checkpoint: Checkpoint, request: wire.Begin, dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    """Unit noise drawn on the CPU whatever the device, so that a seed means one picture everywhere."""
    factor = checkpoint.pipe.vae_scale_factor
    shape = (1, checkpoint.pipe.unet.config.in_channels, request.height // factor, request.width // factor)
    noise: torch.Tensor = randn_tensor(shape, generator=generator, device=checkpoint.device, dtype=dtype)
    return noise


def _unscaled(vae: Any, latent: torch.Tensor) -> torch.Tensor:
    """From model space to what the VAE decodes; some VAEs also carry per-channel means and deviations."""
    mean, deviation = vae.config.latents_mean, vae.config.latents_std
    factor: float = vae.config.scaling_factor
    if mean is None or deviation is None:
        return latent / factor
    shift = torch.tensor(mean, device=latent.device, dtype=latent.dtype).view(1, 4, 1, 1)
    spread = torch.tensor(deviation, device=latent.device, dtype=latent.dtype).view(1, 4, 1, 1)
    return latent * spread / factor + shift
