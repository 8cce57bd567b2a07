"""A checkpoint in one `.safetensors` file, in the original layout, → an SDXL pipeline. Nothing is fetched.

The file holds weights only. What the parts look like is SDXL's and comes with this package
(`sdxl_parts/`): the component configs, and CLIP's merges, from which both tokenizers are made. A folder
`NAME.config` beside `NAME.safetensors`, in diffusers' layout, wins over it: for models of another shape.
"""

import gzip
from functools import cache
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from safetensors import safe_open
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

PARTS = Path(__file__).parent / "sdxl_parts"
"""Configs as in stabilityai/stable-diffusion-xl-base-1.0; merges as OpenAI published them with CLIP (MIT)."""

REFINER = "StableDiffusionXLImg2ImgPipeline"
"""What diffusers calls SDXL's refiner, also in a folder's index."""
REFINER_PARTS = PARTS.with_name("refiner_parts")
"""Configs as in stabilityai/stable-diffusion-xl-refiner-1.0."""

_SDXL = (
    "conditioner.embedders.0.",
    "conditioner.embedders.1.",
    "model.diffusion_model.",
    "first_stage_model.",
)
_FOREIGN = {
    "lora_unet_": "a LoRA, which goes into models/loras",
    "lora_te": "a LoRA, which goes into models/loras",
    "lycoris_": "a LoRA, which goes into models/loras",
    "cond_stage_model.": "a Stable Diffusion 1 or 2 checkpoint",
    "double_blocks.": "a Flux model",
    "joint_blocks.": "a Stable Diffusion 3 model",
    "decoder.layers.": "a small decoder, which goes into models/vae_approx",
}
"""By what keys of other files begin with, somewhere."""

START, END = "<|startoftext|>", "<|endoftext|>"
_PADS = {"tokenizer": END, "tokenizer_2": "!"}
library: Any = diffusers
"""The same module: its constructors are untyped."""


def inspect(path: Path, role: Literal["base", "refiner"]) -> set[str]:
    """The file's keys. Raises ValueError with a sentence for one that holds no whole SDXL checkpoint.

    `SafetensorError` for a file that is damaged or cut off: its header says how long it must be.
    """
    with safe_open(path, "pt") as file:
        keys = set(file.keys())
    missing = [part for part in _SDXL if not any(key.startswith(part) for key in keys)]
    if any(key.startswith("edm_") for key in keys):  # as Playground 2.5 and CosXL say of themselves
        raise ValueError("it was trained on other noise than SDXL's (EDM)")
    if not missing:
        return keys
    if missing == ["conditioner.embedders.1."]:
        if role == "refiner":
            return keys
        raise ValueError("it is SDXL's refiner, which cannot be used alone")
    for begin, what in _FOREIGN.items():
        if any(key.startswith(begin) or f".{begin}" in key for key in keys):
            raise ValueError(f"it is {what}")
    raise ValueError(f"it is no SDXL checkpoint: it has no {missing[0]}…")


def load(path: Path, dtype: torch.dtype, role: Literal["base", "refiner"] = "base") -> Any:
    """The pipeline. Raises ValueError as `inspect` does, and whatever diffusers finds wrong."""
    keys = inspect(path, role)
    own = path.with_suffix(".config")
    refines = not any(key.startswith("conditioner.embedders.1.") for key in keys)
    parts, kind = (REFINER_PARTS, REFINER) if refines else (PARTS, "StableDiffusionXLPipeline")
    names = ("tokenizer_2",) if refines else ("tokenizer", "tokenizer_2")
    if own.is_dir():
        for name in names:
            if not is_tokenizer(own / name):
                raise ValueError(f"{own.name} has no {name}: tokenizer.json or vocab.json is missing")
        tokenizers = {name: CLIPTokenizer.from_pretrained(own / name) for name in names}
    else:
        tokenizers = {name: tokenizer(_PADS[name]) for name in names}
    pipe: Any = getattr(library, kind).from_single_file(
        str(path),
        config=str(own if own.is_dir() else parts),
        local_files_only=True,
        dtype=dtype,
        add_watermarker=False,
        **tokenizers,
    )
    _mark(pipe.scheduler, keys)
    return pipe


def is_tokenizer(folder: Path) -> bool:
    """transformers 5 makes an empty tokenizer of a folder without either, and every prompt reads alike."""
    return any((folder / file).is_file() for file in ("tokenizer.json", "vocab.json"))


def _mark(scheduler: Any, keys: set[str]) -> None:
    """What a checkpoint says of itself by empty tensors: NoobAI and its kin carry both keys."""
    if "v_pred" in keys:
        scheduler.register_to_config(prediction_type="v_prediction")
    if "ztsnr" in keys:
        scheduler.register_to_config(rescale_betas_zero_snr=True)


@cache
def tokenizer(pad: str) -> CLIPTokenizer:
    """CLIP's tokenizer, 49,408 words; SDXL's two differ only in what they pad with."""
    lines = gzip.decompress((PARTS / "merges.txt.gz").read_bytes()).decode().splitlines()
    merges: Any = [tuple(line.split()) for line in lines]  # its annotation knows files only
    letters = _letters()
    joined = [left + right for left, right in merges]
    words = [*letters, *(letter + "</w>" for letter in letters), *joined, START, END]
    vocab = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=77)


def _letters() -> list[str]:
    """The letters that stand for the 256 bytes, in GPT-2's order: printable ones first, as themselves."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [letter for letter in alphabet if ord(letter) < 256] + [
        letter for letter in alphabet if ord(letter) >= 256
    ]
