"""`safelight export`: the log in a file of its own."""

import json
import sys
import tempfile
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.log import FrameOption, JobOption, SinceOption, TypeOption, UntilOption, selected
from daemon.commands.options import DEFAULT_HOME, HomeOption, fail, home_at, one_line

HELP = """Write the log, or a part of it, to a file or to standard output.

Every column as it is stored, the hash in hexadecimal in JSON Lines and CSV. The file appears when it is
whole. Its format goes by its name (.jsonl, .csv, .parquet) unless --format says otherwise.

Exit codes: 0 written; 1 the history cannot be read or the file not be written; 2 what was typed is wrong.
"""


class Format(StrEnum):
    """What a file can be."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


def export(
    home: HomeOption = DEFAULT_HOME,
    out: Annotated[Path | None, typer.Option(help="The file; without it, standard output.")] = None,
    format: Annotated[Format | None, typer.Option(help="jsonl where nothing says otherwise.")] = None,
    types: TypeOption = None,
    job: JobOption = None,
    frame: FrameOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --out: say in JSON what was written; without: JSON Lines.")
    ] = False,
) -> None:
    """The command; its help is above."""
    from daemon.commands.progress import told
    from daemon.events.codec import Row
    from daemon.history import export as exporting
    from daemon.history import reading

    condition = selected(types, job, frame, since, until).condition()
    kind = format or _by_name(out)
    if as_json and out is None and kind is not Format.jsonl:
        fail("--json is JSON Lines; without --out say one of --json and --format", 2)
    if out is None and kind is Format.parquet and sys.stdout.isatty():
        fail("Parquet is not for a terminal; give it a file with --out", 2)
    with one_line(), reading.opened(home_at(home)) as history:

        def shown(rows: Iterable[Row]) -> Iterable[Row]:
            return told(rows, history.position.position, "exporting")

        if out is not None:
            exporting.export(history.connection, condition, kind.value, out.expanduser().absolute(), shown)
            counting = f"SELECT count(*)::BIGINT FROM events WHERE {condition}"
            ((events,),) = history.connection.execute(counting).fetchall()
            _tell(out, events, as_json)
            return
        with tempfile.TemporaryDirectory(prefix="safelight-") as folder:
            path = Path(folder) / "log"
            exporting.export(history.connection, condition, kind.value, path, shown)
            with path.open("rb") as file:
                while piece := file.read(2**20):
                    sys.stdout.buffer.write(piece)


def _tell(out: Path, events: int, as_json: bool) -> None:
    told = f"{events} {'event is' if events == 1 else 'events are'} in {out}"
    typer.echo(json.dumps({"file": str(out), "events": events}) if as_json else told)


def _by_name(out: Path | None) -> Format:
    suffix = "" if out is None else out.suffix.lower().removeprefix(".")
    return Format(suffix) if suffix in list(Format) else Format.jsonl
