"""What is wrong with a JSON text, in words and places that a person can act on.  PURE

This is the reject path: it may take its time, good files never come here. It is bounded all the same:
whatever a file of a mebibyte holds, the first `MOST` faults are told and the rest only mentioned.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import msgspec

from daemon.locate import entries, offset_of, place
from daemon.misfits import Misfit, misfits

MOST = 50
"""Faults of one file that are told one by one."""
_HALF = re.compile("[\ud800-\udfff]")
_EXCERPT = 120
"""Characters of the line at fault that are shown."""
_LONGEST = 300
"""Characters of a path that are shown."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with a prompt file, for a person to act on."""

    path: str
    """JSON path of the value or key at fault; `$` is the whole text."""
    line: int
    column: int
    """Both from 1, in characters."""
    excerpt: str
    """The line at fault, cut where it is long."""
    message: str
    suggestion: str | None = None


def text_of(data: bytes, limit: int) -> str | Fault:
    """The text that at most `limit` bytes hold; a byte order mark is no part of it."""
    if len(data) > limit:
        return whole_fault(f"larger than {limit} bytes", "A prompt file holds prompts, as text.")
    try:
        return data.decode("utf-8-sig" if data.startswith(BOM_UTF8) else "utf-8")
    except UnicodeDecodeError as error:
        readable = data.decode("utf-8-sig", "backslashreplace")
        # All before the bad byte is sound, so it is as long in the readable text. The error counts from
        # after the byte order mark, in its own object.
        offset = len(error.object[: error.start].decode())
        looks = " (it looks like UTF-16)" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        return fault(readable, "$", offset, f"not UTF-8 text{looks}", "Save the file as UTF-8.")


def whole_fault(message: str, suggestion: str | None = None) -> Fault:
    """A fault of a file as such, whatever stands in it."""
    return fault("", "$", 0, message, suggestion)


