"""SDXL of any width with random weights, from the configs that come with the package: to be timed."""

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from daemon.gpu import previews, sdxl
from daemon.gpu.single_file import END, PARTS, tokenizer

library: Any = diffusers

MIDDLE: dict[str, dict[str, Any]] = {
    "unet": {
        "block_out_channels": (48, 96, 144), "norm_num_groups": 16, "attention_head_dim": (3, 6, 9),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 1), "cross_attention_dim": 160,
        "projection_class_embeddings_input_dim": 64 + 6 * 256,
    },
    "vae": {"block_out_channels": (32, 32, 64, 64)},
    "text_encoder": {
        "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 2,
    },
    "text_encoder_2": {
        "hidden_size": 96, "intermediate_size": 192, "num_attention_heads": 4, "num_hidden_layers": 2,
        "projection_dim": 64,
    },
}  # fmt: skip
"""At 1024², unguided, a step takes some tenths of a second on two idle cores."""
WHOLE: dict[str, dict[str, Any]] = {name: {} for name in MIDDLE}
"""SDXL as it is."""


def checkpoint(
    changes: dict[str, dict[str, Any]], device: torch.device, dtype: torch.dtype
) -> sdxl.Checkpoint:
    """In memory, made on the device itself."""
    torch.manual_seed(1)
    with device:
        pipe = library.StableDiffusionXLPipeline(
            vae=library.AutoencoderKL.from_config(config("vae", changes)),
            text_encoder=CLIPTextModel(CLIPTextConfig(**config("text_encoder", changes))),
            text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**config("text_encoder_2", changes))),
            tokenizer=tokenizer(END),
            tokenizer_2=tokenizer("!"),
            unet=library.UNet2DConditionModel.from_config(config("unet", changes)),
            scheduler=library.EulerDiscreteScheduler.from_pretrained(PARTS / "scheduler"),
            add_watermarker=False,
        )
    return sdxl.Checkpoint(Path("random"), pipe.to(device, dtype), previews.SDXL, device, dtype)


def config(part: str, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of a part of SDXL, with these changes."""
    config: dict[str, Any] = json.loads((PARTS / part / "config.json").read_text())
    return {**config, **changes[part]}
