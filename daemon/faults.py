"""What is wrong with a JSON text, in words and places that a person can act on.  PURE

This is the reject path: it may take its time, good files never come here. Each key is judged by itself
against the type that it should have had, so that one fault does not hide another.
"""

import difflib
import json
import re
from typing import Any

import msgspec
from msgspec import inspect as shape
from msgspec.structs import FieldInfo

from daemon.locate import Entry, child, entries, offset_of, place

_HALF = re.compile("[\ud800-\udfff]")


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
        return _fault("", "$", 0, f"larger than {limit} bytes", "A prompt file holds one prompt, as text.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        readable = data.decode("utf-8-sig", "backslashreplace")
        # All before the bad byte is sound, so it is as long in the readable text. The error counts from
        # after the byte order mark, in its own object.
        offset = len(error.object[: error.start].decode())
        return _fault(readable, "$", offset, "not UTF-8 text", "Save the file as UTF-8.")


def fault_at(text: str, path: str, message: str, suggestion: str | None = None) -> Fault:
    """A fault of the value at `path` in a well-formed text."""
    entry = next(entry for entry in entries(text) if entry.path == path)
    return _fault(text, path, entry.value, message, suggestion)


def repeated(text: str) -> list[Fault]:
    """A fault for each key of a well-formed text that its object has already."""
    faults = []
    seen = set()
    for entry in entries(text):
        if entry.path in seen and entry.key is not None:
            message = f"`{entry.path.removeprefix('$.')}` is given twice"
            faults.append(_fault(text, entry.path, entry.key, message, "Keep one of them."))
        seen.add(entry.path)
    return faults


def diagnose(text: str, wanted: type[msgspec.Struct], example: str) -> list[Fault]:
    """Why `text`, which its decoder refused, is not a `wanted`; never empty."""
    try:
        return _diagnose(text, wanted, example)
    except RecursionError:
        return [_fault(text, "$", _start(text), "nested too deeply")]


def _diagnose(text: str, wanted: type[msgspec.Struct], example: str) -> list[Fault]:
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_int=_whole)
    except json.JSONDecodeError as error:
        hint = _syntax_hint(text, error.pos) or (example if not text.strip() else None)
        return [_fault(text, "$", error.pos, f"not JSON: {_lower(error.msg)}", hint)]
    except _NotANumber as error:
        return [_fault(text, "$", offset_of(text, str(error)), f"not JSON: {error} is not a JSON number")]
    if not isinstance(value, dict):
        return [_fault(text, "$", _start(text), f"must be an object, not {_shown(value)}", example)]
    faults = _key_faults(text, value, wanted, example) or _half_characters(text)
    return faults or [_fault(text, "$", _start(text), _last_word(text, wanted))]


def _fault(text: str, path: str, offset: int, message: str, suggestion: str | None = None) -> Fault:
    where = place(text, offset)
    line = text.split("\n")[where.line - 1].rstrip("\r")
    start = max(0, where.column - 60)
    return Fault(
        path=path,
        line=where.line,
        column=where.column,
        excerpt=line[start : start + 120],
        message=message,
        suggestion=suggestion,
    )


class _NotANumber(ValueError):
    """`NaN` or `Infinity`, which Python's reader would let through."""


def _no_constant(name: str) -> Any:
    raise _NotANumber(name)


def _whole(digits: str) -> int | float:
    """Python reads no whole number of thousands of digits; as a float it is as far out of every range."""
    return int(digits) if len(digits) <= 400 else float(digits)


def _half_characters(text: str) -> list[Fault]:
    r"""A fault for each string with half a character in it, as `\ud800` alone is."""
    return [
        _fault(text, entry.path, entry.value, "holds half a character: a lone \\ud800 to \\udfff")
        for entry in entries(text)
        if text[entry.value] == '"' and _HALF.search(json.JSONDecoder().raw_decode(text, entry.value)[0])
    ]


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _start(text: str) -> int:
    return len(text) - len(text.lstrip())


def _syntax_hint(text: str, offset: int) -> str | None:
    at = text[offset : offset + 1]
    if at == "'":
        return 'JSON strings stand in double quotes: "like this".'
    after_comma = text[:offset].rstrip().endswith(",") or at == ","
    if after_comma and text[offset:].lstrip(", \r\n\t")[:1] in ("}", "]"):
        return "Take out the comma before the closing bracket."
    return None


def _last_word(text: str, wanted: type[msgspec.Struct]) -> str:
    """What no single key explains is left to the decoder's own words."""
    try:
        msgspec.json.decode(text, type=wanted)
    except msgspec.DecodeError as error:
        return str(error)
    raise AssertionError("the text was refused before and is not refused now")


def _key_faults(text: str, value: dict[str, Any], wanted: type[msgspec.Struct], example: str) -> list[Fault]:
    found = {entry.path: entry for entry in entries(text)}
    fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
    faults = [fault for key, item in value.items() for fault in _one_key(text, found, fields, key, item)]
    missing = [name for name, field in fields.items() if field.required and name not in value]
    faults += [_fault(text, "$", _start(text), f"`{name}` is missing", example) for name in missing]
    return faults + repeated(text)


def _one_key(
    text: str, found: dict[str, Entry], fields: dict[str, FieldInfo], key: str, item: Any
) -> list[Fault]:
    path = child("$", key)
    entry = found[path]
    field = fields.get(key)
    if field is None:
        close = difflib.get_close_matches(key, fields, n=1)
        hint = f"Did you mean `{close[0]}`?" if close else f"The keys are {', '.join(fields)}."
        return [_fault(text, path, entry.key or 0, f"unknown key `{_whole_text(key)}`", hint)]
    if _fits(item, field.type):
        return []
    return [
        _fault(
            text,
            path,
            entry.value,
            f"`{key}` must be {in_words(shape.type_info(field.type))}, not {_shown(item)}",
        )
    ]


def _shown(value: Any) -> str:
    written = _whole_text(json.dumps(value, ensure_ascii=False))
    return written if len(written) <= 60 else f"{written[:57]}…"


def _whole_text(text: str) -> str:
    """Half characters as their escapes, since no UTF-8 can hold them."""
    return text.encode("utf-8", "backslashreplace").decode()


def _fits(value: Any, annotation: Any) -> bool:
    try:
        msgspec.convert(value, annotation)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return False
    return True


def in_words(kind: shape.Type) -> str:
    """A field's type as a person would say it."""
    match kind:
        case shape.UnionType(types=types):
            return " or ".join(in_words(each) for each in types)
        case shape.NoneType():
            return "null"
        case shape.IntType():
            return _int_in_words(kind)
        case shape.FloatType(ge=low, le=high):
            return f"a number from {low:g} to {high:g}"
        case shape.StrType(pattern=pattern) if pattern is not None:
            return "a name of letters, digits, spaces, `_`, `.` and `-`"
        case shape.StrType(min_length=low, max_length=high):
            return f"text of {low or 0} to {high} characters"
        case _:
            raise NotImplementedError(kind)


def _int_in_words(kind: shape.IntType) -> str:
    top = kind.le if kind.le is not None else (kind.lt or 0) - 1
    multiple = f", a multiple of {kind.multiple_of}" if kind.multiple_of else ""
    return f"a whole number from {kind.ge} to {top}{multiple}"
