"""Where things stand in a JSON text: every path's line and column, and keys given twice.  PURE

Decoders say what is wrong but not where a person should look. This runs on the reject path only, so
that good files pay nothing for it. It walks the tokens with a stack of its own: a text nested a
hundred thousand deep is a fault of the text, never a RecursionError of ours.
"""

import json
import re
from collections.abc import Iterator

import msgspec

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_DEEPEST = 8
"""Containers around a value that is still told of. No prompt file is deeper, and a text of a mebibyte must
not take its square of memory for paths.
"""
_LONGEST = 200
"""Characters of a path that has parts told of."""


class Place(msgspec.Struct, frozen=True):
    """A position in a text; both count from 1, columns in characters."""

    line: int
    column: int


class Entry(msgspec.Struct, frozen=True):
    """One value of the text."""

    path: str
    """As in `$.jobs[2].steps`."""
    key: int | None
    """Offset of the key that names the value; None for array items and the whole text."""
    value: int
    """Offset of the value itself."""


class _Open(msgspec.Struct):
    """A container that the walk is inside of."""

    path: str | None
    """None where what it holds is not told of."""
    is_object: bool
    index: int = 0
    key: tuple[str, int] | None = None


def place(text: str, offset: int) -> Place:
    """The line and column of a character offset."""
    before = text[:offset]
    return Place(before.count("\n") + 1, offset - before.rfind("\n"))


def entries(text: str) -> Iterator[Entry]:
    """Every value of a well-formed JSON text, in the order in which it stands there.

    A key given twice comes up twice with the same path. What lies more than `_DEEPEST` deep is left out.
    """
    stack: list[_Open] = []
    for token in _TOKEN.finditer(text):
        mark = token[0]
        here = stack[-1] if stack else None
        if mark in "}]":
            stack.pop()
        elif mark == ",":
            _after_comma(here)
        elif mark != ":":
            yield from _value_or_key(stack, here, token)


def offset_of(text: str, word: str) -> int:
    """Where a bare word such as `NaN` stands as a value, and not inside a string."""
    return next(token.start() for token in _TOKEN.finditer(text) if token[0].startswith(word))


def _after_comma(here: _Open | None) -> None:
    if here is not None:
        here.index += 1
        here.key = None


def _value_or_key(stack: list[_Open], here: _Open | None, token: re.Match[str]) -> Iterator[Entry]:
    if here is not None and here.is_object and here.key is None:
        here.key = ("" if here.path is None else json.loads(token[0]), token.start())
        return
    path = _path(here)
    if path is not None:
        yield Entry(path, here.key[1] if here and here.key else None, token.start())
    if token[0] in "{[":
        told = path is not None and len(stack) < _DEEPEST and len(path) <= _LONGEST
        stack.append(_Open(path if told else None, token[0] == "{"))


def _path(here: _Open | None) -> str | None:
    if here is None:
        return "$"
    if here.path is None:
        return None
    if here.key is None:
        return f"{here.path}[{here.index}]"
    return child(here.path, here.key[0])


def child(path: str, key: str) -> str:
    """The path of an object's member: `$.steps`, or `$["odd key"]`."""
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{json.dumps(key)}]"
