"""A prompt's text → what the UNet is led by: both text encoders, words weighed, of any length.

A prompt is read 75 tokens at a time, each chunk between its own begin and end marks, and the chunks stand
one behind the other, as in A1111 and ComfyUI; BREAK begins the next chunk early. A prompt that fits one
chunk, without weights, is what `StableDiffusionXLPipeline` makes of it, bit for bit. A weight w moves a
token's embedding to e + w · (x − e), where e is what the encoder says in that place of an empty prompt:
ComfyUI's rule, which leaves the rest of the chunk alone. Learned words stand where their name stands, never
half in a chunk and half in the next.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from daemon import emphasis
from daemon.embeddings import Mention, hidden, shown
from daemon.gpu import embeddings
from daemon.gpu.sdxl import Checkpoint


@dataclass(frozen=True)
class Chunk:
    """As many tokens as a text encoder reads at once, and how much each counts."""

    tokens: list[int]
    weights: list[float]
    learned: dict[int, torch.Tensor] = field(default_factory=dict)
    """By position: what the encoder is to read there in place of the token."""


@dataclass(frozen=True)
class _Token:
    number: int
    weight: float
    learned: torch.Tensor | None = None


_STAND_IN = 0
"""The token where learned words are read: any but the mark of the end, which the encoder looks for."""


def encode(
    checkpoint: Checkpoint,
    prompt: str,
    negative_prompt: str,
    guided: bool,
    files: dict[str, str] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeds n × 77·k × c and the pooled prompt n × p; when guided n is 2, negative first, else 1.

    k is the number of chunks of the longer of the two; the other is filled with empty ones. A blank negative
    prompt counts as none: SDXL's own checkpoints are then guided away from zeros rather than from an encoded
    empty string (`force_zeros_for_empty_prompt`). `files` are those of learned words, by their names; raises
    `BadEmbedding`.
    """
    learned = embeddings.read(files or {})
    texts = [prompt, negative_prompt] if guided else [prompt]
    # SDXL's refiner has the second alone.
    present = [each for each in ("", "_2") if getattr(checkpoint.pipe, f"text_encoder{each}") is not None]
    readers = [Reader(checkpoint, each, learned) for each in present]
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

    def __init__(
        self, checkpoint: Checkpoint, suffix: str, learned: embeddings.Learned | None = None
    ) -> None:
        """`suffix` as in the parts' names."""
        self._suffix = suffix
        self._learned = learned or {}
        self._tokenizer: Any = getattr(checkpoint.pipe, f"tokenizer{suffix}")
        self._encoder: Any = getattr(checkpoint.pipe, f"text_encoder{suffix}")
        self._device = checkpoint.device
        self._dtype = checkpoint.pipe.text_encoder_2.dtype

    def chunks(self, text: str) -> list[Chunk]:
        """The text in chunks; at least one."""
        return [
            self._chunk(tokens) for paragraph in self._paragraphs(text) for tokens in self._filled(paragraph)
        ]

    def read(self, text: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeds 1 × 77·count × c, and what the encoder says of the first chunk as a whole (1 × p)."""
        chunks = self.chunks(text)
        chunks += [self._chunk([])] * (count - len(chunks))
        read = [self._read(chunk) for chunk in chunks]
        return torch.cat([embeds for embeds, _ in read], dim=1).to(self._dtype), read[0][1]

    def _paragraphs(self, text: str) -> Iterator[list[list[_Token]]]:
        """What stands together, between BREAKs: mostly single tokens."""
        words, names = hidden(text)
        mentioned = iter(names)
        for paragraph in emphasis.parse(words) or [[emphasis.Piece("")]]:
            yield [
                together
                for piece in paragraph
                for part in shown(piece.text, mentioned)
                for together in self._tokens(part, piece.weight)
            ]

    def _tokens(self, part: str | Mention, weight: float) -> Iterator[list[_Token]]:
        if isinstance(part, Mention):
            rows = embeddings.rows(self._learned, part.name, self._suffix, self._encoder)
            yield [_Token(_STAND_IN, weight, row) for row in rows]
        else:
            for number in self._tokenizer(part, add_special_tokens=False, verbose=False).input_ids:
                yield [_Token(number, weight)]

    def _filled(self, paragraph: list[list[_Token]]) -> list[list[_Token]]:
        """As many in each chunk as there is room for; at least one chunk."""
        room = self._encoder.config.max_position_embeddings - 2
        chunks: list[list[_Token]] = [[]]
        for together in paragraph:
            if len(chunks[-1]) + len(together) > room:
                chunks.append([])
            chunks[-1] += together
        return chunks

    def _chunk(self, tokens: list[_Token]) -> Chunk:
        tokenizer, size = self._tokenizer, self._encoder.config.max_position_embeddings
        numbers = [tokenizer.bos_token_id, *(token.number for token in tokens), tokenizer.eos_token_id]
        weights = [1.0, *(token.weight for token in tokens), 1.0]
        lacking = size - len(numbers)
        return Chunk(
            numbers + [tokenizer.pad_token_id] * lacking,
            weights + [1.0] * lacking,
            {at: token.learned for at, token in enumerate(tokens, 1) if token.learned is not None},
        )

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
        with self._reading(chunk.learned):
            answer = self._encoder(tokens, output_hidden_states=True)
        return answer.hidden_states[-2], answer[0]

    @contextmanager
    def _reading(self, learned: dict[int, torch.Tensor]) -> Iterator[None]:
        """Have the encoder read these in their places; nothing of it stays behind."""

        def put(_layer: Any, _tokens: Any, looked_up: torch.Tensor) -> torch.Tensor:
            read = looked_up.clone()
            for position, row in learned.items():
                read[0, position] = row
            return read

        if not learned:
            yield
            return
        hook = self._encoder.get_input_embeddings().register_forward_hook(put)
        try:
            yield
        finally:
            hook.remove()
