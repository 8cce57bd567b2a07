"""Structs as rows of a table: columns, and back.  PURE

The first field is the key. `int | None` is a BIGINT like `int`; literals are text.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar, get_args

import msgspec
from msgspec.structs import FieldInfo

_NAMES = {"job": "job_id", "project": "project_id"}
_TYPES = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bool: "BOOLEAN", datetime: "TIMESTAMPTZ"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = TypeVar("Row", bound=msgspec.Struct)


def columns(struct: type[msgspec.Struct]) -> str:
    """The columns as CREATE TABLE wants them."""
    key, *rest = msgspec.structs.fields(struct)
    return ", ".join([f"{_column(key)} PRIMARY KEY", *map(_column, rest)])


def names(struct: type[msgspec.Struct]) -> list[str]:
    """The columns' names, quoted."""
    return [_name(field) for field in msgspec.structs.fields(struct)]


def key(struct: type[msgspec.Struct]) -> str:
    """The key column's name, quoted."""
    return names(struct)[0]


def selected(struct: type[msgspec.Struct]) -> str:
    """What to select for `read`: times as microseconds, since DuckDB's own way wants another library."""
    return ", ".join(map(_selected, msgspec.structs.fields(struct)))


def values(row: msgspec.Struct) -> tuple[Any, ...]:
    """A row as the Appender wants it."""
    return msgspec.structs.astuple(row)


def read(struct: type[Row], found: Sequence[Any]) -> Row:
    """The struct that a `selected` row stands for."""
    values = list(found)
    for place in _times(struct):
        if values[place] is not None:
            values[place] = time(values[place])
    return struct(**dict(zip(struct.__struct_fields__, values, strict=True)))


@cache
def _times(struct: type[msgspec.Struct]) -> list[int]:
    """The places of its times."""
    fields = enumerate(msgspec.structs.fields(struct))
    return [place for place, field in fields if _sql_type(field.type) == "TIMESTAMPTZ"]


def time(microseconds: int) -> datetime:
    """A time as `selected` has it."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _selected(field: FieldInfo) -> str:
    return f"epoch_us({_name(field)})" if _sql_type(field.type) == "TIMESTAMPTZ" else _name(field)


def _column(field: FieldInfo) -> str:
    return f"{_name(field)} {_sql_type(field.type)}"


def _name(field: FieldInfo) -> str:
    return f'"{_NAMES.get(field.name, field.name)}"'


def _sql_type(annotation: Any) -> str:
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    return _TYPES.get(kinds[0], "VARCHAR")
