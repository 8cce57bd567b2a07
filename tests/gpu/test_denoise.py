"""The step machine against diffusers' own pipeline, and what can be done between two steps."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from daemon import samplers as names
from daemon.gpu import denoise, samplers, sdxl, wire
from daemon.gpu.formats import Pixels
from tests.gpu.oracle import Oracle

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = wire.Begin(
    frame=1,
    attempt=1,
    model="demo",
    prompt="a red circle on a blue background",
    negative_prompt="",
    width=64,
    height=64,
    steps=3,
    cfg_scale=5.0,
    seed=7,
    sampler="euler",
    scheduler="normal",
    store_every=5.0,
)


def ask(**changes: object) -> wire.Begin:
    """The plain request with some fields changed."""
    return msgspec.structs.replace(PLAIN, **changes)


def ours(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> Pixels:
    """The picture by our loop."""
    state = denoise.begin(checkpoint, request)
    while state.step < state.steps:
        denoise.step(state)
    return denoise.finish(state)


def theirs(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> Pixels:
    """The picture by `StableDiffusionXLPipeline.__call__`."""
    pipe, config = checkpoint.pipe, checkpoint.pipe.scheduler.config
    pipe = type(pipe)(**pipe.components, add_watermarker=False)
    pipe.scheduler = samplers.fresh(request.sampler, request.scheduler, config, request.seed)
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or None,
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        guidance_scale=request.cfg_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
    ).images
    picture: Pixels = np.asarray(images[0])
    return picture


@contextmanager
def replaced_unet(
    checkpoint: sdxl.Checkpoint, oracle: Oracle
) -> Iterator[Callable[[wire.Begin], denoise.Denoise]]:
    """`begin` with the oracle in the UNet's place, unguided."""
    state: denoise.Denoise

    def unet(scaled: torch.Tensor, timestep: torch.Tensor, **_conditions: Any) -> tuple[torch.Tensor]:
        return (oracle.predict(state.scheduler, state.latent, timestep),)

    def begin(request: wire.Begin) -> denoise.Denoise:
        nonlocal state
        state = denoise.begin(checkpoint, msgspec.structs.replace(request, cfg_scale=1.0))
        parts = {name: getattr(checkpoint.pipe, name) for name in ("vae", "scheduler")}
        pipe = SimpleNamespace(unet=unet, **parts)
        state.checkpoint = dataclasses.replace(checkpoint, pipe=pipe)
        return state

    checkpoint.pipe.scheduler.register_to_config(prediction_type=oracle.kind)
    try:
        yield begin
    finally:
        checkpoint.pipe.scheduler.register_to_config(prediction_type="epsilon")


