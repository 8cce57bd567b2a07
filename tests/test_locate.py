"""Every value of a JSON text has its path and its place."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from daemon.locate import child, entries, place

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def paths(value: Any, path: str = "$") -> list[tuple[str, Any]]:
    """Every path of a value, with what stands there, in order."""
    found = [(path, value)]
    if isinstance(value, dict):
        inside = [(child(path, key), item) for key, item in value.items()]
    else:
        inside = [(f"{path}[{n}]", item) for n, item in enumerate(value)] if isinstance(value, list) else []
    return found + [each for where, item in inside for each in paths(item, where)]


@given(VALUES, st.none() | st.integers(0, 4), st.booleans())
def test_the_entries_of_a_text_are_its_paths(value: Any, indent: int | None, ascii_only: bool) -> None:
    """And each offset is where that value begins."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    found = [(entry.path, json.JSONDecoder().raw_decode(text, entry.value)[0]) for entry in entries(text)]
    assert found == paths(value)


def test_lines_and_columns_count_from_one() -> None:
    """In characters."""
    assert (place("é\nab", 3).line, place("é\nab", 3).column) == (2, 2)
