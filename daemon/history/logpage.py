"""A page of the log: the events that are wanted, in order or newest first, read on a connection of its own.

Words are looked for in what events say, which no index knows, so a question with words looks through a
stretch of the log only, and says where the next one goes on.
"""

from collections.abc import Sequence

import duckdb
import msgspec

from daemon.events import codec, database
from daemon.events.types import Recorded
from daemon.history.selection import Selection

STRETCH = 50_000
"""Events that one question looks through for words: a tenth of a second, or two."""

_RAW = "contains(lower(concat_ws(' ', type, data)), lower(?))"
_SAID = r"""contains(lower(concat_ws(' ', type, regexp_replace(data, '"\w+":', ' ', 'g'))), lower(?))"""
"""A word in the type or in a value. Fields' names are taken out, which is slow: only where `_RAW` holds."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events, and from where."""

    selection: Selection
    words: Sequence[str] = ()
    """Each occurs in the event's type or in a value of its data, whatever the case."""
    after: int
    before: int
    """Events between these two, neither included."""
    newest_first: bool
    limit: int


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some events."""

    events: list[Recorded]
    next: int | None
    """`after` of the next page, or `before` where the newest come first; None where there is none."""


def page(connection: duckdb.DuckDBPyConnection, wanted: Wanted) -> Page:
    """Up to `limit` events; with words perhaps fewer, or none, and still a next page."""
    after, before, end = _stretch(wanted)
    condition, values = _condition(wanted.words)
    picked = f"""
        SELECT seq FROM events WHERE seq > {after} AND seq < {before}
        AND {wanted.selection.condition()} AND {condition}
        ORDER BY seq {"DESC" if wanted.newest_first else "ASC"} LIMIT {wanted.limit + 1}"""
    rows = database.stream(connection, f"seq IN ({picked})", values)
    found = [codec.open_row(row) for row in rows]
    ordered = found[::-1] if wanted.newest_first else found
    events = ordered[: wanted.limit]
    return Page(events=events, next=events[-1].seq if events and len(ordered) > len(events) else end)


def _stretch(wanted: Wanted) -> tuple[int, int, int | None]:
    """What is looked through, as `after` and `before`, and where the next question goes on."""
    after, before = wanted.after, wanted.before
    if not wanted.words or before - after - 1 <= STRETCH:
        return after, before, None
    if wanted.newest_first:
        return before - STRETCH - 1, before, before - STRETCH
    return after, after + STRETCH + 1, after + STRETCH


def _condition(words: Sequence[str]) -> tuple[str, list[str]]:
    """For a WHERE over `events`, and the values of its question marks: words as they are written in JSON."""
    spelled = [msgspec.json.encode(word)[1:-1].decode() for word in words]
    return " AND ".join(["true", *[f"{_RAW} AND {_SAID}"] * len(words)]), [w for w in spelled for _ in (0, 1)]
