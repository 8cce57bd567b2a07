"""`embedding:name` in a prompt, as ComfyUI writes it: learned words (textual inversion) from a file.  PURE"""

import re
from collections.abc import Iterator

import msgspec

_MENTION = re.compile(r"(?<![\w.-])embedding:(\w(?:[\w.-]{0,199}(?<![.-]))?)", re.ASCII)
"""Names of letters, digits, `_`, and within them `.` and `-`; a full stop behind is a full stop."""


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


def named(*texts: str) -> list[str]:
    """The names that stand in these texts, each once, in their order."""
    parts = (part for text in texts if "embedding:" in text for part in parted(text))
    return list(dict.fromkeys(part.name for part in parts if isinstance(part, Mention)))


def without(text: str, name: str) -> str:
    """The text without a name's mentions, and without the commas that stood behind them."""
    kept: list[str] = []
    behind_one = False
    for part in parted(text):
        if part == Mention(name):
            behind_one = True
            continue
        words = part if isinstance(part, str) else f"embedding:{part.name}"
        kept.append(words.lstrip(", ") if behind_one else words)
        behind_one = False
    return "".join(kept)


def bare(text: str) -> str:
    """As A1111 writes them: the name alone is the word."""
    return "".join(part if isinstance(part, str) else part.name for part in parted(text))


def mentioned(text: str, name: str) -> str:
    """The text of an author to whom the name alone was the word; as it is if the name cannot be mentioned."""
    if named(f"embedding:{name}") != [name]:
        return text
    alone = rf"(?<![\w.:-]){re.escape(name)}(?![\w-])"
    return re.sub(alone, lambda _: f"embedding:{name}", text)
