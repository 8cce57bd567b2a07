"""Checkpoints: what loads, with which precision and factors, and the sentence for what does not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from daemon.gpu import previews, sdxl

CPU = torch.device("cpu")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The demo model's folder, free to be damaged."""
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


def drop_text_encoder(path: Path) -> None:
    """Make it the refiner's shape, which has one text encoder only."""
    index = path / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "text_encoder": [None, None]}))
    shutil.rmtree(path / "text_encoder")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda path: (path / "model_index.json").unlink(), "it has no model_index.json"),
    "index is garbage": (lambda path: (path / "model_index.json").write_bytes(b"\xff{"), "cannot be read"),
    "another model": (
        lambda path: (path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}'),
        "is a FluxPipeline, not a StableDiffusionXLPipeline",
    ),
    "truncated weights": (cut, "cannot be loaded"),
    "no weights": (lambda path: shutil.rmtree(path / "unet"), "cannot be loaded"),
    "no tokenizer": (lambda path: shutil.rmtree(path / "tokenizer_2"), "has no tokenizer_2"),
    "factors of the wrong shape": (
        lambda path: (path / "latent2rgb.json").write_text('{"factors": [[1, 2, 3]], "bias": [0, 0, 0]}'),
        "latent2rgb.json",
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


def test_what_is_no_folder(tmp_path: Path) -> None:
    """A path that is not there and a single-file checkpoint are told apart."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    assert refused(tmp_path / "nowhere").startswith("There is no checkpoint folder")
    assert "single file" in refused(file)


def test_half_precision_files_serve_both(copy: Path) -> None:
    """A folder with only fp16 files loads in float16 and, widened, in float32."""
    halve(copy)
    for dtype in (torch.float16, torch.float32):
        loaded = sdxl.load(copy, CPU, dtype)
        assert {loaded.pipe.unet.dtype, loaded.pipe.vae.dtype, loaded.pipe.text_encoder_2.dtype} == {dtype}


def test_size_in_memory_follows_the_precision(folder: Path, checkpoint: sdxl.Checkpoint) -> None:
    """Half the width, about half the bytes."""
    half = sdxl.load(folder, CPU, torch.float16)
    assert 0.45 < half.bytes / checkpoint.bytes < 0.55


def test_factors_come_from_the_folder_or_are_sdxls(copy: Path, checkpoint: sdxl.Checkpoint) -> None:
    """Without a file of its own a checkpoint is shown by SDXL's published factors."""
    assert checkpoint.latent2rgb != previews.SDXL
    (copy / "latent2rgb.json").unlink()
    assert sdxl.load(copy, CPU, torch.float32).latent2rgb == previews.SDXL


def test_the_shelf_holds_the_last_one(folder: Path, copy: Path) -> None:
    """A second checkpoint takes the first one's place; one that fails leaves the shelf empty."""
    shelf = sdxl.Shelf(CPU)
    first = shelf.load(folder)
    assert shelf.find(folder) is first
    second = shelf.load(copy)
    assert (shelf.find(folder), shelf.find(copy)) == (None, second)
    with pytest.raises(sdxl.BadModel):
        shelf.load(copy / "nowhere")
    assert shelf.find(copy) is None
