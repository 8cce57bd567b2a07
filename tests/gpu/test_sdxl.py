"""Checkpoints: what loads, with which precision and factors, and the sentence for what does not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from daemon.gpu import memory, previews, sdxl

CPU = torch.device("cpu")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The small model's folder, free to be damaged."""
    return shutil.copytree(folder, tmp_path / "copy")


def refused(path: Path) -> str:
    """The sentence that a person reads."""
    with pytest.raises(sdxl.BadModel) as caught:
        sdxl.load(path, CPU, torch.float32)
    return str(caught.value)


def halve(path: Path) -> None:
    """Leave only files named as half precision, as the published `variant="fp16"` folders do."""
    for file in path.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))


def cut(path: Path) -> None:
    """End the UNet's file early, as a broken download does."""
    file = path / "unet" / "diffusion_pytorch_model.safetensors"
    os.truncate(file, file.stat().st_size // 2)


def thin(part: str, name: str) -> Callable[[Path], None]:
    """Leave out the weights of one layer."""

    def change(path: Path) -> None:
        (file,) = (path / part).glob("*.safetensors")
        left = {key: tensor for key, tensor in load_file(file).items() if name not in key}
        save_file(left, file, {"format": "pt"})

    return change


def drop_text_encoder(path: Path) -> None:
    """Make it the refiner's shape, which has one text encoder only."""
    index = path / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "text_encoder": [None, None]}))
    shutil.rmtree(path / "text_encoder")


def other_noise(kind: str, **config: object) -> Callable[[Path], None]:
    """Give it another scheduler: it then tells of a model that was trained on other noise."""

    def change(path: Path) -> None:
        file = path / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps({"_class_name": kind, **config}))
        index = path / "model_index.json"
        index.write_text(json.dumps({**json.loads(index.read_text()), "scheduler": ["diffusers", kind]}))

    return change


FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda path: (path / "model_index.json").unlink(), "it has no model_index.json"),
    "index is garbage": (lambda path: (path / "model_index.json").write_bytes(b"\xff{"), "cannot be read"),
    "another model": (
        lambda path: (path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}'),
        "is a FluxPipeline, not a StableDiffusionXLPipeline",
    ),
    "truncated weights": (cut, "cannot be loaded"),
    "no weights": (lambda path: shutil.rmtree(path / "unet"), "cannot be loaded"),
    "a UNet with a hole": (
        thin("unet", "mid_block.resnets.0.conv1"),
        "its unet lacks mid_block.resnets.0.conv1.",
    ),
    "a VAE with a hole": (thin("vae", "decoder.conv_out"), "its vae lacks decoder.conv_out."),
    "a text encoder with a hole": (
        thin("text_encoder", "layers.1.mlp.fc1"),
        "its text_encoder lacks encoder.layers.1.mlp.fc1.",
    ),
    "no projection": (thin("text_encoder_2", "text_projection"), "its text_encoder_2 lacks text_projection."),
    "no tokenizer": (lambda path: shutil.rmtree(path / "tokenizer_2"), "has no tokenizer_2"),
    "factors of the wrong shape": (
        lambda path: (path / "latent2rgb.json").write_text('{"factors": [[1, 2, 3]], "bias": [0, 0, 0]}'),
        "latent2rgb.json",
    ),
    "of EDM": (
        other_noise("EDMEulerScheduler", sigma_max=120.0, prediction_type="v_prediction"),
        "other noise than SDXL's (EDMEulerScheduler)",
    ),
    "of flow matching": (
        other_noise("FlowMatchEulerDiscreteScheduler", shift=3.0),
        "other noise than SDXL's",
    ),
    "of flow matching by a config": (
        other_noise("UniPCMultistepScheduler", **FLOW),
        "other noise than SDXL's",
    ),
    "of a prediction nobody knows": (
        other_noise("DDIMScheduler", prediction_type="wish"),
        "it predicts wish, of which no sampler knows",
    ),
    "one text encoder": (drop_text_encoder, "has no text_encoder"),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_folder(copy: Path, damage: Callable[[Path], object], sentence: str) -> None:
    """Whatever is wrong, one line names the folder and the fault."""
    damage(copy)
    said = refused(copy)
    assert sentence in said
    assert str(copy) in said
    assert "\n" not in said