REQUESTS = {
    "plain": PLAIN,
    "unguided": ask(cfg_scale=1.0),
    "barely guided": ask(cfg_scale=1.01),
    "negative": ask(negative_prompt="grey, blurred"),
    "unguided with a negative": ask(cfg_scale=1.0, negative_prompt="grey, blurred"),
    "wide": ask(width=120, height=56),
    "tall": ask(width=40, height=104, seed=2**53 - 1),
    "one step": ask(steps=1),
    "a backslash, colons and closing brackets": ask(prompt="C:\\\\fox: 16:9 :) ]"),
    "not ASCII": ask(prompt="狐狸 в снегу 🦊"),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_equals_the_pipeline(checkpoint: sdxl.Checkpoint, request_: wire.Begin) -> None:
    """With the same seed every pixel is the stock pipeline's."""
    assert np.array_equal(ours(checkpoint, request_), theirs(checkpoint, request_))


@pytest.fixture(scope="module")
def half(checkpoint: sdxl.Checkpoint) -> sdxl.Checkpoint:
    """The demo model as a GPU holds it."""
    return sdxl.load(checkpoint.path, torch.device("cpu"), torch.float16)


def test_equals_the_pipeline_in_half_precision(half: sdxl.Checkpoint) -> None:
    """In float16 too, where the VAE is decoded in float32 as its config asks, and is float16 again after."""
    assert half.pipe.vae.config.force_upcast
    assert np.array_equal(ours(half, PLAIN), theirs(half, PLAIN))
    assert half.pipe.vae.dtype == torch.float16


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_x0_is_what_the_sample_holds_without_its_noise(checkpoint: sdxl.Checkpoint, prediction: str) -> None:
    """The denoised latent agrees with Euler's step solved for it: x' = x + (x − x0)/σ · (σ' − σ)."""
    checkpoint.pipe.scheduler.register_to_config(prediction_type=prediction)
    try:
        state = denoise.begin(checkpoint, PLAIN)
        while state.step < state.steps:
            before = state.latent
            sigma, after = state.scheduler.sigmas[state.step : state.step + 2].tolist()
            seen = denoise.step(state)
            slope = (state.latent - before) / (after - sigma)
            torch.testing.assert_close(seen.latent, before - sigma * slope, rtol=1e-4, atol=1e-4)
            assert seen.sigma == sigma
    finally:
        checkpoint.pipe.scheduler.register_to_config(prediction_type="epsilon")


def test_the_last_x0_is_the_picture(checkpoint: sdxl.Checkpoint) -> None:
    """Euler ends at sigma 0, so the last preview shows the very latent that is decoded."""
    state = denoise.begin(checkpoint, PLAIN)
    seen = [denoise.step(state) for _ in range(state.steps)]
    torch.testing.assert_close(seen[-1].latent, state.latent, rtol=1e-4, atol=1e-4)


def test_it_develops(checkpoint: sdxl.Checkpoint) -> None:
    """Every step's x0 differs visibly from the one before, and the noise level falls."""
    state = denoise.begin(checkpoint, ask(steps=6))
    seen = [denoise.step(state) for _ in range(state.steps)]
    moved = [(b.latent - a.latent).abs().mean().item() for a, b in itertools.pairwise(seen)]
    assert min(moved) > 0.001
    assert sorted((s.sigma for s in seen), reverse=True) == [s.sigma for s in seen]


def test_a_seed_is_a_picture(checkpoint: sdxl.Checkpoint) -> None:
    """The same seed gives the same pixels, another seed or another prompt gives others."""
    picture = ours(checkpoint, PLAIN)
    assert np.array_equal(picture, ours(checkpoint, PLAIN))
    assert not np.array_equal(picture, ours(checkpoint, ask(seed=8)))
    assert not np.array_equal(picture, ours(checkpoint, ask(prompt="a forest at night")))


def test_pictures_in_turns_do_not_disturb_each_other(checkpoint: sdxl.Checkpoint) -> None:
    """Two frames stepped alternately, one of them dropped half way, end as if made alone."""
    one, two, dropped = (denoise.begin(checkpoint, ask(seed=seed)) for seed in (1, 2, 3))
    denoise.step(dropped)
    for _ in range(one.steps):
        denoise.step(one)
        denoise.step(two)
    assert np.array_equal(denoise.finish(one), ours(checkpoint, ask(seed=1)))
    assert np.array_equal(denoise.finish(two), ours(checkpoint, ask(seed=2)))


def test_a_vae_with_its_own_means(checkpoint: sdxl.Checkpoint) -> None:
    """Per-channel means and deviations in the VAE's config are undone as the pipeline undoes them."""
    vae = checkpoint.pipe.vae
    vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 1.0, 0.8, 1.2])
    try:
        assert np.array_equal(ours(checkpoint, PLAIN), theirs(checkpoint, PLAIN))
    finally:
        vae.register_to_config(latents_mean=None, latents_std=None)


def test_the_state_describes_itself(checkpoint: sdxl.Checkpoint) -> None:
    """Between two steps everything about the frame can be read off."""
    state = denoise.begin(checkpoint, PLAIN)
    denoise.step(state)
    assert (state.step, state.steps, state.guided) == (1, 3, True)
    assert state.latent.shape == (1, 4, 8, 8)
    assert {field.name for field in dataclasses.fields(state)} >= {"scheduler", "latent", "embeds", "added"}


