"""A person's SQL, as rows of text: checked first, so that a mistake shows its place, then streamed.

DuckDB itself writes the values, as text for people or as JSON for programs: its types are many.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb
import msgspec
from duckdb import DuckDBPyConnection, StatementType

_BATCH = 2048
_NUMBER = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*)$")
_RESULTS = (StatementType.SELECT, StatementType.MULTI)

Row = tuple[str | None, ...]


class BadQuery(Exception):
    """DuckDB's own message, with the place in the query."""


class Answer(msgspec.Struct, frozen=True):
    """The rows of the last statement, still to be fetched."""

    names: list[str]
    numbers: list[bool]
    """Which columns hold numbers."""
    rows: Iterator[Row]
    """Raises `BadQuery` for what only shows on the way."""


def as_text(connection: DuckDBPyConnection, query: str) -> Answer:
    """Run the query; each value as DuckDB would show it, bytes in hexadecimal."""
    return _asked(connection, query, _text)


def as_json(connection: DuckDBPyConnection, query: str) -> Answer:
    """Run the query; each value as JSON, times as the API gives them, what is no number of JSON as null."""
    return _asked(connection, query, _json)


def _text(column: str, kind: str) -> str:
    return f"lower(hex({column}))" if kind == "BLOB" else f"{column}::VARCHAR"


def _json(column: str, kind: str) -> str:
    if kind in ("FLOAT", "DOUBLE"):
        return f"CASE WHEN isfinite({column}) THEN to_json({column})::VARCHAR END"
    if kind.startswith("TIMESTAMP") and kind != "TIMESTAMP_NS":
        zone = "Z" if "ZONE" in kind else ""
        return f"to_json(strftime({column}::TIMESTAMP, '%Y-%m-%dT%H:%M:%S.%f{zone}'))::VARCHAR"
    return f"to_json({_text(column, kind) if kind == 'BLOB' else column})::VARCHAR"


def _asked(connection: DuckDBPyConnection, query: str, shown: Callable[[str, str], str]) -> Answer:
    with _translated():
        statements = connection.extract_statements(query)
        if not statements:
            raise BadQuery("the query is empty")
        *before, last = statements
        for statement in before:
            connection.execute(statement).fetchall()
        text = last.query.strip().removesuffix(";")
        if last.type not in _RESULTS:
            return _plain(connection.execute(text))
    with _translated(shift=1):
        described = connection.execute(f"DESCRIBE\n{text}").fetchall()
        names, kinds = [str(row[0]) for row in described], [str(row[1]) for row in described]
        places = [f"c{number}" for number in range(len(names))]
        values = ", ".join(map(shown, places, kinds))
        result = connection.execute(f"SELECT {values} FROM (\n{text}\n) AS t({', '.join(places)})")
    numbers = [_NUMBER.match(kind) is not None for kind in kinds]
    return Answer(names, numbers, _fetched(result))


def _plain(result: DuckDBPyConnection) -> Answer:
    """The rows of a statement that cannot stand within another: EXPLAIN, COPY, SET …"""
    names = [str(column[0]) for column in result.description or []]
    rows = [tuple(None if value is None else str(value) for value in row) for row in result.fetchall()]
    return Answer(names, [False] * len(names), iter(rows))


def _fetched(result: DuckDBPyConnection) -> Iterator[Row]:
    while True:
        with _translated(shift=1):
            rows: list[Row] = result.fetchmany(_BATCH)
        if not rows:
            return
        yield from rows


@contextmanager
def _translated(shift: int = 0) -> Iterator[None]:
    """DuckDB's errors as `BadQuery`; the query began on line `shift` + 1 of what DuckDB was given."""
    try:
        yield
    except duckdb.Error as error:
        where = re.sub(r"(?m)^LINE (\d+):", lambda found: f"LINE {int(found[1]) - shift}:", str(error))
        raise BadQuery(where) from error
