"""A prompt's text → what the UNet is led by: both text encoders, words weighed, of any length.

A prompt is read 75 tokens at a time, each chunk between its own begin and end marks, and the chunks stand
one behind the other, as in A1111 and ComfyUI; BREAK begins the next chunk early. A prompt that fits one
chunk, without weights, is what `StableDiffusionXLPipeline` makes of it, bit for bit. A weight w moves a
token's embedding to e + w · (x − e), where e is what the encoder says in that place of an empty prompt:
ComfyUI's rule, which leaves the rest of the chunk alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from daemon import emphasis
from daemon.gpu.sdxl import Checkpoint


@dataclass(frozen=True)
class Chunk:
    """As many tokens as a text encoder reads at once, and how much each counts."""

    tokens: list[int]
    weights: list[float]


def encode(
    checkpoint: Checkpoint, prompt: str, negative_prompt: str, guided: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeds n × 77·k × c and the pooled prompt n × p; when guided n is 2, negative first, else 1.

    k is the number of chunks of the longer of the two; the other is filled with empty ones. A blank negative
    prompt counts as none: SDXL's own checkpoints are then guided away from zeros rather than from an encoded
    empty string (`force_zeros_for_empty_prompt`).
    """
    texts = [prompt, negative_prompt] if guided else [prompt]
    # SDXL's refiner has the second alone.
    present = [each for each in ("", "_2") if getattr(checkpoint.pipe, f"text_encoder{each}") is not None]
    readers = [Reader(checkpoint, each) for each in present]
    count = max(len(reader.chunks(text)) for reader in readers for text in texts)
    embeds, pooled = _of_text(readers, prompt, count)
    if not guided:
        return embeds, pooled
    if not negative_prompt and checkpoint.pipe.config.force_zeros_for_empty_prompt:
        negative, negative_pooled = torch.zeros_like(embeds), torch.zeros_like(pooled)
    else:
        negative, negative_pooled = _of_text(readers, negative_prompt, count)
    return torch.cat([negative, embeds]), torch.cat([negative_pooled, pooled])


def _of_text(readers: list["Reader"], text: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One text's embeds 1 × 77·count × c, both encoders' side by side, and the second's pooled prompt."""
    read = [reader.read(text, count) for reader in readers]
    return torch.cat([embeds for embeds, _ in read], dim=-1), read[-1][1]


class Reader:
    """One of the two text encoders with its tokenizer."""

    def __init__(self, checkpoint: Checkpoint, suffix: str) -> None:
        """`suffix` as in the parts' names."""
        self._tokenizer: Any = getattr(checkpoint.pipe, f"tokenizer{suffix}")
        self._encoder: Any = getattr(checkpoint.pipe, f"text_encoder{suffix}")
        self._device = checkpoint.device
        self._dtype = checkpoint.pipe.text_encoder_2.dtype

    def chunks(self, text: str) -> list[Chunk]:
        """The text in chunks; at least one."""
        room = self._encoder.config.max_position_embeddings - 2
        return [
            self._chunk(paragraph[start : start + room])
            for paragraph in self._paragraphs(text)
            for start in range(0, max(1, len(paragraph)), room)
        ]

    def read(self, text: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeds 1 × 77·count × c, and what the encoder says of the first chunk as a whole (1 × p)."""
        chunks = self.chunks(text)
        chunks += [self._chunk([])] * (count - len(chunks))
        read = [self._read(chunk) for chunk in chunks]
        return torch.cat([embeds for embeds, _ in read], dim=1).to(self._dtype), read[0][1]

    def _paragraphs(self, text: str) -> Iterator[list[tuple[int, float]]]:
        """Tokens and their weights, between BREAKs."""
        for paragraph in emphasis.parse(text) or [[emphasis.Piece("")]]:
            yield [
                (token, piece.weight)
                for piece in paragraph
                for token in self._tokenizer(piece.text, add_special_tokens=False, verbose=False).input_ids
            ]

    def _chunk(self, tokens: list[tuple[int, float]]) -> Chunk:
        tokenizer, size = self._tokenizer, self._encoder.config.max_position_embeddings
        numbers = [tokenizer.bos_token_id, *(token for token, _ in tokens), tokenizer.eos_token_id]
        weights = [1.0, *(weight for _, weight in tokens), 1.0]
        lacking = size - len(numbers)
        return Chunk(numbers + [tokenizer.pad_token_id] * lacking, weights + [1.0] * lacking)

    def _read(self, chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
        embeds, pooled = self._encoded(chunk)
        if any(weight != 1 for weight in chunk.weights):
            empty, _ = self._encoded(self._chunk([]))
            weights = torch.tensor(chunk.weights, dtype=torch.float32, device=self._device)[None, :, None]
            weighed = empty.float() + weights * (embeds.float() - empty.float())
            embeds = torch.where(weights == 1, embeds, weighed.to(embeds.dtype))
        return embeds, pooled

    def _encoded(self, chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
        """The last but one layer's answer, as SDXL was trained on (arXiv 2307.01952, section 2.1), and the
        first of the encoder's outputs.
        """
        tokens = torch.tensor([chunk.tokens], device=self._device)
        answer = self._encoder(tokens, output_hidden_states=True)
        return answer.hidden_states[-2], answer[0]
