"""Weights and breaks in a prompt: `a (red:1.3) fox, [snow] BREAK at night` → paragraphs of pieces.  PURE

The marks are A1111's, and but for `[]` and `BREAK` ComfyUI's too: `(x)` counts 1.1 times, `[x]` 1/1.1 times,
`(x:1.3)` 1.3 times, brackets within brackets multiply, and a backslash before a bracket makes it a
character. Whatever a text holds it has a meaning: a bracket without its partner is a character as well.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import msgspec

MORE = 1.1
"""What a pair of round brackets multiplies by, and a pair of square ones divides by."""
LARGEST = 100.0
"""No piece may count more, for or against: far past all use, and far from overflow in half precision."""

# Each quantifier is possessive, each run of backslashes or spaces begun once: no text makes a search go back.
_MARK = re.compile(r":\s*+([+-]?(?:\d++(?:\.\d*+)?|\.\d++))\s*+\)|(?<!\\)(\\*+)([()\[\]])")
_BREAK = re.compile(r"(?:(?<!\s)\s++)?\bBREAK\b\s*+")
_OPENS = {")": "(", "]": "["}


class Piece(msgspec.Struct, frozen=True):
    """Words that count alike."""

    text: str
    weight: float = 1.0


class _Token(msgspec.Struct):
    """Words, or a bracket of `kind`, whose `factor` stays None unless it has a partner."""

    text: str
    kind: str = ""
    number: float | None = None
    factor: float | None = None


def parse(text: str) -> list[list[Piece]]:
    """The paragraphs between BREAKs, each of at least one piece; a text without marks is one piece as it is.

    Of a text with no words left there is nothing.
    """
    paragraphs: list[list[Piece]] = [[]]
    for piece in _joined(text):
        first, *others = _BREAK.split(piece.text)
        paragraphs[-1].append(Piece(first, piece.weight))
        paragraphs += [[Piece(words, piece.weight)] for words in others]
    filled = ([piece for piece in paragraph if piece.text] for paragraph in paragraphs)
    return [paragraph for paragraph in filled if paragraph]


def overweight(text: str) -> Piece | None:
    """The first piece that counts more than `LARGEST`, or that has no number at all; mostly None."""
    if "(" not in text and "[" not in text:
        return None  # most prompts; thousands of files a second go here
    pieces = (piece for paragraph in parse(text) for piece in paragraph)
    return next((piece for piece in pieces if not abs(piece.weight) <= LARGEST), None)


def escaped(text: str) -> str:
    """The same words for us, of an author to whom square brackets were characters, as in ComfyUI."""
    return re.sub(r"(?<!\\)[\[\]]", r"\\\g<0>", text)


def _joined(text: str) -> list[Piece]:
    """The words with the brackets weighed out; neighbours that count alike are one piece."""
    alike = groupby(_weighed(text), key=itemgetter(0))
    return [Piece("".join(words for _, words in group), weight) for weight, group in alike]


def _weighed(text: str) -> Iterator[tuple[float, str]]:
    weights = [1.0]
    for token in _paired(text):
        if token.factor is None:
            yield round(weights[-1], 12), token.text  # so that 1.1 times 1 / 1.1 is 1
        elif token.kind in _OPENS:
            weights.pop()
        else:
            weights.append(weights[-1] * token.factor)


def _paired(text: str) -> list[_Token]:
    """All tokens, each bracket that has a partner with its factor. Brackets may not cross: the outer wins."""
    tokens = list(_tokens(text))
    opened: list[_Token] = []
    count = {"(": 0, "[": 0}
    for token in tokens:
        if token.kind in count:
            opened.append(token)
            count[token.kind] += 1
        elif token.kind and count[_OPENS[token.kind]]:
            factor = 1 / MORE if token.kind == "]" else MORE if token.number is None else token.number
            while True:
                partner = opened.pop()
                count[partner.kind] -= 1
                if partner.kind == _OPENS[token.kind]:
                    break
            partner.factor = token.factor = factor
    return tokens


def _tokens(text: str) -> Iterator[_Token]:
    """Words and brackets in turn; escapes are words already."""
    offset = 0
    for mark in _MARK.finditer(text):
        yield _Token(text[offset : mark.start()])
        number, slashes, bracket = mark.groups()
        if number is not None:
            yield _Token(mark[0], kind=")", number=float(number))
        else:
            yield _Token("\\" * (len(slashes) // 2))
            yield _Token(bracket, kind="" if len(slashes) % 2 else bracket)
        offset = mark.end()
    yield _Token(text[offset:])
