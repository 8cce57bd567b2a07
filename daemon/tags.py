"""`<lora:name:0.8>` in a prompt, as A1111 writes it: a LoRA and its weight, and no words.  PURE"""

import re

import msgspec

WEIGHT = 10.0
"""The most, for or against, as in the key `loras`."""

_TAG = re.compile(r"<lora:([^<>:\n]{1,200})(?::([^<>\n]{0,60}))?>")
NAME = r"""^(?![ .~-])(?:(?![/\\:<>"|?*])[ -~])+$(?!\n)"""
"""Of a file in a folder of `models`, as the schema has it: no path, nothing hidden, no option, and nothing
that a file system or this syntax has for itself. Beyond ASCII one name can be spelt in several ways."""
LONGEST = 200
_NAME = re.compile(NAME)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:\.\d{0,9})?|\.\d{1,9})", re.ASCII)


class Tag(msgspec.Struct, frozen=True):
    """One LoRA."""

    name: str
    weight: float


def taken(text: str) -> tuple[str, list[Tag]]:
    """The text without its tags, and these. Raises ValueError with a sentence for one that is no LoRA."""
    found = [_tag(name, weight) for name, weight in _TAG.findall(text)]
    if not found:
        return text, []
    words = re.sub(r" {2,}", " ", _TAG.sub("", text)).strip(" ,\n\t")
    if not words:
        raise ValueError("the prompt has no words beside its LoRA")
    return words, found


def is_name(name: str) -> bool:
    """Whether a file in a folder of `models` may be called so."""
    return len(name) <= LONGEST and _NAME.search(name) is not None


def _tag(name: str, weight: str) -> Tag:
    if not is_name(name):
        raise ValueError(f"{name!r} is no name of a LoRA")
    if weight and not (_NUMBER.fullmatch(weight) and abs(float(weight)) <= WEIGHT):
        raise ValueError(f"the weight of the LoRA {name!r} must be one number from -{WEIGHT:g} to {WEIGHT:g}")
    return Tag(name, float(weight or 1))