def fault(text: str, path: str, offset: int, message: str, suggestion: str | None = None) -> Fault:
    """A fault at a character offset of a text."""
    where = place(text, offset)
    begin = offset - where.column + 1
    end = text.find("\n", begin)
    line = text[begin : len(text) if end < 0 else end].rstrip("\r")
    start = max(0, where.column - _EXCERPT // 2)
    return Fault(
        path=path if len(path) <= _LONGEST else f"{path[: _LONGEST - 1]}…",
        line=where.line,
        column=where.column,
        excerpt=line[start : start + _EXCERPT],
        message=message,
        suggestion=suggestion,
    )


def at_most(faults: Iterable[Fault]) -> list[Fault]:
    """The first `MOST`, and a word on there being more."""
    told = list(islice(faults, MOST + 1))
    return [*told[:MOST], whole_fault(f"there is more: the first {MOST} faults are told")][: len(told)]


def diagnose(
    text: str,
    wanted: Callable[[Any], type[msgspec.Struct]],
    examples: Mapping[str, str],
    names: Mapping[str, str],
    more: Callable[[Any], Iterable[Misfit]] = lambda _: (),
) -> list[Fault]:
    """Why a text is refused, never empty: it is no JSON, or its value is not what is `wanted` of it.

    `examples` show keys that must be there, under "" a whole text; `names` are others' words for our keys;
    `more` tells misfits that no type knows of.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_int=_whole)
    except json.JSONDecodeError as error:
        return [_syntax_fault(text, error, examples[""])]
    except _NotANumber as error:
        return [fault(text, "$", offset_of(text, str(error)), f"not JSON: {error} is not a JSON number")]
    except RecursionError:
        return [fault(text, "$", _start(text), "nested too deeply")]
    if not isinstance(value, dict):
        (misfit,) = misfits(value, wanted(value), names)
        hint = 'Put the list into {"jobs": […]}.' if isinstance(value, list) and value else examples[""]
        return [fault(text, "$", _start(text), misfit.message, hint)]
    found = chain(misfits(value, wanted(value), names), more(value))
    return (
        at_most(chain(_located(text, islice(found, MOST + 1), examples), _repeated(text)))
        or at_most(_half_characters(text))
        or [fault(text, "$", _start(text), _last_word(text))]
    )


def _located(text: str, found: Iterable[Misfit], examples: Mapping[str, str]) -> Iterator[Fault]:
    """Misfits with their places, in their order."""
    told = list(found)
    paths = {misfit.path for misfit in told}
    places = {entry.path: entry for entry in entries(text) if entry.path in paths}
    for misfit in told:
        entry = places[misfit.path]
        offset = entry.key if misfit.at_key and entry.key is not None else entry.value
        hint = misfit.suggestion if misfit.lacking is None else examples.get(misfit.lacking)
        yield fault(text, misfit.path, offset, misfit.message, hint)


def _repeated(text: str) -> Iterator[Fault]:
    """A fault for each key that its object has already."""
    seen = set()
    for entry in entries(text):
        if entry.path in seen and entry.key is not None:
            name = entry.path.removeprefix("$.")
            yield fault(text, entry.path, entry.key, f"`{name}` is given twice", "Keep one of them.")
        seen.add(entry.path)


def _half_characters(text: str) -> Iterator[Fault]:
    r"""A fault for each string with half a character in it, as `\ud800` alone is."""
    for entry in entries(text):
        if text[entry.value] == '"' and _HALF.search(json.JSONDecoder().raw_decode(text, entry.value)[0]):
            yield fault(text, entry.path, entry.value, "holds half a character: a lone \\ud800 to \\udfff")


class _NotANumber(ValueError):
    """`NaN` or `Infinity`, which Python's reader would let through."""


def _no_constant(name: str) -> Any:
    raise _NotANumber(name)


def _whole(digits: str) -> int | float:
    """Python reads no whole number of thousands of digits; as a float it is as far out of every range."""
    return int(digits) if len(digits) <= 400 else float(digits)


def _start(text: str) -> int:
    return len(text) - len(text.lstrip())


def _syntax_fault(text: str, error: json.JSONDecodeError, example: str) -> Fault:
    # Python's reader names the comma before a closing bracket; a person looks for it there too.
    hint = example if not text.strip(" \r\n\t\0") else _syntax_hint(text, error)
    message = (error.msg[:1].lower() + error.msg[1:]).removesuffix(" at")
    return fault(text, "$", error.pos, f"not JSON: {message}", hint)


def _syntax_hint(text: str, error: json.JSONDecodeError) -> str | None:
    rest = text[error.pos :]
    after_comma = rest[:1] == "," or text[: error.pos].rstrip()[-1:] == ","
    if after_comma and rest.lstrip(", \r\n\t")[:1] in ("}", "]"):
        return "Take out the comma before the closing bracket."
    if error.msg == "Extra data" and rest[:1] == "{":
        return 'Several jobs? Put them into {"jobs": […]}, or one on each line of a .jsonl file.'
    if error.msg.startswith("Invalid control character"):
        return r"Close the quotes in the same line; inside them, \n is a new line and \t a tab."
    if error.msg.startswith("Expecting property name") and rest[:1].isidentifier():
        return 'Keys stand in double quotes: {"prompt": "a red fox"}.'
    return next((hint for start, hint in _HINTS.items() if rest.startswith(start)), None)


_HINTS = {
    "'": 'JSON strings stand in double quotes: "like this".',
    "“": 'JSON strings stand in straight quotes: "like this".',
    "//": "JSON has no comments.",
    "/*": "JSON has no comments.",
    "#": "JSON has no comments.",
    "True": "In JSON it is true.",
    "False": "In JSON it is false.",
    "None": "In JSON it is null.",
    "\0": "Save the file as UTF-8.",
}
"""What to do, by what stands where JSON ends."""


def _last_word(text: str) -> str:
    """What no single key explains is left to the decoder's own words."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return str(error)
    except RecursionError:
        return "nested too deeply"
    raise AssertionError("the text was refused before and is not refused now")
