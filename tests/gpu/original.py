"""A diffusers SDXL pipeline → one `.safetensors` in the original layout, as checkpoints are published.

The names are those of Stability's `sgm` code (generative-models, `openaimodel.py`, `model.py`) and of
open_clip for the second text encoder. Only what SDXL's shape needs is here.
"""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET = {
    "conv_in.": "input_blocks.0.0.", "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.", "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.", "conv_norm_out.": "out.0.", "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.", "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}  # fmt: skip


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
    for ours, theirs in _UNET.items():
        if name.startswith(ours):
            made = theirs + name.removeprefix(ours)
            return made if "attentions" in name else _resnet(made)
    found = re.match(
        r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name
    )
    assert found, name
    way, block, part, layer, rest = found.groups()
    side, first = ("input_blocks", 1) if way == "down" else ("output_blocks", 0)
    number = 3 * int(block) + int(layer) + first
    match part:
        case "resnets":
            return _resnet(f"{side}.{number}.0.{rest}")
        case "attentions":
            return f"{side}.{number}.1.{rest}"
        case "downsamplers":
            return f"{side}.{3 * int(block) + 3}.0.{rest.replace('conv', 'op')}"
        case _:
            return f"{side}.{3 * int(block) + 2}.2.{rest}"  # SDXL has attention in every block that grows


def _resnet(name: str) -> str:
    for ours, theirs in _RESNET.items():
        name = re.sub(rf"(?<=\.){ours}(?=\.)", theirs, name)
    return name


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
