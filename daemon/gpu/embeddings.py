"""Learned words (textual inversion, Gal et al. 2022, 2208.01618) from files, for SDXL's two text encoders."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

_KEYS = {"": ("clip_l", "text_encoders_0"), "_2": ("clip_g", "text_encoders_1")}
"""By the encoder's suffix: as trainers for ComfyUI and A1111 call its rows, and diffusers' scripts."""

Learned = dict[str, dict[str, torch.Tensor]]
"""Rows n × c of each name, by the suffix of the encoder that they are for."""


class BadEmbedding(Exception):
    """The file cannot be used; the message is one sentence that names it."""


def read(files: dict[str, str]) -> Learned:
    """All of them, by name. Raises `BadEmbedding`."""
    return {name: _read(Path(path)) for name, path in files.items()}


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors = load_file(path)
    except OSError as error:
        raise BadEmbedding(f"The embedding {path} cannot be read: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise BadEmbedding(f"The embedding {path} is damaged or cut off ({error}).") from error
    if not all(torch.isfinite(tensor.float()).all() for tensor in tensors.values()):
        raise BadEmbedding(f"The embedding {path} has numbers that are none (NaN or infinity).")
    found = {
        suffix: tensors[key] if tensors[key].dim() > 1 else tensors[key][None]
        for suffix, keys in _KEYS.items()
        for key in keys
        if key in tensors
    }
    if not found:
        of_one = " It is one of Stable Diffusion 1 or 2." if "emb_params" in tensors else ""
        raise BadEmbedding(f"The embedding {path} has nothing for SDXL's text encoders.{of_one}")
    if len({len(rows) for rows in found.values()}) > 1:
        raise BadEmbedding(f"The embedding {path} has not as many rows for the one encoder as for the other.")
    return found


def rows(learned: Learned, name: str, suffix: str, encoder: Any) -> torch.Tensor:
    """What stands for a name, n × c in the encoder's precision. Raises `BadEmbedding`."""
    tensor = learned[name].get(suffix)
    layer = encoder.get_input_embeddings()
    width = layer.weight.shape[1]
    if tensor is None or tensor.dim() != 2 or tensor.shape[1] != width:
        there = "nothing" if tensor is None else f"numbers of the shape {list(tensor.shape)}"
        wanted = f"a text encoder of this checkpoint, which wants rows of {width}"
        raise BadEmbedding(f"The embedding {name} has {there} for {wanted}.")
    room = encoder.config.max_position_embeddings - 2
    if not 0 < len(tensor) <= room:
        raise BadEmbedding(f"The embedding {name} has {len(tensor)} rows; 1 to {room} can be read at once.")
    return tensor.to(layer.weight.device, layer.weight.dtype)