PAIRS = [(name, scheduler) for name, it in names.SAMPLERS.items() for scheduler in it.schedulers]


@pytest.mark.parametrize(("sampler", "scheduler"), PAIRS)
def test_equals_the_pipeline_with_every_sampler(
    checkpoint: sdxl.Checkpoint, sampler: str, scheduler: str
) -> None:
    """Every pairing, given to the stock pipeline with the same seed, gives the same pixels."""
    request = ask(sampler=sampler, scheduler=scheduler, width=32, height=32)
    picture = ours(checkpoint, request)
    assert np.array_equal(picture, theirs(checkpoint, request))
    assert np.ptp(picture) > 20  # and no flat grey, as NaN would be


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "dpmpp_3m_sde", "uni_pc", "sa_solver", "ddim"])
def test_x0_of_a_model_that_predicts_it(checkpoint: sdxl.Checkpoint, sampler: str) -> None:
    """As some few-step models do (`prediction_type: sample`), whether the scheduler tells it or not."""
    answer = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with replaced_unet(checkpoint, Oracle(answer, "sample")) as state_of:
        state = state_of(ask(sampler=sampler, scheduler=names.SAMPLERS[sampler].schedulers[0]))
        for _ in range(state.steps):
            torch.testing.assert_close(denoise.step(state).latent, answer)


@pytest.mark.parametrize("sampler", names.SAMPLERS.values(), ids=names.SAMPLERS)
def test_x0_of_every_sampler(checkpoint: sdxl.Checkpoint, sampler: names.Sampler) -> None:
    """With a model that knows the answer, every step of every sampler shows that answer."""
    for kind in ("epsilon", "v_prediction"):
        answer = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
        with replaced_unet(checkpoint, Oracle(answer, kind)) as state_of:
            state = state_of(ask(sampler=sampler.name, scheduler=sampler.schedulers[0], steps=5))
            assert state.steps == 5
            for _ in range(5):
                seen = denoise.step(state).latent
                tolerance = 0.1 if sampler.name == "lcm" else 2e-3  # LCM blends a little of the noise in
                assert (seen - answer).abs().max() < tolerance


def test_every_sampler_works_in_half_precision(half: sdxl.Checkpoint, checkpoint: sdxl.Checkpoint) -> None:
    """No NaN, and about the picture of float32, though some classes answer in another precision."""
    for name, sampler in names.SAMPLERS.items():
        request = ask(sampler=name, scheduler=sampler.schedulers[0], steps=2, width=32, height=32)
        apart = ours(half, request).astype(float) - ours(checkpoint, request)
        assert abs(apart).mean() < 8, name


def test_a_vae_that_overflows_is_decoded_in_float32(half: sdxl.Checkpoint) -> None:
    """Where its config denies that float16 overflows and it does, the picture is made all the same."""
    state = denoise.begin(half, PLAIN)
    denoise.step(state)
    vae = half.pipe.vae
    vae.register_to_config(force_upcast=True)
    whole = denoise.finish(state)
    vae.register_to_config(force_upcast=False)
    weights = vae.decoder.conv_in.weight.clone()
    try:
        with torch.no_grad():
            vae.decoder.conv_in.weight.mul_(3e4)  # what comes of it is past float16's 65504
            latent = denoise._unscaled(vae, state.latent.half())
            assert not vae.decode(latent, return_dict=False)[0].isfinite().all()
        picture = denoise.finish(state)
        assert vae.dtype == torch.float16
        assert np.ptp(picture) > 0
        assert whole.shape == picture.shape
    finally:
        with torch.no_grad():
            vae.decoder.conv_in.weight.copy_(weights)
        vae.register_to_config(force_upcast=True)


@contextmanager
def configured(checkpoint: sdxl.Checkpoint, **config: object) -> Iterator[None]:
    """The checkpoint as if its scheduler's config said so."""
    own = {key: checkpoint.pipe.scheduler.config.get(key) for key in config}
    checkpoint.pipe.scheduler.register_to_config(**config)
    try:
        yield
    finally:
        checkpoint.pipe.scheduler.register_to_config(**own)