def test_what_is_not_there(tmp_path: Path) -> None:
    """Both places where it could lie are named."""
    said = refused(tmp_path / "nowhere")
    assert said.startswith(f"There is no checkpoint folder {tmp_path / 'nowhere'}")
    assert "nowhere.safetensors" in said


def test_half_precision_files_serve_both(copy: Path) -> None:
    """A folder with only fp16 files loads in float16 and, widened, in float32."""
    halve(copy)
    for dtype in (torch.float16, torch.float32):
        loaded = sdxl.load(copy, CPU, dtype)
        assert {loaded.pipe.unet.dtype, loaded.pipe.vae.dtype, loaded.pipe.text_encoder_2.dtype} == {dtype}


def test_half_precision_files_of_the_unet_alone(copy: Path, folder: Path) -> None:
    """The other parts are read as they are, and counted."""
    halve(copy / "unet")
    read = sdxl.weights(copy, torch.float16)
    assert [file.parent.name for file in read] == ["unet", "vae", "text_encoder", "text_encoder_2"]
    assert sdxl.load(copy, CPU, torch.float16).pipe.vae.dtype == torch.float16
    assert sdxl.estimate(copy, torch.float16) == sdxl.estimate(folder, torch.float16)


def test_size_in_memory_follows_the_precision(folder: Path, checkpoint: sdxl.Checkpoint) -> None:
    """Half the width, about half the bytes."""
    half = sdxl.load(folder, CPU, torch.float16)
    assert 0.45 < half.bytes / checkpoint.bytes < 0.55


def test_factors_come_from_the_folder_or_are_sdxls(copy: Path, checkpoint: sdxl.Checkpoint) -> None:
    """Without a file of its own a checkpoint is shown by SDXL's published factors."""
    assert checkpoint.latent2rgb != previews.SDXL
    (copy / "latent2rgb.json").unlink()
    assert sdxl.load(copy, CPU, torch.float32).latent2rgb == previews.SDXL


def test_the_shelf_holds_what_fits(folder: Path, copy: Path) -> None:
    """While there is room all stay; one that fails changes nothing."""
    shelf = sdxl.Shelf(CPU)
    first, second = shelf.load(folder), shelf.load(copy)
    with pytest.raises(sdxl.BadModel):
        shelf.load(copy / "nowhere")
    assert (shelf.find(folder), shelf.find(copy)) == (first, second)


def test_the_least_recently_used_leaves_first(
    folder: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the third needs room, the one that was used longest ago goes, and no more than must."""
    third = shutil.copytree(folder, tmp_path / "third")
    shelf = sdxl.Shelf(CPU)
    shelf.load(folder)
    second = shelf.load(copy)
    assert shelf.find(folder) is not None
    room = iter([0, 2**40])
    monkeypatch.setattr(memory, "free", lambda device: next(room))
    shelf.load(third)
    assert shelf.find(copy) is None
    assert shelf.find(folder) is not None
    assert sdxl.estimate(copy, torch.float32) == pytest.approx(second.bytes, rel=1e-3)


def test_what_pictures_worked_in_makes_room_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch keeps their memory for the next ones, and a GPU counts it as taken: no checkpoint goes for it."""
    shelf = sdxl.Shelf(CPU)
    first = shelf.load(folder)
    free = 0

    def freed(device: torch.device) -> None:
        nonlocal free
        free = 2**40

    monkeypatch.setattr(memory, "free", lambda device: free)
    monkeypatch.setattr(memory, "release", freed)
    shelf.load(shutil.copytree(folder, tmp_path / "other"))
    assert shelf.find(folder) is first
