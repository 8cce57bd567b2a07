"""Rows of text as a table, CSV or JSON, a line at a time.

A table on a terminal fits its width; in a pipe nothing is cut off and there is no colour and no box. The
columns' widths come from the first rows, so that an answer of any length is shown as it comes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import msgspec
from rich.cells import cell_len, set_cell_size

Row = Sequence[str | None]

_LOOKED_AT = 1000
"""Rows that decide on the widths."""
_NARROWEST = 6
_GAP = "  "
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What a terminal would obey: a prompt is a stranger's text."""


def as_table(
    names: Sequence[str], numbers: Sequence[bool], rows: Iterable[Row], width: int | None
) -> Iterator[str]:
    """Lines of a table, cut to `width` cells unless that is None; NULL is shown as `NULL`."""
    shown = (tuple(map(_cell, row)) for row in rows)
    first = list(islice(shown, _LOOKED_AT))
    head = [_cell(name) for name in names]
    widths = [max(map(cell_len, column)) for column in zip(head, *first, strict=True)]
    if width is not None:
        widths = _fitted(widths, width)
    yield _line(head, numbers, widths, width is not None)
    yield (
        _GAP.join("─" * one for one in widths)
        if width is not None
        else _GAP.join("-" * one for one in widths)
    )
    for row in chain(first, shown):
        yield _line(row, numbers, widths, width is not None)


def as_csv(names: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """Lines as RFC 4180 has them; NULL is nothing, an empty text is `""`."""
    yield ",".join(map(_field, names))
    for row in rows:
        yield ",".join(map(_field, row))


def as_objects(names: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """One object per row; the values are JSON already. A name that comes again gets a number."""
    keys = [msgspec.json.encode(name).decode() for name in _told_apart(names)]
    for row in rows:
        pairs = zip(keys, row, strict=True)
        yield "{" + ", ".join(f"{key}: {value or 'null'}" for key, value in pairs) + "}"


def array(objects: Iterable[str]) -> Iterator[str]:
    """Lines of one JSON array, an object a line."""
    line = ""
    for one in objects:
        if line:
            yield f"{line},"
        line = f" {one}" if line else f"[{one}"
    yield f"{line}]" if line else "[]"


def _cell(value: str | None) -> str:
    if value is None:
        return "NULL"
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), value)


def _line(cells: Sequence[str], numbers: Sequence[bool], widths: Sequence[int], cut: bool) -> str:
    padded = [_padded(*one, cut) for one in zip(cells, numbers, widths, strict=True)]
    return _GAP.join(padded).rstrip()


def _padded(cell: str, number: bool, width: int, cut: bool) -> str:
    length = cell_len(cell)
    if length > width:
        return set_cell_size(cell, width - 1) + "…" if cut else cell
    space = " " * (width - length)
    return space + cell if number else cell + space


def _fitted(widths: list[int], width: int) -> list[int]:
    """The widest columns give way until all fit, or none can give more."""
    left = list(widths)
    while sum(left) + len(_GAP) * (len(left) - 1) > width and max(left) > _NARROWEST:
        left[left.index(max(left))] -= 1
    return left


def _field(value: str | None) -> str:
    if value is None:
        return ""
    if value == "" or re.search(r'[",\r\n]', value):
        return '"' + value.replace('"', '""') + '"'
    return value


def _told_apart(names: Sequence[str]) -> list[str]:
    """`a, a, b` → `a, a_1, b`."""
    taken: list[str] = []
    for name in names:
        again, number = name, 0
        while again in taken:
            number += 1
            again = f"{name}_{number}"
        taken.append(again)
    return taken
