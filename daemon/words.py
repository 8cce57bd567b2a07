"""A type as a person would say it: "a whole number from 1 to 500".  PURE"""

from msgspec import inspect as shape

_LISTED = 12
"""Allowed words that are named in full; of more, only that there are such."""


def in_words(kind: shape.Type) -> str:
    """What a value of this type is, as the end of "must be …"."""
    match kind:
        case shape.Metadata(type=shape.StrType(), extra_json_schema={"examples": [example, *_]}):
            return f"text like `{example}`"
        case shape.Metadata(type=inner):
            return in_words(inner)
        case shape.UnionType(types=types):
            return " or ".join(in_words(each) for each in types)
        case shape.NoneType():
            return "null"
        case shape.BoolType():
            return "true or false"
        case shape.IntType() | shape.FloatType():
            return _number(kind)
        case shape.StrType():
            return _text(kind)
        case shape.LiteralType(values=values):
            return _one_of([str(value) for value in values])
        case shape.ListType():
            return _list(kind)
        case shape.StructType() | shape.DictType():
            return "an object"
        case _:
            raise NotImplementedError(kind)


def _one_of(values: list[str]) -> str:
    named = ", ".join(f"`{value}`" for value in values[:_LISTED])
    return f"one of {named}{' …' if len(values) > _LISTED else ''}"


def _number(kind: shape.IntType | shape.FloatType) -> str:
    noun = "a whole number" if isinstance(kind, shape.IntType) else "a number"
    high = kind.le if kind.lt is None else kind.lt - 1 if isinstance(kind, shape.IntType) else kind.lt
    low = kind.ge if kind.gt is None else kind.gt + 1 if isinstance(kind, shape.IntType) else kind.gt
    multiple = f", a multiple of {kind.multiple_of}" if kind.multiple_of else ""
    return f"{noun}{_range(low, high)}{multiple}"


def _list(kind: shape.ListType) -> str:
    if kind.max_length is None:
        return "a list"
    return f"a list of {kind.min_length or 0} to {kind.max_length}"


def _text(kind: shape.StrType) -> str:
    if kind.pattern == r"\S":
        return f"text of 1 to {kind.max_length} characters"
    if kind.pattern is not None:
        return (
            "a file's name without its folder, in plain letters, without any of / \\ : < > | ? * \", and not "
            "begun by a space, `.`, `~` or `-`"
        )
    if kind.min_length is None and kind.max_length is None:
        return "text"
    return f"text of {kind.min_length or 0} to {kind.max_length} characters"


def _range(low: float | None, high: float | None) -> str:
    match low, high:
        case None, None:
            return ""
        case low, None:
            return f" of at least {_figure(low)}"
        case None, high:
            return f" of at most {_figure(high)}"
        case low, high:
            return f" from {_figure(low)} to {_figure(high)}"


def _figure(number: float | None) -> str:
    return f"{number:d}" if isinstance(number, int) else f"{number:g}"
