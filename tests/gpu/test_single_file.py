"""Checkpoints as people download them: one file in the original layout, read without a network."""

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection

from daemon.gpu import denoise, sdxl, single_file, wire
from tests.gpu import original

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Any:
    """The demo model with as many layers in its second text encoder as tell SDXL from its relatives."""
    made: Any = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
    config = copy.deepcopy(made.text_encoder_2.config)
    config.num_hidden_layers = 10
    torch.manual_seed(20)
    made.register_modules(text_encoder_2=CLIPTextModelWithProjection(config))
    made.text_encoder_2.train(False)
    return made


@pytest.fixture(scope="module")
def file(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as one file, with the shapes of its parts beside it."""
    path = tmp_path_factory.mktemp("files") / "tiny.safetensors"
    pipe.save_pretrained(path.with_suffix(".config"))
    for weights in path.with_suffix(".config").rglob("*.safetensors"):
        weights.unlink()
    original.write(pipe, path)
    return path


def test_a_file_holds_what_its_folder_held(pipe: Any, file: Path) -> None:
    """Every weight of every part comes out of the original layout as it went in."""
    loaded = sdxl.load(file, CPU, torch.float32)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        before, after = (getattr(it, name).state_dict() for it in (pipe, loaded.pipe))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before), name


def test_a_file_and_its_folder_make_the_same_picture(
    pipe: Any, file: Path, plain: wire.Begin, tmp_path: Path
) -> None:
    """Asked for by name or by file name; latent2rgb factors are SDXL's where none lie beside it."""
    pipe.save_pretrained(tmp_path / "folder")
    loaded = (sdxl.load(path, CPU, torch.float32) for path in (tmp_path / "folder", file.with_suffix("")))
    pictures = []
    for checkpoint in loaded:
        state = denoise.begin(checkpoint, plain)
        denoise.step(state)
        pictures.append(denoise.finish(state))
    assert np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_file_of_half_precision(pipe: Any, file: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    """As most are published: it is read in the precision that is asked for, whatever it was written in."""
    half = copy.deepcopy(pipe).to(dtype=dtype)
    path = tmp_path / "half.safetensors"
    original.write(half, path)
    shutil.copytree(file.with_suffix(".config"), tmp_path / "half.config")
    loaded = sdxl.load(path, CPU, torch.float32)
    assert loaded.pipe.unet.dtype == torch.float32
    assert torch.equal(loaded.pipe.unet.conv_in.weight, half.unet.conv_in.weight.float())


def test_a_v_prediction_file_says_so_itself(pipe: Any, file: Path, tmp_path: Path) -> None:
    """Empty tensors named `v_pred` and `ztsnr` set the scheduler's config."""
    path = tmp_path / "v.safetensors"
    original.write(pipe, path, {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)})
    shutil.copytree(file.with_suffix(".config"), tmp_path / "v.config")
    config = sdxl.load(path, CPU, torch.float32).pipe.scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("v_prediction", True)


@pytest.mark.parametrize(
    "begin",
    [
        "model.diffusion_model.input_blocks.1.0",
        "first_stage_model.decoder.conv_out",
        "conditioner.embedders.0.transformer.text_model.encoder.layers.1",
        "conditioner.embedders.1.model.text_projection",
    ],
)
def test_a_file_with_a_hole(file: Path, tmp_path: Path, begin: str) -> None:
    """Whatever lacks, it is said, and in words."""
    left = {key: tensor for key, tensor in load_file(file).items() if not key.startswith(begin)}
    save_file(left, tmp_path / "it.safetensors")
    shutil.copytree(file.with_suffix(".config"), tmp_path / "it.config")
    with pytest.raises(sdxl.BadModel, match=" lacks "):
        sdxl.load(tmp_path / "it.safetensors", CPU, torch.float32)


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2"])
def test_shapes_beside_a_file_without_a_tokenizer(file: Path, tmp_path: Path, name: str) -> None:
    """Said, as of a folder: of a config alone transformers makes one that reads all words alike."""
    copy_ = Path(shutil.copy(file, tmp_path / "it.safetensors"))
    shutil.copytree(file.with_suffix(".config"), copy_.with_suffix(".config"))
    for words in ("tokenizer.json", "vocab.json", "merges.txt"):
        (copy_.with_suffix(".config") / name / words).unlink(missing_ok=True)
    with pytest.raises(sdxl.BadModel, match=f"it.config has no {name}: "):
        sdxl.load(copy_, CPU, torch.float32)


FOREIGN = {
    "a LoRA": (["lora_unet_down_blocks_0.lora_up.weight"], "a LoRA"),
    "SD 1.5": (["cond_stage_model.x", "model.diffusion_model.x"], "Stable Diffusion 1 or 2"),
    "Flux": (["double_blocks.0.img_attn.proj.weight"], "a Flux model"),
    "the refiner": (
        ["conditioner.embedders.0.model.x", "model.diffusion_model.x", "first_stage_model.x"],
        "SDXL's refiner",
    ),
    "Playground 2.5": (
        ["conditioner.embedders.0.x", "conditioner.embedders.1.x", "model.diffusion_model.x",
         "first_stage_model.x", "edm_mean", "edm_std"],
        "other noise than SDXL's",
    ),
    "CosXL": (
        ["conditioner.embedders.0.x", "conditioner.embedders.1.x", "model.diffusion_model.x",
         "first_stage_model.x", "edm_vpred.sigma_max"],
        "other noise than SDXL's",
    ),
    "something": (["weight"], "no SDXL checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "sentence"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file(tmp_path: Path, keys: list[str], sentence: str) -> None:
    """It is named for what it is, before anything is read."""
    save_file({key: torch.zeros(1) for key in keys}, tmp_path / "it.safetensors")
    with pytest.raises(sdxl.BadModel, match=sentence):
        sdxl.load(tmp_path / "it.safetensors", CPU, torch.float32)


def test_a_file_cut_off(file: Path, tmp_path: Path) -> None:
    """A broken download, at any length, and what is no safetensors at all."""
    for length in (0, 4, 100, file.stat().st_size - 1):
        copy_ = Path(shutil.copy(file, tmp_path / "cut.safetensors"))
        os.truncate(copy_, length)
        with pytest.raises(sdxl.BadModel, match="cannot be loaded"):
            sdxl.load(copy_, CPU, torch.float32)
    (tmp_path / "old.ckpt").write_bytes(b"a pickle")
    with pytest.raises(sdxl.BadModel, match="no other kind is safe"):
        sdxl.load(tmp_path / "old.ckpt", CPU, torch.float32)


def test_the_configs_that_come_along_are_sdxls() -> None:
    """Parameter counts of the published parts (SDXL's report, arXiv 2307.01952, table 1: 2.6 B, 817 M)."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    def config(kind: Any, part: str) -> Any:
        return kind.from_config(kind.load_config(single_file.PARTS / part))

    with torch.device("meta"):
        text = [
            CLIPTextConfig.from_pretrained(single_file.PARTS / name)
            for name in ("text_encoder", "text_encoder_2")
        ]
        parts = [
            config(UNet2DConditionModel, "unet"), config(AutoencoderKL, "vae"),
            CLIPTextModel(text[0]), CLIPTextModelWithProjection(text[1]),
        ]  # fmt: skip
    sizes = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert sizes == [2_567_463_684, 83_653_863, 123_060_480, 694_659_840]


def test_the_tokenizers_that_come_along_are_clips() -> None:
    """The numbers that CLIP's own tokenizer gives, and what each of the two pads with."""
    first, second = single_file.tokenizer(single_file.END), single_file.tokenizer("!")
    assert first("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(first.get_vocab()) == 49408
    assert (first.pad_token_id, second.pad_token_id) == (49407, 0)
    read_back = first.decode(first("naïve 狐 🦊").input_ids, skip_special_tokens=True)
    assert isinstance(read_back, str)
    assert read_back.split() == ["naïve", "狐", "🦊"]
