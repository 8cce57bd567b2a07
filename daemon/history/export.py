"""The log in a file of anyone's: JSON Lines, CSV or Parquet, whole or not at all."""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import duckdb
import msgspec

from daemon.events import database
from daemon.events.codec import EPOCH, Row
from daemon.files import whole
from daemon.history.views import quoted

Format = Literal["jsonl", "csv", "parquet"]
COLUMNS = "seq, ts, type, version, job, frame, cause, data, hash"

_COPY = {"csv": "SELECT * REPLACE (lower(hex(hash)) AS hash)", "parquet": "SELECT *"}
_OPTIONS = {"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet, COMPRESSION zstd"}
_encoder = msgspec.json.Encoder()


def export(
    connection: duckdb.DuckDBPyConnection,
    condition: str,
    kind: Format,
    path: Path,
    told: Callable[[Iterable[Row]], Iterable[Row]],
) -> None:
    """Write the events that fulfil `condition` to `path`: every column as it is stored, so that the hash
    chain can still be checked. `told` shows how far it is. Raises OSError and `duckdb.Error`.
    """
    with whole(path) as temporary:
        if kind == "jsonl":
            with temporary.open("wb") as file:
                file.writelines(lines(told(database.stream(connection, condition))))
        else:
            query = f"{_COPY[kind]} FROM (SELECT {COLUMNS} FROM events) WHERE {condition} ORDER BY seq"
            connection.execute(f"COPY ({query}) TO {quoted(str(temporary))} ({_OPTIONS[kind]})")


def lines(rows: Iterable[Row]) -> Iterator[bytes]:
    """One line of JSON per row; `data` is the very bytes that were stored, `hash` in hexadecimal."""
    for row in rows:
        yield (
            _encoder.encode(
                {
                    "seq": row.seq,
                    "ts": EPOCH + timedelta(microseconds=row.ts),
                    "type": row.type,
                    "version": row.version,
                    "job": row.job,
                    "frame": row.frame,
                    "cause": row.cause,
                    "data": msgspec.Raw(row.data),
                    "hash": row.hash.hex(),
                }
            )
            + b"\n"
        )
