"""The engine tests' model is a plain diffusers folder that predicts epsilon, and its pictures are no mud."""

from pathlib import Path

import msgspec
import numpy as np
from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTokenizer

from daemon.gpu import denoise, sdxl, wire
from tests import small_model


def test_a_standard_folder(folder: Path) -> None:
    """diffusers' own loader reads it, with text encoders of different widths and a text_time UNet."""
    pipe = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
    widths = (pipe.text_encoder.config.hidden_size, pipe.text_encoder_2.config.hidden_size)
    assert widths == small_model.WIDTHS
    assert pipe.text_encoder_2.config.projection_dim == small_model.PROJECTION
    assert pipe.unet.config.addition_embed_type == "text_time"
    assert (pipe.vae.config.latent_channels, pipe.vae_scale_factor) == (4, 8)
    scheduler = pipe.scheduler.config
    assert (scheduler.beta_schedule, scheduler.prediction_type) == ("scaled_linear", "epsilon")
    assert (scheduler.beta_start, scheduler.beta_end) == (0.00085, 0.012)


def test_tokenizers_read_any_text(folder: Path) -> None:
    """Bytes without merges: start, every letter, end, padding to 77; both ways of storing it agree."""
    for name in ("tokenizer", "tokenizer_2"):
        whole = CLIPTokenizer.from_pretrained(folder / name, local_files_only=True)
        ids = whole("A fox 狐", padding="max_length", max_length=77, truncation=True).input_ids
        assert (len(ids), ids[0], ids[8]) == (77, 512, 513)
        assert "狐" in whole.decode(ids[1:8])
        vocab = msgspec.json.decode((folder / name / "vocab.json").read_bytes(), type=dict[str, int])
        assert vocab == whole.get_vocab()


def test_pictures_are_colourful(checkpoint: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """No flat grey: each colour varies over the picture, and the colours differ from each other."""
    state = denoise.begin(checkpoint, msgspec.structs.replace(plain, steps=8, width=128, height=128))
    while state.step < state.steps:
        denoise.step(state)
    pixels = denoise.finish(state).astype(float)
    assert pixels.std(axis=(0, 1)).min() > 15
    assert np.ptp(pixels, axis=2).mean() > 15
