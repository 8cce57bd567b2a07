"""What the layers of SDXL's UNet are called in Stability's own code (`sgm`, `openaimodel.py`), by their names
in diffusers: the names in which checkpoints and most LoRAs are published.
"""

import re

_WHOLE = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_MIDDLE = {"resnets.0": "middle_block.0", "attentions.0": "middle_block.1", "resnets.1": "middle_block.2"}
_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_BLOCK = re.compile(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)(?:\.(.*))?")
_MID = re.compile(r"mid_block\.((?:resnets|attentions)\.\d)(?:\.(.*))?")


def layer_name(name: str) -> str | None:
    """Of one of diffusers' layers (`down_blocks.1.attentions.0.proj_in`); None if SDXL has none there.

    The numbers are those of SDXL's shape: two layers in each block on the way down, three on the way up.
    """
    if name in _WHOLE:
        return _WHOLE[name]
    if found := _MID.fullmatch(name):
        part, rest = found.groups()
        return _joined(_MIDDLE[part], _RESNET.get(rest, rest) if part.startswith("resnets") else rest)
    if found := _BLOCK.fullmatch(name):
        return _in_block(*found.groups())
    return None


def _in_block(way: str, block: str, part: str, layer: str, rest: str | None) -> str:
    side, first = ("input_blocks", 1) if way == "down" else ("output_blocks", 0)
    at = f"{side}.{3 * int(block) + int(layer) + first}"
    match part:
        case "resnets":
            return _joined(f"{at}.0", None if rest is None else _RESNET.get(rest, rest))
        case "attentions":
            return _joined(f"{at}.1", rest)
        case "downsamplers":
            return _joined(f"{side}.{3 * int(block) + 3}.0", "op" if rest == "conv" else rest)
        case _:  # SDXL has attention in every block that grows
            return _joined(f"{side}.{3 * int(block) + 2}.2", rest)


def _joined(start: str, rest: str | None) -> str:
    return start if rest is None else f"{start}.{rest}"