V_MODELS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "ddim", "heun", "lcm")


@pytest.mark.parametrize("sampler", V_MODELS)
def test_equals_the_pipeline_for_v_prediction_and_zero_terminal_snr(
    checkpoint: sdxl.Checkpoint, sampler: str
) -> None:
    """As NoobAI and its kin are: each sampler begins at nothing but noise, and ends in a picture."""
    schedule = names.SAMPLERS[sampler].schedulers[0]
    request = ask(sampler=sampler, scheduler=schedule, width=32, height=32, steps=4)
    with configured(checkpoint, prediction_type="v_prediction", rescale_betas_zero_snr=True):
        picture = ours(checkpoint, request)
        assert np.array_equal(picture, theirs(checkpoint, request))
        if schedule != "ddim_uniform":  # which begins below the noisiest, whatever that is
            assert denoise.begin(checkpoint, request).sigmas[0] > 100
    assert np.ptp(picture) > 20
    assert not np.array_equal(picture, ours(checkpoint, request))


FEW_STEPS = {
    "Turbo": ask(steps=1, cfg_scale=1.0, sampler="euler_ancestral", scheduler="simple"),
    "Lightning": ask(steps=4, cfg_scale=1.0, sampler="euler", scheduler="sgm_uniform"),
    "LCM-LoRA": ask(steps=4, cfg_scale=1.5, sampler="lcm", scheduler="sgm_uniform"),
}


@pytest.mark.parametrize("request_", FEW_STEPS.values(), ids=FEW_STEPS)
def test_equals_the_pipeline_in_few_steps(checkpoint: sdxl.Checkpoint, request_: wire.Begin) -> None:
    """As models are asked that were distilled to need no more; the first step begins at the noisiest."""
    assert np.array_equal(ours(checkpoint, request_), theirs(checkpoint, request_))
    state = denoise.begin(checkpoint, request_)
    assert len(state.sigmas) == request_.steps + 1
    assert state.sigmas[0] == pytest.approx(14.6146, rel=1e-3)


def test_a_unet_that_is_told_its_guidance(checkpoint: sdxl.Checkpoint) -> None:
    """LCM's own is asked once a step, with an embedding of `cfg_scale`, and equals the pipeline."""
    pipe = checkpoint.pipe
    config = {**pipe.unet.config, "time_cond_proj_dim": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        unet = type(pipe.unet).from_config(config).eval()
    parts = {**pipe.components, "unet": unet}
    distilled = dataclasses.replace(checkpoint, pipe=type(pipe)(**parts, add_watermarker=False))
    request = ask(sampler="lcm", scheduler="sgm_uniform", cfg_scale=6.0, width=32, height=32)
    picture = ours(distilled, request)
    assert np.array_equal(picture, theirs(distilled, request))
    assert not denoise.begin(distilled, request).guided
    assert not np.array_equal(
        picture,
        ours(distilled, ask(sampler="lcm", scheduler="sgm_uniform", cfg_scale=2.0, width=32, height=32)),
    )


def test_a_latent_of_nan_is_no_picture(checkpoint: sdxl.Checkpoint) -> None:
    """It is said, instead of a black square being kept."""
    state = denoise.begin(checkpoint, PLAIN)
    state.latent = state.latent * float("nan")
    with pytest.raises(denoise.NotFinite, match="NaN"):
        denoise.finish(state)


def test_tiles_make_nearly_the_same_picture(checkpoint: sdxl.Checkpoint) -> None:
    """What is decoded in tiles for want of memory differs where they meet, and the next is whole again."""
    state = denoise.begin(checkpoint, ask(width=384, height=320, steps=2))
    denoise.step(state)
    whole, tiled = denoise.finish(state), denoise.finish(state, tiled=True)
    assert whole.shape == tiled.shape
    assert abs(whole.astype(float) - tiled).mean() < 6
    assert np.array_equal(denoise.finish(state), whole)
