"""The views of the history as SQL: one per type of event, made from the event's struct.  PURE

`PreviewWritten` becomes `preview_written`, with the row's place in history, the ids, and each field under
its own name and type; what is not one plain value (the prompt, a list of seeds) is JSON.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import inspect

from daemon.events.types import BY_NAME, Event

COMMON = ("seq", "ts", "cause", "job", "frame")
"""Columns of every view, from the row itself."""

_SQL_TYPES: dict[type[inspect.Type], str] = {
    inspect.IntType: "BIGINT",
    inspect.FloatType: "DOUBLE",
    inspect.BoolType: "BOOLEAN",
    inspect.StrType: "VARCHAR",
    inspect.LiteralType: "VARCHAR",
    inspect.DateTimeType: "TIMESTAMPTZ",
}


_OLDER = {
    ("DaemonStarted", "host"): r"WHEN version < 2 THEN regexp_extract(data->>'$.host', '^(.*):\d+$', 1)",
    ("DaemonStarted", "port"): r"WHEN version < 2 THEN regexp_extract(data->>'$.host', ':(\d+)$', 1)::BIGINT",
}
"""The views read rows as they are stored: what `versions` does in Python for rows of older layouts."""


def name_of(kind: type[Event]) -> str:
    """`PreviewWritten` → `preview_written`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def typed() -> list[str]:
    """One statement per type of event; each wants a relation `events`."""
    return [_view(kind) for kind in BY_NAME.values()]


def columns(kind: type[Event]) -> dict[str, str]:
    """The view's columns beyond `COMMON`, each with its SQL type."""
    fields = msgspec.structs.fields(kind)
    return {field.name: _sql_type(field.type) for field in fields if field.name not in COMMON}


def quoted(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("'", "''") + "'"


def literal(text: str) -> str:
    """A path as a pattern that matches nothing but itself."""
    return re.sub(r"[*?\[]", r"[\g<0>]", text)


def _view(kind: type[Event]) -> str:
    selected = [*COMMON, *(_column(kind, name, sql) for name, sql in columns(kind).items())]
    where = f"FROM events WHERE type = {quoted(kind.__name__)}"
    return f"CREATE OR REPLACE VIEW {name_of(kind)} AS SELECT {', '.join(selected)} {where}"


def _column(kind: type[Event], name: str, sql: str) -> str:
    value = f"data->'$.{name}'" if sql == "JSON" else f"(data->>'$.{name}')::{sql}"
    if (older := _OLDER.get((kind.__name__, name))) is not None:
        value = f"CASE {older} ELSE {value} END"
    return f'{value} AS "{name}"'


def _sql_type(annotation: object) -> str:
    """`int | None` is a BIGINT like `int`."""
    info = inspect.type_info(annotation)
    kinds: Iterable[inspect.Type] = info.types if isinstance(info, inspect.UnionType) else (info,)
    names = {_SQL_TYPES.get(type(kind), "JSON") for kind in kinds if not isinstance(kind, inspect.NoneType)}
    return names.pop() if len(names) == 1 else "JSON"


def script(history: str, tables: Iterable[str], further: Mapping[str, str]) -> str:
    """`views.sql`: the same views for anyone's own DuckDB, over the files in the folder `history`.

    `further` are views over the tables, by name.
    """
    place = literal(history)
    return _SCRIPT.format(
        place=history.replace("\n", " "),
        every=quoted(f"{place}/[0-9t][0-9a][0-9i]*[0-9l].parquet"),
        segments=quoted(f"{place}/*-*.parquet"),
        tail=quoted(f"{place}/tail.parquet"),
        tables="".join(
            f"CREATE OR REPLACE VIEW {table} AS FROM read_parquet({quoted(f'{place}/{table}.parquet')}, "
            "hive_partitioning = false);\n"
            for table in tables
        )
        + "".join(f"CREATE OR REPLACE VIEW {name} AS {sql.strip()};\n" for name, sql in further.items()),
        typed="".join(f"{view};\n" for view in typed()),
    )


# One pattern for segments and tail, which matches no table: DuckDB wants each of several patterns to match
# something, and a young history has no segment.
_SCRIPT = r"""-- The history in {place} for any DuckDB: duckdb -init views.sql
-- Made anew by each `safelight sql`; what is seen is the history as of the last one (or the last
-- POST /api/history/tail). New segments are found by themselves. For the moment of a merge a query may
-- find a file gone: ask again. Nothing here checks SHA256SUMS; `sha256sum --check SHA256SUMS` does.

-- Segments that lie within a wider one, for the moment of a merge, are left out.
CREATE OR REPLACE VIEW _segments AS
WITH named AS (
    SELECT file, regexp_extract(file, '(\d+)-\d+\.parquet$', 1)::BIGINT AS first,
        regexp_extract(file, '\d+-(\d+)\.parquet$', 1)::BIGINT AS last
    FROM glob({segments})
)
FROM named WHERE NOT EXISTS (
    FROM named AS wider
    WHERE wider.file <> named.file AND wider.first <= named.first AND wider.last >= named.last);

-- What the tail holds is taken from the tail.
CREATE OR REPLACE VIEW events AS
SELECT seq, ts, type, version, job, frame, cause, data, hash
FROM read_parquet({every}, filename = true, hive_partitioning = false)
WHERE filename LIKE '%/tail.parquet'
    OR (filename IN (SELECT file FROM _segments)
        AND seq < (SELECT coalesce(min(seq), 9223372036854775807)
            FROM read_parquet({tail}, hive_partitioning = false)));

{tables}
{typed}"""
