"""The tables as they were: the same SQL as in a rebuild, over the log up to a moment."""

from datetime import datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from daemon.files import whole
from daemon.history import views
from daemon.history.views import quoted
from daemon.moments import Moment
from daemon.projections import rebuilding, tables


class NoSuchMoment(Exception):
    """The log has not come that far, or had not begun."""


def position(connection: DuckDBPyConnection, until: Moment) -> int:
    """The last event at that moment. Raises `NoSuchMoment` for one before the first or after the last."""
    ((newest, begun),) = connection.execute("SELECT max(seq), min(ts)::VARCHAR FROM events").fetchall()
    match until:
        case datetime():
            query = f"SELECT max(seq) FROM events WHERE ts <= TIMESTAMPTZ '{until.isoformat()}'"
            ((seq,),) = connection.execute(query).fetchall()
        case _:
            seq = until
    if not seq:
        raise NoSuchMoment(f"the log begins at {begun}, after that")
    if seq > newest:
        raise NoSuchMoment(f"the log ends at event {newest}")
    return int(seq)


def replay(connection: DuckDBPyConnection, seq: int) -> None:
    """From now on the connection sees log and tables as of event `seq`."""
    connection.execute("ATTACH ':memory:' AS past")
    connection.execute("USE past")
    connection.execute(f"CREATE VIEW events AS FROM memory.main.events WHERE seq <= {seq}")
    _fill(connection, seq)


def save(connection: DuckDBPyConnection, seq: int, path: Path) -> None:
    """Write log, tables and views as of event `seq` into a DuckDB file of its own, whole or not at all.

    A file that is there already is replaced. Raises OSError and `duckdb.Error`.
    """
    with whole(path) as temporary:
        temporary.unlink(missing_ok=True)
        connection.execute(f"ATTACH {quoted(str(temporary))} AS past")
        connection.execute("USE past")
        try:
            connection.execute(
                f"CREATE TABLE events AS FROM memory.main.events WHERE seq <= {seq} ORDER BY seq"
            )
            _fill(connection, seq)
        finally:
            connection.execute("USE memory")
            connection.execute("DETACH past")


def _fill(connection: DuckDBPyConnection, seq: int) -> None:
    rebuilding.build(connection, "FROM events")
    connection.execute("CREATE TABLE projections(name VARCHAR, version BIGINT, seq BIGINT)")
    for table in tables.TABLES:
        connection.execute("INSERT INTO projections VALUES (?, ?, ?)", (table, tables.VERSION, seq))
    for name, sql in tables.VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {sql}")
    for view in views.typed():
        connection.execute(view)
