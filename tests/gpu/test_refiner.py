"""The refiner, against diffusers' two pipelines handing a noisy latent over, and in memory's way."""

import gc
import io
import json
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from daemon.gpu import (
    denoise,
    formats,
    hires,
    images,
    memory,
    merging,
    previews,
    refiner,
    samplers,
    sdxl,
    snapshots,
    wire,
    work,
)
from daemon.gpu.orders import Order
from tests import small_model
from tests.gpu import original

pytestmark = pytest.mark.usefixtures("one_thread")

library: Any = diffusers
"""The same module: its constructors are untyped."""
CPU = torch.device("cpu")
SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "ddim", "lcm")
STEPS, LAST = 5, 2


@pytest.fixture(scope="module")
def refiner_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A refiner of the small model's kind, random: one text encoder, sizes with an aesthetic score."""
    base = library.StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
    config = {
        **base.unet.config,
        "cross_attention_dim": small_model.WIDTHS[1],
        "projection_class_embeddings_input_dim": small_model.PROJECTION + 5 * small_model.TIME,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        unet = library.UNet2DConditionModel.from_config(config).eval()
    made = library.StableDiffusionXLImg2ImgPipeline(
        vae=base.vae, text_encoder=None, text_encoder_2=base.text_encoder_2, tokenizer=None,
        tokenizer_2=base.tokenizer_2, unet=unet, scheduler=base.scheduler, requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False, add_watermarker=False,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("refiners") / "refiner"
    made.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def second(refiner_folder: Path) -> sdxl.Checkpoint:
    """It, in memory."""
    return sdxl.load(refiner_folder, CPU, torch.float32, "refiner")


def ask(plain: wire.Begin, **changes: object) -> wire.Begin:
    """Three steps by the base, two by the refiner."""
    handed = wire.Refiner(model="refiner", steps=LAST)
    return msgspec.structs.replace(
        plain, **{"width": 64, "height": 48, "steps": STEPS, "refiner": handed, **changes}
    )


def ours(
    checkpoint: sdxl.Checkpoint, second: sdxl.Checkpoint, request: wire.Begin, kept: bool = False
) -> formats.Pixels:
    """By our loop, as `work` drives it; if `kept`, stored and put back after every step."""
    state = denoise.begin(checkpoint, request)
    assert state.steps == STEPS
    while state.step < state.steps:
        if hires.due(state):
            assert state.step == STEPS - LAST
            state = refiner.second(state, request, second)
        denoise.step(state)
        if kept:
            data = snapshots.take(state)
            state = denoise.begin(checkpoint, request)
            if snapshots.earlier_steps(data):
                state = refiner.blank(state, request, second)
            snapshots.restore(state, data)
    assert (state.step, state.steps) == (STEPS, STEPS)
    return denoise.finish(state)


def theirs(checkpoint: sdxl.Checkpoint, second: sdxl.Checkpoint, request: wire.Begin) -> formats.Pixels:
    """The stock pipelines, with one generator for both and the noisy latent between them."""
    generator = torch.Generator("cpu").manual_seed(request.seed)
    whole = images.whole_schedule(STEPS, request.strength) if request.image else STEPS
    common = {
        "prompt": request.prompt, "negative_prompt": request.negative_prompt or None,
        "guidance_scale": request.cfg_scale, "generator": generator, "num_inference_steps": whole,
    }  # fmt: skip
    kind = library.StableDiffusionXLImg2ImgPipeline if request.image else library.StableDiffusionXLPipeline
    base = stock(kind, checkpoint, request)
    end = share(base.scheduler, whole)
    if request.image:
        start = {"image": images.read(Path(request.image), 64, 48)[0], "strength": request.strength}
    else:
        start = {"width": request.width, "height": request.height}
    latent = base(**common, **start, denoising_end=end, output_type="latent").images
    pipe = stock(type(second.pipe), second, request, vae=checkpoint.pipe.vae)
    picture = pipe(**common, image=latent, denoising_start=end).images[0]
    answer: formats.Pixels = np.asarray(picture)
    return answer


def stock(kind: Any, checkpoint: sdxl.Checkpoint, request: wire.Begin, **parts: Any) -> Any:
    """A pipeline of diffusers' with a scheduler of its own."""
    keys = ("requires_aesthetics_score", "force_zeros_for_empty_prompt")
    config = {key: checkpoint.pipe.config[key] for key in keys if key in checkpoint.pipe.config}
    made = kind(**{**checkpoint.pipe.components, **parts}, **config, add_watermarker=False)
    made.scheduler = samplers.fresh(
        request.sampler, request.scheduler, checkpoint.pipe.scheduler.config, request.seed
    )
    made.set_progress_bar_config(disable=True)
    return made


def share(scheduler: Any, steps: int) -> float:
    """diffusers cuts at a timestep: the `denoising_end` whose timestep is that of the base's last step."""
    scheduler.set_timesteps(steps)
    last = scheduler.timesteps[steps - LAST - 1].item()
    assert last > scheduler.timesteps[steps - LAST].item()
    return float(1 - last / scheduler.config.num_train_timesteps)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equals_the_two_pipelines(
    checkpoint: sdxl.Checkpoint, second: sdxl.Checkpoint, plain: wire.Begin, sampler: str
) -> None:
    """Bit for bit, also when it is put back from what was stored after each step of either checkpoint."""
    request = ask(plain, sampler=sampler, scheduler="ddim_uniform" if sampler == "ddim" else "sgm_uniform")
    picture = ours(checkpoint, second, request)
    assert np.array_equal(picture, theirs(checkpoint, second, request))
    assert np.array_equal(picture, ours(checkpoint, second, request, kept=True))


@pytest.mark.parametrize(
    "changes", [{"cfg_scale": 1.0}, {"negative_prompt": "grey, blurred"}, {"scheduler": "karras"}]
)
def test_equals_them_however_it_is_led(
    checkpoint: sdxl.Checkpoint, second: sdxl.Checkpoint, plain: wire.Begin, changes: dict[str, Any]
) -> None:
    """Unguided, with a negative prompt, on other noise levels."""
    request = ask(plain, **changes)
    assert np.array_equal(ours(checkpoint, second, request), theirs(checkpoint, second, request))


def test_equals_them_after_an_image(
    checkpoint: sdxl.Checkpoint, second: sdxl.Checkpoint, plain: wire.Begin, tmp_path: Path
) -> None:
    """Of the steps that an image leaves, the last are the refiner's."""
    Image.new("RGB", (64, 48), "green").save(tmp_path / "it.png")
    request = ask(plain, image=str(tmp_path / "it.png"), strength=0.6)
    picture = ours(checkpoint, second, request)
    assert np.array_equal(picture, theirs(checkpoint, second, request))
    assert np.array_equal(picture, ours(checkpoint, second, request, kept=True))


def test_a_sampler_of_second_order_hands_over_between_whole_steps(
    checkpoint: sdxl.Checkpoint, second: sdxl.Checkpoint, plain: wire.Begin
) -> None:
    """Where diffusers would cut a step in two: by a refiner that is the base it is the base's own picture."""
    for sampler in ("heun", "dpm_2", "dpmpp_sde"):
        request = ask(plain, sampler=sampler, scheduler="karras")
        alone = denoise.begin(checkpoint, msgspec.structs.replace(request, refiner=None))
        while alone.step < alone.steps:
            denoise.step(alone)
        assert np.array_equal(ours(checkpoint, checkpoint, request), denoise.finish(alone))
        assert np.array_equal(ours(checkpoint, second, request, kept=True), ours(checkpoint, second, request))


def test_the_noise_levels_are_those_of_one_schedule(
    checkpoint: sdxl.Checkpoint, second: sdxl.Checkpoint, plain: wire.Begin
) -> None:
    """Each once, in falling order, whoever works at them."""
    request = ask(plain)
    whole = denoise.begin(checkpoint, msgspec.structs.replace(request, refiner=None))
    state = denoise.begin(checkpoint, request)
    for _ in range(STEPS - LAST):
        denoise.step(state)
    state = refiner.second(state, request, second)
    assert [*state.spent, *state.sigmas[state.skipped :]] == whole.sigmas
    assert denoise.step(state).sigma == whole.sigmas[STEPS - LAST]


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m_sde", "uni_pc", "heun", "dpm_2"])
def test_a_refiner_of_another_range_goes_on_at_the_noise_that_there_is(
    checkpoint: sdxl.Checkpoint, second: sdxl.Checkpoint, plain: wire.Begin, sampler: str
) -> None:
    """A base of zero terminal SNR begins far above what SDXL's refiner knows, and its steps fall otherwise:
    the levels are the base's, the timesteps that the refiner is told are its own for them.
    """
    checkpoint.pipe.scheduler.register_to_config(rescale_betas_zero_snr=True)
    try:
        request = ask(plain, sampler=sampler, scheduler="karras")
        state = denoise.begin(checkpoint, request)
        refined = refiner.blank(state, request, second)
    finally:
        checkpoint.pipe.scheduler.register_to_config(rescale_betas_zero_snr=False)
    whole = list(state.sigmas)
    assert refined.sigmas[refined.skipped :] == whole[refined.skipped :]
    own = samplers.model_sigmas(second.pipe.scheduler.config)
    expected = samplers.times(np.array(whole[refined.skipped : refined.skipped + 1]), own)
    assert float(refined.times[refined.skipped]) == pytest.approx(expected[0], abs=1)


@pytest.fixture
def shelf() -> sdxl.Shelf:
    """Nothing on it."""
    return sdxl.Shelf(CPU)


def made(order: Order, shelf: sdxl.Shelf) -> tuple[work.Ending, list[wire.Reply]]:
    """Have the order attempted; answers its ending and what was said on the way."""
    said: list[wire.Reply] = []
    with previews.Encoder(said.append) as encoder:
        ((_, ending),) = work.attempt([order], shelf, encoder, said.append)
    return ending, said


@pytest.fixture
def order(plain: wire.Begin, folder: Path, refiner_folder: Path) -> Order:
    """A small frame by both."""
    handed = wire.Refiner(model=str(refiner_folder), steps=LAST)
    return Order(ask(plain, model=str(folder), refiner=handed, store_every=0.0))


def test_the_child_reads_both_and_keeps_both(
    order: Order, shelf: sdxl.Shelf, checkpoint: sdxl.Checkpoint, second: sdxl.Checkpoint
) -> None:
    """Each is told, every step is shown, and the next picture loads nothing; it goes on from any step."""
    ending, said = made(order, shelf)
    assert isinstance(ending, wire.Final)
    loaded = [Path(reply.model).name for reply in said if isinstance(reply, wire.Loaded)]
    assert loaded == ["demo", "refiner"]
    expected = ours(checkpoint, second, order.begin)
    assert np.array_equal(picture_of(ending), expected)
    states = {reply.step: reply.data for reply in said if isinstance(reply, wire.Stored)}
    assert len(ending.sigmas) == STEPS + 1
    for data in states.values():
        again, said = made(Order(msgspec.structs.replace(order.begin, resume=data)), shelf)
        assert isinstance(again, wire.Final)
        assert again.pixels_sha256 == ending.pixels_sha256
        assert not [reply for reply in said if isinstance(reply, wire.Loaded)]


def picture_of(final: wire.Final) -> Any:
    """The pixels of its file."""
    with Image.open(io.BytesIO(final.data)) as image:
        return np.asarray(image)


def test_the_base_leaves_memory_if_both_do_not_fit(
    order: Order, shelf: sdxl.Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the refiner is read, with all but its VAE; the picture is the same."""
    whole, _ = made(order, shelf)
    shelf = sdxl.Shelf(CPU)
    gone: list[bool] = []
    bases: list[weakref.ref[Any]] = []
    load = sdxl.load

    def watched(path: Path, *rest: Any) -> sdxl.Checkpoint:
        gc.collect()
        gone.extend(base() is None for base in bases)
        read = load(path, *rest)
        bases.append(weakref.ref(read.pipe.unet))
        return read

    monkeypatch.setattr(sdxl, "load", watched)
    monkeypatch.setattr(memory, "free", lambda _device: 0)
    alone, _ = made(order, shelf)
    assert gone == [True]
    assert isinstance(whole, wire.Final)
    assert isinstance(alone, wire.Final)
    assert alone.pixels_sha256 == whole.pixels_sha256


def test_a_base_whose_weights_are_changed_leaves_memory_too(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin
) -> None:
    """What is known of its own numbers goes with it."""
    weight = torch.nn.Parameter(torch.ones(1))
    changed = replace(checkpoint, merged=merging.Merged({"style": 1.0}, [(weight, torch.ones(1))]))
    state = denoise.begin(changed, ask(plain))
    held = weakref.ref(weight)
    refiner.let_go(state)
    del changed, weight
    gc.collect()
    assert held() is None


def test_the_base_leaves_memory_where_the_refiner_goes_on_too(
    order: Order, shelf: sdxl.Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that was stored among its steps: reading it is tried once more, as at the first time."""
    whole, said = made(order, shelf)
    stored = [reply.data for reply in said if isinstance(reply, wire.Stored)][-1]
    shelf, load, tries = sdxl.Shelf(CPU), sdxl.load, list[str]()

    def full(path: Path, *rest: Any) -> sdxl.Checkpoint:
        tries.append(path.name)
        if tries == ["demo", "refiner"]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return load(path, *rest)

    monkeypatch.setattr(sdxl, "load", full)
    again, _ = made(Order(msgspec.structs.replace(order.begin, resume=stored)), shelf)
    assert tries == ["demo", "refiner", "refiner"]
    assert isinstance(whole, wire.Final)
    assert isinstance(again, wire.Final)
    assert again.pixels_sha256 == whole.pixels_sha256


def test_a_refiner_cannot_be_used_alone(order: Order, shelf: sdxl.Shelf, refiner_folder: Path) -> None:
    """Cold or warm; any other checkpoint can be a refiner."""
    alone = msgspec.structs.replace(order.begin, model=str(refiner_folder), refiner=None)
    for _ in range(2):
        ending, _ = made(Order(alone), shelf)
        assert isinstance(ending, wire.LoadFailed)
        assert "SDXL's refiner, which cannot be used alone" in ending.message
        assert isinstance(made(order, shelf)[0], wire.Final)  # now it is warm
    itself = wire.Refiner(model=order.begin.model, steps=LAST)
    assert isinstance(made(Order(msgspec.structs.replace(order.begin, refiner=itself)), shelf)[0], wire.Final)


def test_loras_stay_with_the_base(order: Order, tmp_path: Path, folder: Path) -> None:
    """A checkpoint that was warm with one refines without it, as a cold one does."""
    other = shutil.copytree(folder, tmp_path / "other")
    layer = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v"
    matrices = {"lora_down.weight": torch.ones(2, 128), "lora_up.weight": torch.eye(64, 2) * 9}
    save_file({f"{layer}.{name}": each for name, each in matrices.items()}, tmp_path / "style.safetensors")
    style = wire.Lora(file=str(tmp_path / "style.safetensors"), weight=1.0)
    itself = wire.Refiner(model=str(other), steps=LAST)
    refined = msgspec.structs.replace(order.begin, refiner=itself)
    cold, _ = made(Order(refined), sdxl.Shelf(CPU))
    shelf = sdxl.Shelf(CPU)
    alone = msgspec.structs.replace(order.begin, model=str(other), refiner=None)
    assert isinstance(made(Order(msgspec.structs.replace(alone, loras=[style])), shelf)[0], wire.Final)
    warm, _ = made(Order(refined), shelf)
    assert isinstance(cold, wire.Final)
    assert isinstance(warm, wire.Final)
    assert warm.pixels_sha256 == cold.pixels_sha256
    led, _ = made(Order(msgspec.structs.replace(order.begin, loras=[style])), shelf)
    assert isinstance(led, wire.Final)


def test_a_bad_refiner_is_found_before_the_first_step(
    order: Order, shelf: sdxl.Shelf, tmp_path: Path
) -> None:
    """It is named, not the base."""
    missing = wire.Refiner(model=str(tmp_path / "nowhere"), steps=LAST)
    ending, said = made(Order(msgspec.structs.replace(order.begin, refiner=missing)), shelf)
    assert isinstance(ending, wire.LoadFailed)
    assert (ending.model, "There is no checkpoint" in ending.message) == (missing.model, True)
    assert not [reply for reply in said if isinstance(reply, wire.Preview)]


@pytest.fixture
def file(refiner_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """It in the original layout, with as many layers in its text encoder as tell it from other models."""
    from transformers import CLIPTextModelWithProjection

    pipe = library.StableDiffusionXLImg2ImgPipeline.from_pretrained(refiner_folder, local_files_only=True)
    config = pipe.text_encoder_2.config
    config.num_hidden_layers = 10
    torch.manual_seed(20)
    pipe.register_modules(text_encoder_2=CLIPTextModelWithProjection(config).train(False))
    path = tmp_path / "refiner.safetensors"
    pipe.save_pretrained(path.with_suffix(".config"))
    for weights in path.with_suffix(".config").rglob("*.safetensors"):
        weights.unlink()
    original.write_refiner(pipe, path)
    pipe.save_pretrained(tmp_path / "folder")
    yield path
    shutil.rmtree(tmp_path / "folder")


def test_a_single_file_is_read_offline(
    file: Path, checkpoint: sdxl.Checkpoint, plain: wire.Begin, tmp_path: Path
) -> None:
    """As it is published, and the same picture as from its folder."""
    loaded = [sdxl.load(path, CPU, torch.float32, "refiner") for path in (file, tmp_path / "folder")]
    assert loaded[0].refines
    pictures = [ours(checkpoint, one, ask(plain)) for one in loaded]
    assert np.array_equal(pictures[0], pictures[1])
    with pytest.raises(sdxl.BadModel, match="cannot be used alone"):
        sdxl.load(file, CPU, torch.float32)


def test_the_configs_that_come_along_are_the_refiners() -> None:
    """SDXL's report (arXiv 2307.01952) and sgm's `sd_xl_refiner.yaml`: 384 channels, contexts of 1280, sizes
    with a score; 2.3 billion parameters.
    """
    from daemon.gpu.single_file import PARTS, REFINER_PARTS

    kind = library.UNet2DConditionModel
    with torch.device("meta"):
        unet = kind.from_config(kind.load_config(REFINER_PARTS / "unet"))
    assert round(sum(parameter.numel() for parameter in unet.parameters()) / 1e9, 1) == 2.3
    assert unet.add_embedding.linear_1.in_features == 1280 + 5 * 256
    for part in ("vae", "text_encoder_2"):
        same = [json.loads((parts / part / "config.json").read_text()) for parts in (PARTS, REFINER_PARTS)]
        assert same[0] == same[1]
