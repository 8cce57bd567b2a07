"""The typed views: every field of every event, under its own name and type."""

from typing import Any

import duckdb
import msgspec
import pytest

from daemon.events import codec, database, versions
from daemon.events.types import BY_NAME, Event
from daemon.history import views
from tests.stories import NOON, accepted, created, finished, previewed


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    """An empty log with its views."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE TABLE events(seq BIGINT, ts TIMESTAMPTZ, type VARCHAR, version SMALLINT, job BIGINT, "
        "frame BIGINT, cause BIGINT, data JSON, hash BLOB)"
    )
    for view in views.typed():
        connection.execute(view)
    return connection


def put(connection: duckdb.DuckDBPyConnection, event: Event) -> None:
    """The event as row 5, caused by row 3."""
    row = codec.seal(event, seq=5, ts=NOON, cause=3, previous=codec.GENESIS)
    connection.execute(f"INSERT INTO events VALUES ({', '.join('?' * 9)})", database.values(row))


@pytest.mark.parametrize(
    "event", [accepted(), created(), previewed(3), finished()], ids=lambda one: type(one).__name__
)
def test_a_view_tells_what_the_event_says(connection: duckdb.DuckDBPyConnection, event: Event) -> None:
    """Plain values as themselves, the rest as JSON."""
    put(connection, event)
    kind = type(event)
    columns = views.columns(kind)
    names = ", ".join(f'"{name}"' for name in columns)
    (found,) = connection.execute(f"SELECT {names} FROM {views.name_of(kind)}").fetchall()
    told: dict[str, Any] = msgspec.to_builtins(event)
    for (name, sql), value in zip(columns.items(), found, strict=True):
        assert (msgspec.json.decode(value) if sql == "JSON" else value) == told[name], name


def test_ids_and_place_in_history_are_columns_of_every_view(connection: duckdb.DuckDBPyConnection) -> None:
    """So views join with each other and with the log."""
    put(connection, previewed(3))
    query = "SELECT seq, epoch_us(ts), cause, job, frame FROM preview_written"
    assert connection.execute(query).fetchall() == [(5, int(NOON.timestamp() * 1e6), 3, 1, 1)]
    for kind in BY_NAME.values():
        connection.execute(f"SELECT seq, cause, job, frame FROM {views.name_of(kind)}").fetchall()


def test_rows_of_older_layouts_read_as_todays(connection: duckdb.DuckDBPyConnection) -> None:
    """In every type whose layout has changed, as Python would lead it up."""
    assert set(OLD) == set(versions.UPCASTERS)
    for kind, (version, data) in OLD.items():
        text = msgspec.json.encode(data).decode()
        connection.execute(
            "INSERT INTO events VALUES (5, now(), ?, ?, 1, 1, 3, ?, '')", (kind, version, text)
        )
        today = versions.upcast(kind, version, data)
        names = [name for name, sql in views.columns(BY_NAME[kind]).items() if sql != "JSON"]
        selected = ", ".join(f'"{name}"' for name in names)
        (found,) = connection.execute(f"SELECT {selected} FROM {views.name_of(BY_NAME[kind])}").fetchall()
        assert dict(zip(names, found, strict=True)) == {name: today[name] for name in names}


OLD: dict[str, tuple[int, dict[str, Any]]] = {
    "DaemonStarted": (1, {"version": "0", "host": "::1:8642", "pid": 7, "devices": ["cpu"], "model": "demo"})
}


def test_numbers_are_numbers(connection: duckdb.DuckDBPyConnection) -> None:
    """`avg(ms)` works without a cast."""
    put(connection, previewed(3))
    assert connection.execute("SELECT step, avg(ms) FROM preview_written GROUP BY step").fetchall() == [
        (3, 1.0)
    ]
    described = connection.execute("DESCRIBE final_written").fetchall()
    kinds = {name: kind for name, kind, *_ in described}
    assert (kinds["seconds"], kinds["bytes"], kinds["path"], kinds["recipe"]) == (
        "DOUBLE",
        "BIGINT",
        "VARCHAR",
        "JSON",
    )
