"""Pictures that begin with a picture, against `StableDiffusionXLImg2ImgPipeline`."""

from pathlib import Path
from typing import Any

import diffusers
import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from daemon import samplers as names
from daemon.gpu import denoise, formats, images, samplers, sdxl, snapshots, wire

pytestmark = pytest.mark.usefixtures("one_thread")

library: Any = diffusers
"""The same module: its constructors are untyped."""

BEGINNING = [name for name in names.SAMPLERS if name != "lms"]
"""`lms` is refused: its history of steps begins at the noisiest in diffusers."""


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of soft colours."""
    path = tmp_path_factory.mktemp("images") / "photo.png"
    across, down = np.meshgrid(np.linspace(0, 255, 32), np.linspace(0, 255, 32))
    Image.fromarray(np.stack([across, down, 255 - across], -1).astype("uint8")).save(path)
    return path


def ask(plain: wire.Begin, photo: Path, **changes: object) -> wire.Begin:
    """A request of three steps at 32 pixels, that begins with the photo."""
    wanted = {"width": 32, "height": 32, "image": str(photo), "strength": 0.6, **changes}
    return msgspec.structs.replace(plain, **wanted)


def ours(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> formats.Pixels:
    """By our loop, stored and restored after the first step."""
    state = denoise.begin(checkpoint, request)
    assert state.steps == request.steps
    while state.step < state.steps:
        denoise.step(state)
        if state.step == 1:
            data = snapshots.take(state)
            state = denoise.begin(checkpoint, request)
            snapshots.restore(state, data)
    return denoise.finish(state)


def theirs(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> formats.Pixels:
    """By the stock pipeline, which makes ⌊n · strength⌋ of the n steps that it is told."""
    assert request.image is not None
    pipe = library.StableDiffusionXLImg2ImgPipeline(**checkpoint.pipe.components, add_watermarker=False)
    config = checkpoint.pipe.scheduler.config
    pipe.scheduler = samplers.fresh(request.sampler, request.scheduler, config, request.seed)
    pipe.set_progress_bar_config(disable=True)
    picture: formats.Pixels = np.asarray(
        pipe(
            prompt=request.prompt,
            image=Image.open(request.image),
            strength=request.strength,
            num_inference_steps=images.whole_schedule(request.steps, request.strength),
            guidance_scale=request.cfg_scale,
            generator=torch.Generator("cpu").manual_seed(request.seed),
        ).images[0]
    )
    return picture


@pytest.mark.parametrize("sampler", BEGINNING)
def test_equals_the_pipeline_with_every_sampler(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, photo: Path, sampler: str
) -> None:
    """Bit for bit, with as many steps as were asked for, and also when it goes on from a stored state."""
    schedule = names.SAMPLERS[sampler].schedulers[0]
    request = ask(plain, photo, sampler=sampler, scheduler=schedule)
    assert np.array_equal(ours(checkpoint, request), theirs(checkpoint, request))


@pytest.mark.parametrize("changes", [{"strength": 1.0}, {"strength": 0.1}, {"steps": 1}, {"cfg_scale": 1.0}])
def test_equals_the_pipeline_at_every_strength(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, photo: Path, changes: dict[str, object]
) -> None:
    """All of the noise, hardly any, a single step, unguided."""
    request = ask(plain, photo, **changes)
    assert np.array_equal(ours(checkpoint, request), theirs(checkpoint, request))


def test_equals_the_pipeline_in_half_precision(plain: wire.Begin, photo: Path, folder: Path) -> None:
    """The VAE reads in float32, as its config asks, and is float16 again after."""
    half = sdxl.load(folder, torch.device("cpu"), torch.float16)
    request = ask(plain, photo)
    assert np.array_equal(ours(half, request), theirs(half, request))
    assert half.pipe.vae.dtype == torch.float16


def test_a_vae_with_its_own_means(checkpoint: sdxl.Checkpoint, plain: wire.Begin, photo: Path) -> None:
    """They are applied on the way in as they are undone on the way out."""
    vae = checkpoint.pipe.vae
    vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 1.0, 0.8, 1.2])
    try:
        assert np.array_equal(ours(checkpoint, ask(plain, photo)), theirs(checkpoint, ask(plain, photo)))
    finally:
        vae.register_to_config(latents_mean=None, latents_std=None)


def test_less_strength_stays_nearer_to_the_image(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, photo: Path
) -> None:
    """In the latent, and each strength is another picture."""
    far = []
    for strength in (0.05, 0.4, 0.9):
        state = denoise.begin(checkpoint, ask(plain, photo, strength=strength))
        picture, _ = images.read(photo, 32, 32)
        with torch.inference_mode():
            pixels = checkpoint.pipe.image_processor.preprocess(picture)
            clean = checkpoint.pipe.vae.encode(pixels).latent_dist.mode()
        clean = clean * checkpoint.pipe.vae.config.scaling_factor
        while state.step < state.steps:
            denoise.step(state)
        far.append((state.latent - clean).abs().mean().item())
    assert far == sorted(set(far))


@given(st.integers(1, 100), st.floats(0.02, 1))
def test_the_steps_that_were_asked_for_are_made(steps: int, strength: float) -> None:
    """And no shorter schedule would do."""
    whole = images.whole_schedule(steps, strength)
    assert int(whole * strength) == steps
    assert int((whole - 1) * strength) < steps


def test_a_picture_of_another_shape_is_cut_at_its_centre(photo: Path, tmp_path: Path) -> None:
    """Never stretched; turned as its camera says; without transparency."""
    wide = Image.new("RGBA", (96, 32), (255, 0, 0, 255))
    wide.paste((0, 0, 255, 255), (32, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # it stands on its side
    wide.rotate(90, expand=True).convert("RGB").save(tmp_path / "wide.jpg", quality=100, exif=exif)
    picture, _ = images.read(tmp_path / "wide.jpg", 32, 32)
    middle = np.asarray(picture)[8:24, 8:24].mean((0, 1))
    assert middle[2] > 200 > 50 > middle[0]


def test_a_grey_picture_of_sixteen_bits_keeps_its_greys(tmp_path: Path) -> None:
    """As depth maps and scans are: Pillow by itself makes white of all that is above 255."""
    levels = np.linspace(0, 65535, 32).astype("uint16")
    Image.fromarray(np.tile(levels, (32, 1))).save(tmp_path / "deep.png")
    picture, _ = images.read(tmp_path / "deep.png", 32, 32)
    greys = np.asarray(picture)
    assert np.abs(greys[0, :, 0].astype(int) - np.linspace(0, 255, 32)).max() <= 1
    assert (greys == greys[..., :1]).all()


def test_the_size_is_the_prompts(checkpoint: sdxl.Checkpoint, plain: wire.Begin, photo: Path) -> None:
    """Whatever the image's is."""
    assert ours(checkpoint, ask(plain, photo, width=64, height=48)).shape == (48, 64, 3)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(40), b"<svg/>" * 9, None])
def test_what_is_no_picture_is_named(tmp_path: Path, photo: Path, content: bytes | None) -> None:
    """Missing, empty, cut off, of another kind: one sentence with the file in it."""
    path = tmp_path / "foreign.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(images.BadImage, match=r"foreign\.png cannot be used"):
        images.read(path, 64, 64)


def test_a_picture_made_to_exhaust_memory_is_refused(tmp_path: Path) -> None:
    """By its header, before a pixel is decoded."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(images.BadImage, match="10000 × 10000 pixels"):
        images.read(tmp_path / "huge.png", 64, 64)


def test_a_state_knows_the_image_that_it_began_with(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, tmp_path: Path
) -> None:
    """Also when the file has become another one before it goes on."""
    path = tmp_path / "changing.png"
    Image.new("RGB", (32, 32), "red").save(path)
    state = denoise.begin(checkpoint, ask(plain, path))
    first = state.image_sha256
    denoise.step(state)
    Image.new("RGB", (32, 32), "blue").save(path)
    again = denoise.begin(checkpoint, ask(plain, path))
    assert again.image_sha256 != first
    snapshots.restore(again, snapshots.take(state))
    assert again.image_sha256 == first
    assert torch.equal(again.latent, state.latent)
