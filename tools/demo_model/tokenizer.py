"""Builds the two tokenizers by code: byte-level BPE in CLIP's layout, learnt from captions."""

import json
from pathlib import Path
from random import Random

from tokenizers import Tokenizer, models, trainers
from transformers import CLIPTokenizer

from tools.demo_model.captions import caption
from tools.demo_model.scenes import random_scene

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
MERGES = 700
LENGTH = 77


def byte_letters() -> list[str]:
    """CLIP's printable stand-ins for the 256 bytes, in CLIP's order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def learn_merges(seed: int, captions: int = 20000) -> list[tuple[str, str]]:
    """The most useful merges in the words of many captions."""
    rng = Random(f"{seed} tokenizer")
    lines = [caption(random_scene(rng), rng) for _ in range(captions)]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    blank = CLIPTokenizer().backend_tokenizer
    tokenizer.normalizer, tokenizer.pre_tokenizer = blank.normalizer, blank.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=512 + MERGES, initial_alphabet=byte_letters(), end_of_word_suffix="</w>"
    )
    tokenizer.train_from_iterator(lines, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """CLIP's order: bytes, bytes that end a word, merges, beginning and end of text."""
    letters = byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += [left + right for left, right in merges] + [BOS, EOS]
    return {word: i for i, word in enumerate(words)}


def save_tokenizers(seed: int, folder: Path) -> None:
    """Write tokenizer/ and tokenizer_2/; as in SDXL the second one pads with "!"."""
    merges = learn_merges(seed)
    for name, pad in (("tokenizer", EOS), ("tokenizer_2", "!")):
        _save(merges, pad, folder / name)


def _save(merges: list[tuple[str, str]], pad: str, folder: Path) -> None:
    words = vocabulary(merges)
    tokenizer = CLIPTokenizer(vocab=words, merges=merges, pad_token=pad, model_max_length=LENGTH)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
