"""What keeps a decoded value from being of a type, part by part.  PURE

Decoders stop at the first thing wrong, and blame the object for a key. Here each key and each item is
judged by itself against the type that it should have had, so that one fault does not hide another.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import inspect as shape

from daemon.locate import child
from daemon.words import in_words

_SHOWN = 60
"""Characters of a value or key in a message."""


class Misfit(msgspec.Struct, frozen=True, kw_only=True):
    """One part that does not fit."""

    path: str
    at_key: bool = False
    """It is the key that is wrong, not the value."""
    message: str
    suggestion: str | None = None
    lacking: str | None = None
    """The key that is to be written there and is not; an example helps."""


def misfits(value: Any, wanted: Any, names: Mapping[str, str], path: str = "$") -> Iterator[Misfit]:
    """All that is wrong with `value` as a `wanted`; nothing if it is one.

    `names` are words that people from elsewhere use for our keys.
    """
    options = _options(wanted)
    struct = next((each for each in options if _is_struct(each)), None)
    items = next((get_args(each)[0] for each in options if get_origin(each) is list), None)
    if isinstance(value, dict) and struct is not None:
        yield from _members(value, struct, names, path)
    elif isinstance(value, list) and items is not None and _long_enough(value, wanted):
        for index, item in enumerate(value):
            yield from misfits(item, items, names, f"{path}[{index}]")
    elif not _fits(value, wanted):
        yield _misfit(value, wanted, path)


def whole_text(text: str) -> str:
    """Half characters as their escapes, since no UTF-8 can hold them."""
    return text.encode("utf-8", "backslashreplace").decode()


def _members(
    value: dict[str, Any], struct: type[msgspec.Struct], names: Mapping[str, str], path: str
) -> Iterator[Misfit]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key, item in value.items():
        if key in fields:
            yield from misfits(item, fields[key].type, names, child(path, key))
        else:
            message = f"unknown key `{_cut(whole_text(key))}`"
            hint = _instead(key, {name: field.type for name, field in fields.items()}, names)
            yield Misfit(path=child(path, key), at_key=True, message=message, suggestion=hint)
    for name, field in fields.items():
        if field.required and name not in value:
            yield Misfit(path=path, message=f"`{name}` is missing", lacking=name)


def _instead(key: str, fields: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What to write in an unknown key's place."""
    for name, kind in fields.items():
        if any(_is_struct(each) and key in each.__struct_fields__ for each in _options(kind)):
            return f"Put it into `{name}`."
    other = names.get(key.lower())
    close = [other] if other in fields else difflib.get_close_matches(key[:_SHOWN], fields, n=1)
    return f"Did you mean `{close[0]}`?" if close else f"The keys are {', '.join(fields)}."


def _misfit(value: Any, wanted: Any, path: str) -> Misfit:
    last = f"`{path.rpartition('.')[2]}` " if path != "$" else ""
    if isinstance(value, str) and not value.strip() and _fits("x", wanted):
        return Misfit(path=path, message=f"{last}is blank", lacking=path.rpartition(".")[2])
    must = in_words(shape.type_info(wanted))
    return Misfit(
        path=path, message=f"{last}must be {must}, not {_shown(value)}", suggestion=_close_word(value, wanted)
    )


def _close_word(value: Any, wanted: Any) -> str | None:
    """The allowed word that a wrong one looks like."""
    allowed = [
        word for each in _options(wanted) if get_origin(each) is Literal for word in map(str, get_args(each))
    ]
    close = difflib.get_close_matches(value[:_SHOWN], allowed, n=1) if isinstance(value, str) else []
    return f"Did you mean `{close[0]}`?" if close else None


def _options(wanted: Any) -> Iterable[Any]:
    """The types that a union offers, their limits left out; of another type, itself."""
    while get_origin(wanted) is Annotated:
        wanted = get_args(wanted)[0]
    if get_origin(wanted) in (Union, UnionType):
        return [each for option in get_args(wanted) if option is not NoneType for each in _options(option)]
    return [wanted]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _long_enough(value: list[Any], wanted: Any) -> bool:
    """As many items as the type allows, whatever they are."""
    kind = shape.type_info(wanted)
    while isinstance(kind, shape.Metadata):
        kind = kind.type
    if not isinstance(kind, shape.ListType):
        return True
    return (kind.min_length or 0) <= len(value) <= (kind.max_length or len(value))


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        msgspec.convert(value, wanted)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return False
    return True


def _shown(value: Any) -> str:
    """The value as it would be written, cut where it is long."""
    match value:
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
        case str() if len(value) > _SHOWN:
            return f"{len(value)} characters"
        case _:
            return _cut(whole_text(json.dumps(value, ensure_ascii=False)))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
