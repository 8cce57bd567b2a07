"""The two text encoders and how a caption becomes what the UNet is told."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tools.demo_model.tokenizer import LENGTH

WIDTHS = (48, 80)
HEADS = (3, 5)
LAYERS = 3
PROJECTION = 64
CONTEXT = sum(WIDTHS)


class Tokenizers:
    """Both tokenizers of a model folder."""

    def __init__(self, folder: Path) -> None:
        names = ("tokenizer", "tokenizer_2")
        self.pair = [CLIPTokenizer.from_pretrained(folder / name) for name in names]

    def __call__(self, captions: list[str]) -> list[Tensor]:
        """Padded token ids of the captions, once for each encoder."""
        return [
            one(captions, padding="max_length", max_length=LENGTH, truncation=True,
                return_tensors="pt").input_ids
            for one in self.pair
        ]  # fmt: skip


class TextPair(nn.Module):
    """Both encoders as SDXL reads them: last but one states side by side, and the pooled one."""

    def __init__(self, tokenizers: Tokenizers) -> None:
        super().__init__()
        configs = [_config(tokenizers, i) for i in range(2)]
        self.first = CLIPTextModel(configs[0])
        self.second = CLIPTextModelWithProjection(configs[1])

    def forward(self, ids: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The context of each token (77 x 128) and the pooled summary (64)."""
        first = self.first(ids[0], output_hidden_states=True)
        second = self.second(ids[1], output_hidden_states=True)
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return context, second.text_embeds


def _config(tokenizers: Tokenizers, which: int) -> CLIPTextConfig:
    tokenizer = tokenizers.pair[which]
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTHS[which],
        intermediate_size=4 * WIDTHS[which],
        num_attention_heads=HEADS[which],
        num_hidden_layers=LAYERS,
        projection_dim=PROJECTION,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
