"""A diffusers SDXL pipeline → one `.safetensors` in the original layout, as checkpoints are published.

The names are those of Stability's `sgm` code (generative-models, `model.py`; the UNet's by `gpu/sgm`) and of
open_clip for the second text encoder. Only what SDXL's shape needs is here.
"""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from daemon.gpu import sgm

Tensors = dict[str, torch.Tensor]


def write(pipe: Any, path: Path, extra: Tensors | None = None) -> None:
    """Write all of `pipe` to `path`; `extra` are keys beside the weights, such as `v_pred`."""
    tensors = {
        **_prefixed("model.diffusion_model.", _unet(pipe.unet)),
        **_prefixed("first_stage_model.", _vae(pipe.vae)),
        **_prefixed("conditioner.embedders.0.transformer.text_model.", _clip(pipe.text_encoder)),
        **_prefixed("conditioner.embedders.1.model.", _open_clip(pipe.text_encoder_2)),
        **(extra or {}),
    }
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


def write_refiner(pipe: Any, path: Path) -> None:
    """The same of SDXL's refiner: its one text encoder stands where the first of two would."""
    tensors = {
        **_prefixed("model.diffusion_model.", _unet(pipe.unet)),
        **_prefixed("first_stage_model.", _vae(pipe.vae)),
        **_prefixed("conditioner.embedders.0.model.", _open_clip(pipe.text_encoder_2)),
    }
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _unet(unet: Any) -> Tensors:
    return {unet_name(name): tensor for name, tensor in unet.state_dict().items()}


def unet_name(name: str) -> str:
    """Of one of the UNet's weights."""
    layer, _, which = name.rpartition(".")
    made = sgm.layer_name(layer)
    assert made, name
    return f"{made}.{which}"


def _vae(vae: Any) -> Tensors:
    tensors = {}
    for name, tensor in vae.state_dict().items():
        made = _vae_name(name)
        if re.search(r"attn_1\.(q|k|v|proj_out)\.weight", made):
            tensor = tensor[:, :, None, None]  # a linear layer here, a 1 × 1 convolution there
        tensors[made] = tensor
    return tensors


def _vae_name(name: str) -> str:
    name = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{3 - int(m[1])}.block.", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_norm_out", "norm_out")
    name = name.replace("conv_shortcut", "nin_shortcut").replace("group_norm", "norm")
    return re.sub(r"to_(q|k|v)\.", r"\1.", name).replace("to_out.0", "proj_out")


def _clip(encoder: Any) -> Tensors:
    return {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}


def _open_clip(encoder: Any) -> Tensors:
    old = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    tensors = {
        "token_embedding.weight": old["embeddings.token_embedding.weight"],
        "positional_embedding": old["embeddings.position_embedding.weight"],
        "ln_final.weight": old["final_layer_norm.weight"],
        "ln_final.bias": old["final_layer_norm.bias"],
        "text_projection": old["text_projection.weight"].T,
    }
    renamed = {
        "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }  # fmt: skip
    for layer in range(encoder.config.num_hidden_layers):
        here, there = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            parts = [old[f"{here}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            tensors[f"{there}attn.in_proj_{kind}"] = torch.cat(parts)
            for ours, theirs in renamed.items():
                tensors[f"{there}{theirs}.{kind}"] = old[f"{here}{ours}.{kind}"]
    return tensors
