"""`embedding:name` in a prompt, as ComfyUI writes it: learned words (textual inversion) from a file.  PURE"""

import re
from collections.abc import Container, Iterable, Iterator

import msgspec

_MENTION = re.compile(
    r"(?<![\w.-])embedding:(?!\d++(?:\.\d*+)?\s*+[)>])(\w(?:[\w.-]{0,199}(?<![.-]))?)", re.ASCII
)
"""Names of letters, digits, `_`, and within them `.` and `-`; a full stop behind is a full stop. A number
that ends a bracket or a LoRA's tag is a weight: `(gem embedding:1.2)`.
"""
_STAND_IN = "\ufdd0"
"""A character that is none, so that no text needs it."""
_MOST = 100
"""Names that are looked for in a text: far more than a prompt has use for."""


class Mention(msgspec.Struct, frozen=True):
    """One place where learned words stand."""

    name: str


def parted(text: str) -> Iterator[str | Mention]:
    """The words between, and what is mentioned, in turn."""
    offset = 0
    for found in _MENTION.finditer(text):
        if words := text[offset : found.start()]:
            yield words
        yield Mention(found[1].removesuffix(".safetensors"))
        offset = found.end()
    if words := text[offset:]:
        yield words


def hidden(text: str) -> tuple[str, list[str]]:
    """The text with a mark for each mention, and their names: brackets are read by who knows no names, and
    words that a bracket parts are no mention once it is gone.
    """
    parts = list(parted(text))
    words = (part.replace(_STAND_IN, "") if isinstance(part, str) else _STAND_IN for part in parts)
    return "".join(words), [part.name for part in parts if isinstance(part, Mention)]


def shown(text: str, names: Iterator[str]) -> Iterator[str | Mention]:
    """A piece of what `hidden` made: words, and what is mentioned by the next of the names, in turn."""
    words, *others = text.split(_STAND_IN)
    if words:
        yield words
    for words in others:
        yield Mention(next(names))
        if words:
            yield words


def named(*texts: str) -> list[str]:
    """The names that stand in these texts, each once, in their order."""
    parts = (part for text in texts if "embedding:" in text for part in parted(text))
    return list(dict.fromkeys(part.name for part in parts if isinstance(part, Mention)))


def is_name(name: str) -> bool:
    """Whether a prompt can mention it."""
    return named(f"embedding:{name}") == [name]


def without(text: str, names: Container[str]) -> str:
    """The text without these names' mentions, and without the commas that stood behind them."""
    kept: list[str] = []
    behind_one = False
    for part in parted(text):
        if isinstance(part, Mention) and part.name in names:
            behind_one = True
            continue
        words = part if isinstance(part, str) else f"embedding:{part.name}"
        kept.append(words.lstrip(", ") if behind_one else words)
        behind_one = False
    return "".join(kept)


def bare(text: str) -> str:
    """As A1111 writes them: the name alone is the word."""
    return "".join(part if isinstance(part, str) else part.name for part in parted(text))


def mentioned(text: str, names: Iterable[str]) -> str:
    """The text of an author to whom a name alone was the word; names that cannot be mentioned are let be."""
    able = [name for name in dict.fromkeys(names) if is_name(name)][:_MOST]
    if not able:
        return text
    either = "|".join(map(re.escape, sorted(able, key=len, reverse=True)))
    return re.sub(rf"(?<![\w.:-])(?:{either})(?![\w-]|\.\w)", lambda found: f"embedding:{found[0]}", text)
